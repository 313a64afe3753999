"""A watcher of the event loop: no method and no endpoint keeps it waiting or works long in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest
from starlette.applications import Starlette

from nostro import (
    CREATE_RESULT,
    Account,
    AccountFilter,
    AsyncClusterLedger,
    AsyncLedger,
    CreateTransferResult,
    CreateTransferStatus,
    Ledger,
    QueryFilter,
    Transfer,
    TransferFlags,
    dropin,
)
from nostro.journal.model import MESSAGE_EVENTS_MAX, Rows
from nostro.journal.rows import transfer_rows
from nostro.journal.storage.files import DirectoryState, FileIdentity
from nostro.projections.tigerbeetle.operations import Operation as ClusterOperation
from nostro.projections.tigerbeetle.session.session import Reply, Session
from nostro.tools.server.operations import OPERATIONS
from tests.clocks import HandClock
from tests.disks import HeldDisk
from tests.serving import served, transfer
from tests.simulated_cluster import SimulatedCluster, configuration
from tests.storages import ObservedStorage, Operation
from tests.waiting import TIMEOUT_SECONDS

LARGE: Final = MESSAGE_EVENTS_MAX
CALLS_MAX: Final = LARGE // 4
"""More calls of functions in the loop are work on each of 8,189 items."""
TURNS: Final = 200
ACCOUNTS: Final = [Account(id=id_, ledger=1, code=1) for id_ in (1, 2)]


def move(id_: int, **fields: Any) -> Transfer:  # noqa: ANN401 - any field
    return Transfer(
        id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1, **fields
    )


CHAIN: Final = [move(5, flags=TransferFlags.LINKED), move(6)]
AGAIN: Final = [
    CreateTransferResult(1, CreateTransferStatus.EXISTS),
    CreateTransferResult(2, CreateTransferStatus.LINKED_EVENT_FAILED),
]


def result_rows(results: list[CreateTransferResult]) -> Rows:
    rows = np.zeros(len(results), CREATE_RESULT)
    rows["status"] = [int(result.status) for result in results]
    return rows


class StuckDisk(ObservedStorage):
    """While it is stuck, it keeps everybody waiting; the event loop must never come."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.in_loop: list[str] = []
        self._go = threading.Event()
        self._go.set()
        self._loop_thread = threading.get_ident()

    @contextlib.contextmanager
    def stuck(self) -> Iterator[None]:
        """A timer ends it if the loop itself is stuck, which then fails the test."""
        self.arrived.clear()
        self._go.clear()
        timer = threading.Timer(TIMEOUT_SECONDS, self._give_up)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._go.set()
            self.arrived.set()

    def _give_up(self) -> None:
        self.in_loop.append("it waits for a thread that waits for the disk")
        self._go.set()
        self.arrived.set()

    def before(self, operation: Operation) -> None:
        self._come(f"{operation.name} {operation.path}")

    def identity_at(self, path: Path | str) -> FileIdentity | None:
        self._come(f"identity of {path}")
        return super().identity_at(path)

    def directory_state(self, path: Path | str) -> DirectoryState | None:
        self._come(f"state of {path}")
        return super().directory_state(path)

    def _come(self, what: str) -> None:
        if threading.get_ident() == self._loop_thread:
            self.in_loop.append(what)
        elif not self._go.is_set():
            self.arrived.set()
            self._go.wait()


@contextlib.contextmanager
def watched_calls() -> Iterator[list[int]]:
    """Counts the calls of functions, in C too, in this thread: the event loop's."""
    calls = [0]

    def count(_: object, event: str, __: object) -> None:
        calls[0] += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


async def turns_while_stuck(disk: StuckDisk, awaitable: Awaitable[object]) -> object:
    """The result; meanwhile the loop turns, though nothing comes back from the disk."""
    with disk.stuck():
        task = asyncio.ensure_future(awaitable)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        arriving = asyncio.create_task(asyncio.to_thread(disk.arrived.wait))
        await asyncio.wait({task, arriving}, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(TURNS):
            await asyncio.sleep(0)
    await arriving
    return await task


async def change_events(ledger: AsyncLedger) -> int:
    return len([event async for event in ledger.get_change_events()])


async def read(ledger: AsyncLedger, name: str) -> object:
    return getattr(ledger, name)


METHODS: Final[dict[str, Callable[[AsyncLedger], Awaitable[object]]]] = {
    "create_accounts": lambda it: it.create_accounts([Account(id=3, ledger=1, code=1)]),
    "create_transfers": lambda it: it.create_transfers([move(50)], balances=True),
    "lookup_accounts": lambda it: it.lookup_accounts([1]),
    "lookup_transfers": lambda it: it.lookup_transfers([1]),
    "lookup_refusals": lambda it: it.lookup_refusals([3]),
    "get_account_transfers": lambda it: it.get_account_transfers(AccountFilter(1)),
    "get_account_balances": lambda it: it.get_account_balances(AccountFilter(1)),
    "query_accounts": lambda it: it.query_accounts(QueryFilter()),
    "query_transfers": lambda it: it.query_transfers(QueryFilter()),
    "get_change_events": change_events,
    "accounts": lambda it: it.accounts(),
    "at": lambda it: it.at(position=3),
    "checkpoint": lambda it: it.checkpoint(),
    "state_sha256": lambda it: it.state_sha256(),
    "raise_for_status": lambda it: it.raise_for_status(AGAIN, CHAIN, allow_exists=True),
    "chains_sent_again": lambda it: it.chains_sent_again(result_rows(AGAIN), transfer_rows(CHAIN)),
    "check_writable": lambda it: it.check_writable(),
    "close": lambda it: it.close(),
    **{
        name: lambda it, name=name: read(it, name)  # type: ignore[misc]
        for name in
        ("account_count", "transfer_count", "position", "timestamp", "is_open", "mirror", "report")
    },
}  # fmt: skip


def test_every_method_is_watched() -> None:
    """A new one must be added to the table."""
    public = {name for name in dir(AsyncLedger) if not name.startswith("_")}
    assert public - {"open"} == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_the_loop_turns_while_a_method_waits_for_the_disk(tmp_path: Path, name: str) -> None:
    """With records to apply to the state, and a pending transfer that has just run out of time."""

    async def use() -> None:
        disk, clock = StuckDisk(), HandClock()
        pending = move(2, flags=TransferFlags.PENDING, timeout=1)
        refused = attrs.evolve(move(3), credit_account_id=404)
        ledger = await AsyncLedger.open(
            tmp_path / "ledger", storage=disk, clock=clock, expiry_seconds=10**6
        )
        await ledger.create_accounts(ACCOUNTS)
        await ledger.create_transfers([move(1), pending, refused, *CHAIN])
        await ledger.checkpoint()
        clock.now += 2 * 10**9
        await turns_while_stuck(disk, METHODS[name](ledger))
        await ledger.close()
        assert not disk.in_loop

    asyncio.run(use())


@pytest.mark.parametrize("name", METHODS)
def test_the_loop_turns_while_another_thread_syncs(tmp_path: Path, name: str) -> None:
    """A look-up of that thread holds the state, or its request the order of decisions."""

    async def use() -> None:
        disk, clock = StuckDisk(), HandClock()
        pending = move(2, flags=TransferFlags.PENDING, timeout=1)
        ledger = await AsyncLedger.open(
            tmp_path / "ledger", storage=disk, clock=clock, expiry_seconds=10**6
        )
        await ledger.create_accounts(ACCOUNTS)
        await ledger.create_transfers([pending, *CHAIN])
        clock.now += 2 * 10**9
        with disk.stuck():
            others = [asyncio.create_task(ledger.create_transfers([move(60)])),
                      asyncio.create_task(ledger.checkpoint())]  # fmt: skip
            await asyncio.to_thread(disk.arrived.wait)
            task = asyncio.ensure_future(METHODS[name](ledger))
            for _ in range(TURNS):
                await asyncio.sleep(0)
        await asyncio.gather(task, *others, return_exceptions=name == "close")
        await ledger.close()
        assert not disk.in_loop

    asyncio.run(use())


def test_opening_does_not_keep_the_loop_waiting(tmp_path: Path) -> None:
    """It reads and writes files in a thread."""

    async def use() -> None:
        disk = StuckDisk()
        opened = await turns_while_stuck(disk, AsyncLedger.open(tmp_path / "l", storage=disk))
        assert isinstance(opened, AsyncLedger)
        await opened.close()
        assert not disk.in_loop

    asyncio.run(use())


def test_no_endpoint_keeps_the_loop_waiting(tmp_path: Path) -> None:
    """Nor touches the disk in it; refused ids and broken chains are looked up elsewhere, too."""
    disk, clock = StuckDisk(), HandClock()
    linked = [transfer(7, flags=["linked"]), transfer(8), transfer(9, debit_account_id=404)]
    bodies = {"/transfers": linked, "/accounts": [{"id": 4, "ledger": 1, "code": 1}]}
    with served(tmp_path / "ledger", storage=disk, clock=clock, expiry_seconds=10**6) as it:
        it.begin()
        it.good("POST", "/transfers", linked)
        for operation in OPERATIONS:
            it.good("POST", "/transfers", [transfer(20, flags=["pending"], timeout=1)])
            clock.now += 2 * 10**9
            query: Any = {"limit": 1} if operation.path.endswith("query") else [1]
            path = operation.path.replace("{id}", "1")
            asking = it.asking(
                operation.method, path,
                bodies.get(path, query) if operation.body is not None else None,
            )  # fmt: skip
            it.runner.run(turns_while_stuck(disk, asking))
    assert not disk.in_loop


BY_ACCOUNT: Final = dropin.AccountFilter(1, 0, 0, 0, 0, 0, 0, 10, dropin.AccountFilterFlags.DEBITS)
BY_NOTHING: Final = dropin.QueryFilter(0, 0, 0, 0, 0, 0, 0, 10, dropin.QueryFilterFlags.NONE)
DROPIN: Final[dict[str, Callable[[dropin.ClientAsync], Awaitable[object]]]] = {
    "create_accounts": lambda it: it.create_accounts([dropin.Account(id=3, ledger=1, code=1)]),
    "create_transfers": lambda it: it.create_transfers([dropin.Transfer(id=50)]),
    "lookup_accounts": lambda it: it.lookup_accounts([1]),
    "lookup_transfers": lambda it: it.lookup_transfers([1]),
    "get_account_transfers": lambda it: it.get_account_transfers(BY_ACCOUNT),
    "get_account_balances": lambda it: it.get_account_balances(BY_ACCOUNT),
    "query_accounts": lambda it: it.query_accounts(BY_NOTHING),
    "query_transfers": lambda it: it.query_transfers(BY_NOTHING),
    "close": lambda it: it.close(),
}


@pytest.mark.parametrize("name", DROPIN)
def test_the_loop_turns_while_the_dropin_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As with TigerBeetle's own client. Only making a client waits."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))

    async def use() -> None:
        disk = StuckDisk()
        # private: the drop-in's clients take no storage
        monkeypatch.setattr(Ledger, "open", partial(Ledger.open, storage=disk))
        client = dropin.ClientAsync(cluster_id=0, replica_addresses="3000")
        await client.create_accounts([dropin.Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        disk.in_loop.clear()
        await turns_while_stuck(disk, DROPIN[name](client))
        if name != "close":
            await client.close()
        assert not disk.in_loop

    asyncio.run(use())


# --- work in the loop -----------------------------------------------------------------------------

MANY: Final = [move(id_) for id_ in range(1, LARGE + 1)]
HOLDERS: Final = [Account(id=id_, ledger=1, code=1) for id_ in range(1, LARGE + 1)]
IDS: Final = range(1, LARGE + 1)
LARGE_CALLS: Final[dict[str, Callable[[Any], Awaitable[object]]]] = {
    "create_accounts": lambda it: it.create_accounts(HOLDERS),
    "create_transfers": lambda it: it.create_transfers(MANY),
    "lookup_accounts": lambda it: it.lookup_accounts(IDS),
    "lookup_transfers": lambda it: it.lookup_transfers(IDS),
    "get_account_transfers": lambda it: it.get_account_transfers(AccountFilter(1, limit=LARGE)),
    "query_accounts": lambda it: it.query_accounts(QueryFilter(limit=LARGE)),
    "query_transfers": lambda it: it.query_transfers(QueryFilter(limit=LARGE)),
}


async def work_of(call: Callable[[], Awaitable[object]]) -> int:
    """The calls of functions in the loop's thread meanwhile."""
    with watched_calls() as calls:
        await call()
    return calls[0]


def test_the_loop_does_not_work_on_each_of_many_items(tmp_path: Path) -> None:
    """Neither with 8,189 events or ids in a request, nor with as many in its answer."""

    async def use() -> dict[str, int]:
        disk = HeldDisk()
        async with await AsyncLedger.open(tmp_path / "ledger", storage=disk) as ledger:
            found = {name: await work_of(lambda call=call: call(ledger))  # type: ignore[misc]
                     for name, call in LARGE_CALLS.items()}  # fmt: skip
            some = [attrs.evolve(it, id=it.id + 10**6) for it in MANY]
            found["balances"] = await work_of(lambda: ledger.create_transfers(some, balances=True))
            parts = [some[at : at + 1_000] for at in range(0, 8_000, 1_000)]
            disk.hold()
            first = asyncio.create_task(ledger.create_transfers([move(2 * 10**6)]))
            await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
            sent = [asyncio.create_task(ledger.create_transfers(part)) for part in parts]
            await asyncio.sleep(0)  # in which each becomes rows: that is less than 1,024 at a time
            disk.release()
            found["joined"] = await work_of(lambda: asyncio.gather(first, *sent))
            created = await ledger.create_transfers(MANY)
            found["raise_for_status"] = await work_of(
                lambda: ledger.raise_for_status(created, MANY, allow_exists=True)
            )
            return found

    found = asyncio.run(use())
    assert {name: calls for name, calls in found.items() if calls > CALLS_MAX} == {}


@attrs.frozen
class Apart:
    """A session of the simulated cluster, which works in another thread, as a cluster does."""

    session: Session
    pool: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1))

    def submit(self, operation: ClusterOperation, body: Rows) -> Future[Reply]:
        return self.pool.submit(self.session.submit, operation, body).result()

    def close(self) -> None:
        self.session.close()
        self.pool.shutdown()


def test_neither_does_it_with_a_cluster(tmp_path: Path) -> None:
    """Events become rows, and replies become objects, in a thread."""

    async def use(cluster: SimulatedCluster) -> dict[str, int]:
        ledger = await AsyncClusterLedger.open(
            configuration(timeout_seconds=TIMEOUT_SECONDS), connect=lambda: Apart(cluster.connect())
        )
        async with ledger:
            return {name: await work_of(lambda call=call: call(ledger))  # type: ignore[misc]
                    for name, call in LARGE_CALLS.items()}  # fmt: skip

    with SimulatedCluster(tmp_path) as cluster:
        found = asyncio.run(use(cluster))
    assert {name: calls for name, calls in found.items() if calls > CALLS_MAX} == {}


class Client:
    """Sends one request to an application, with nothing of a client's own work in the loop."""

    def __init__(self, path: str, body: bytes) -> None:
        self._scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        }  # fmt: skip
        self._body = body
        self.status = 0
        self.answer = b""

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.answer += message.get("body", b"")

    async def ask(self, app: Starlette) -> int:
        """The calls of functions in the loop's thread meanwhile."""
        calls = await work_of(lambda: app(self._scope, self.receive, self.send))
        assert self.status == 200, self.answer
        return calls


def test_neither_does_it_in_the_server(tmp_path: Path) -> None:
    """It reads a large body and shows a large answer in a thread, also what is beside statuses."""
    chain = [transfer(id_, flags=["linked"]) for id_ in range(10**6, 10**6 + LARGE)]
    chain[-1]["flags"] = []
    refused = [transfer(id_, debit_account_id=10**9) for id_ in range(2 * 10**6, 2 * 10**6 + LARGE)]
    accounts = [{"id": id_, "ledger": 1, "code": 1} for id_ in IDS]
    bodies: list[tuple[str, object]] = [
        ("/accounts", accounts),
        ("/accounts", accounts),
        *[("/transfers", sent) for sent in (chain, chain, refused, refused)],
        ("/accounts/lookup", [*IDS]),
        ("/transfers/lookup", [*range(10**6, 10**6 + LARGE)]),
        ("/accounts/query", {"limit": LARGE}),
        ("/transfers/query", {"limit": LARGE}),
    ]
    assert {path for path, _ in bodies} == {it.path for it in OPERATIONS if it.body is not None}
    with served(tmp_path / "ledger") as it:
        found = []
        for path, body in bodies:
            client = Client(path, json.dumps(body).encode())
            found.append((path, it.runner.run(client.ask(it.app)), len(json.loads(client.answer))))
    assert [count for _, _, count in found] == [LARGE] * len(bodies)
    assert [(path, calls) for path, calls, _ in found if calls > CALLS_MAX] == []
