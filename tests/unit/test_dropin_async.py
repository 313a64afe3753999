"""The stand-in for TigerBeetle's asynchronous client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import nostro.dropin as tigerbeetle
from nostro import JournalFull, Ledger, LedgerLocked, RecordKind
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Reader
from nostro.projections.pipeline.create_request import CreateRequest
from nostro.projections.pipeline.pipeline import Pipeline
from nostro.projections.rules.posting import AppliedTransfer
from tests.held_lookups import HeldLookups
from tests.waiting import TIMEOUT_SECONDS

A: Final = tigerbeetle.Account
T: Final = tigerbeetle.Transfer
LINKED: Final = tigerbeetle.TransferFlags.LINKED
IMPORTED: Final = tigerbeetle.TransferFlags.IMPORTED


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ledgers of this test's clusters lie."""
    monkeypatch.setenv("NOSTRO_DATA", str(tmp_path))
    return tmp_path


def accounts(*ids: int) -> list[tigerbeetle.Account]:
    return [A(id=id_, ledger=1, code=1) for id_ in ids]


def transfer(id_: int, **fields: int) -> tigerbeetle.Transfer:
    it = T(id=id_, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)
    for name, value in fields.items():
        setattr(it, name, value)
    return it


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldLookups]:
    held = HeldLookups(monkeypatch)
    yield held
    held.opened.set()


async def occupy(client: tigerbeetle.ClientAsync, held: HeldLookups) -> asyncio.Task[Any]:
    """Keep the client's worker busy with a look-up."""
    task = asyncio.create_task(client.lookup_accounts([1]))
    assert await asyncio.to_thread(held.entered.wait, TIMEOUT_SECONDS)
    return task


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many transfers each call of the ledger had."""
    counts: list[int] = []
    carry_out = Ledger.carry_out

    def counting(ledger: Ledger, request: CreateRequest) -> None:
        if request.kind is RecordKind.TRANSFERS:
            counts.append(len(request.rows))
        carry_out(ledger, request)

    # private: answers do not show how requests were joined
    monkeypatch.setattr(Ledger, "carry_out", counting)
    return counts


def statuses(results: list[tigerbeetle.CreateTransferResult]) -> list[str]:
    return [result.status.name for result in results]


def test_a_program_runs() -> None:
    """Every request of the synchronous client is there as a coroutine."""

    async def program() -> None:
        async with tigerbeetle.ClientAsync(cluster_id=0, replica_addresses="3000") as client:
            created = await client.create_accounts(accounts(1, 2))
            assert [type(it) for it in created] == [tigerbeetle.CreateAccountResult] * 2
            [done] = await client.create_transfers([transfer(1)])
            assert done.status == tigerbeetle.CreateTransferStatus.CREATED
            [one] = await client.lookup_accounts([1])
            assert one == A(
                id=1, ledger=1, code=1, debits_posted=10, timestamp=created[0].timestamp
            )
            assert await client.lookup_transfers([1, 2]) == [transfer(1, timestamp=done.timestamp)]
            assert await client.create_transfers([]) == []

    asyncio.run(program())


def test_requests_are_carried_out_in_the_order_they_were_made() -> None:
    """A transfer may follow on accounts, and a look-up on it, without waiting in between."""

    async def program() -> None:
        async with tigerbeetle.ClientAsync(0, "1") as client:
            for first in range(1, 200, 2):
                _, [done], found = await asyncio.gather(
                    client.create_accounts(accounts(first, first + 1)),
                    client.create_transfers(
                        [transfer(first, debit_account_id=first, credit_account_id=first + 1)]
                    ),
                    client.lookup_accounts([first]),
                )
                assert done.status.name == "CREATED"
                assert [it.debits_posted for it in found] == [10]
            results = await asyncio.gather(
                *[client.create_transfers([transfer(id_)]) for id_ in range(1_000, 1_500)]
            )
            timestamps = [result.timestamp for [result] in results]
            assert timestamps == sorted(set(timestamps))

    asyncio.run(program())


def test_requests_that_wait_share_a_record(
    data: Path, held: HeldLookups, batches: list[int]
) -> None:
    """And each gets its own results: chains and imports are judged by request."""
    ids = iter(range(1, 100))
    requests = [
        [transfer(next(ids)), transfer(next(ids))],
        [transfer(next(ids))],
        [transfer(next(ids), flags=LINKED)],  # a chain left open at the end
        [transfer(next(ids))],
        [transfer(next(ids), flags=LINKED), transfer(next(ids), code=0)],
        [],
        [transfer(next(ids), timestamp=1)],
        [transfer(next(ids), flags=IMPORTED, timestamp=1), transfer(next(ids))],
        [transfer(next(ids), flags=IMPORTED, timestamp=1)],
        [transfer(next(ids))],
        [transfer(1)],
    ]

    async def program() -> list[list[str]]:
        async with tigerbeetle.ClientAsync(0, "1") as client:
            await client.create_accounts(accounts(1, 2))
            occupied = await occupy(client, held)
            waiting = [asyncio.create_task(client.create_transfers(it)) for it in requests]
            await asyncio.sleep(0)
            held.opened.set()
            await occupied
            return [statuses(it) for it in await asyncio.gather(*waiting)]

    answers = asyncio.run(program())
    assert answers == [
        ["CREATED", "CREATED"],
        ["CREATED"],
        ["LINKED_EVENT_CHAIN_OPEN"],
        ["CREATED"],
        ["LINKED_EVENT_FAILED", "CODE_MUST_NOT_BE_ZERO"],
        [],
        ["TIMESTAMP_MUST_BE_ZERO"],
        ["IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS", "IMPORTED_EVENT_EXPECTED"],
        ["IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS"],
        ["CREATED"],
        ["EXISTS"],
    ]
    assert batches == [4, 3, 1, 3, 2]
    kinds = [record.kind for record in Reader(data / "nostro-0").records()]
    assert kinds == [RecordKind.ACCOUNTS, *[RecordKind.TRANSFERS] * 3]


def test_requests_are_joined_up_to_what_one_may_hold(held: HeldLookups, batches: list[int]) -> None:
    """8,189 events, as many as one request of the original may carry."""

    async def program() -> None:
        async with tigerbeetle.ClientAsync(0, "1") as client:
            await client.create_accounts(accounts(1, 2))
            occupied = await occupy(client, held)
            waiting = [
                asyncio.create_task(
                    client.create_transfers([transfer(start + id_) for id_ in range(4_000)])
                )
                for start in (1, 4_001, 8_001)
            ]
            await asyncio.sleep(0)
            held.opened.set()
            await occupied
            for results in await asyncio.gather(*waiting):
                assert statuses(results) == ["CREATED"] * 4_000

    asyncio.run(program())
    assert batches == [8_000, 4_000]


def test_requests_that_do_not_fit_together_are_tried_alone(
    held: HeldLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for all of them is no reason to refuse the one that fits."""
    decide = Pipeline.decide

    def little_room(
        pipeline: Pipeline, kind: RecordKind, rows: Rows, applied: list[AppliedTransfer] | None
    ) -> object:
        if kind is RecordKind.TRANSFERS and len(rows) > 1:
            # private: the error names the ledger's path
            raise JournalFull(pipeline._writer.directory.path, 128 * len(rows))
        return decide(pipeline, kind, rows, applied)

    async def program() -> list[Any]:
        async with tigerbeetle.ClientAsync(0, "1") as client:
            await client.create_accounts(accounts(1, 2))
            occupied = await occupy(client, held)
            waiting = [
                asyncio.create_task(client.create_transfers(it))
                for it in ([transfer(1)], [transfer(2), transfer(3)], [transfer(4)])
            ]
            await asyncio.sleep(0)
            held.opened.set()
            await occupied
            return await asyncio.gather(*waiting, return_exceptions=True)

    # private: a disk cannot have room for one record and not for two
    monkeypatch.setattr(Pipeline, "decide", little_room)
    one, two, three = asyncio.run(program())
    assert statuses(one) == statuses(three) == ["CREATED"]
    assert isinstance(two, JournalFull)


def test_errors_reach_the_one_who_asked() -> None:
    """Bad arguments and too much data are refused, and the client goes on."""

    async def program() -> None:
        async with tigerbeetle.ClientAsync(0, "1") as client:
            with pytest.raises(tigerbeetle.IntegerOverflowError):
                await client.create_accounts([A(id=2**128)])
            with pytest.raises(TypeError):
                await client.lookup_accounts(["1"])  # type: ignore[list-item]
            answers = await asyncio.gather(
                client.create_accounts(accounts(*range(1, 8_191))),
                client.create_accounts(accounts(1)),
                return_exceptions=True,
            )
            assert isinstance(answers[0], tigerbeetle.TooMuchDataError)
            assert [it.id for it in await client.lookup_accounts([1, 2])] == [1]

    asyncio.run(program())


def test_closing_ends_what_is_under_way(data: Path, held: HeldLookups) -> None:
    """Whoever waits is told at once; what had not begun is not done."""
    complaints: list[dict[str, Any]] = []

    async def program() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, complaint: complaints.append(complaint)
        )
        client = tigerbeetle.ClientAsync(0, "1")
        await client.create_accounts(accounts(1, 2))
        asked = await occupy(client, held)
        waiting = asyncio.create_task(client.create_transfers([transfer(1)]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(client.close())
        for task in (asked, waiting):
            with pytest.raises(tigerbeetle.ClientClosedError):
                await asyncio.wait_for(task, TIMEOUT_SECONDS)
        await asyncio.wait([closing], timeout=0.05)
        assert not closing.done()  # the ledger is still being read
        with pytest.raises(tigerbeetle.ClientClosedError):
            await client.lookup_accounts([1])
        with pytest.raises(LedgerLocked):
            Ledger.open(data / "nostro-0")
        held.opened.set()
        await closing
        assert client._inflight_packets == {}  # private: TigerBeetle's client has this name, too
        with pytest.raises(KeyError):
            await client.close()

    asyncio.run(program())
    assert complaints == []  # the answer that came too late was dropped
    with Ledger.open(data / "nostro-0") as ledger:
        assert ledger.transfer_count == 0
        assert ledger.position == 2


def test_a_cancelled_task_leaves_the_client_usable(held: HeldLookups) -> None:
    """Its request may still be carried out; nobody waits for it, and closing works."""

    async def program() -> None:
        async with tigerbeetle.ClientAsync(0, "1") as client:
            await client.create_accounts(accounts(1, 2))
            asked = await occupy(client, held)
            waiting = asyncio.create_task(client.create_transfers([transfer(1)]))
            await asyncio.sleep(0)
            asked.cancel()
            waiting.cancel()
            await asyncio.wait([asked, waiting])
            # private: TigerBeetle's client has this name, too
            assert client._inflight_packets == {}
            held.opened.set()
            assert statuses(await client.create_transfers([transfer(1)])) == ["EXISTS"]

    asyncio.run(program())


def test_both_clients_and_several_loops_share_a_ledger(data: Path) -> None:
    """Each event loop gets its own answers from the one ledger of the directory."""
    with tigerbeetle.ClientSync(0, "1") as blocking:
        blocking.create_accounts(accounts(1, 2))
        shared = tigerbeetle.ClientAsync(0, "1")

        async def pay(first: int) -> list[str]:
            results = await asyncio.gather(
                *[shared.create_transfers([transfer(first + number)]) for number in range(50)]
            )
            return [status for result in results for status in statuses(result)]

        answers: list[list[str]] = []
        threads = [
            threading.Thread(target=lambda at=first: answers.append(asyncio.run(pay(at))))
            for first in (1, 101, 201)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [["CREATED"] * 50] * 3
        asyncio.run(shared.close())
        assert [it.debits_posted for it in blocking.lookup_accounts([1])] == [1_500]
    Ledger.open(data / "nostro-0").close()
