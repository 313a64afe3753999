"""The ledger for asyncio: the same answers, and many tasks at once."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    ACCOUNT,
    AMOUNT_MAX,
    TRANSFER,
    Account,
    AccountFilter,
    AsyncLedger,
    CreateTransferStatus,
    InvalidField,
    Ledger,
    LedgerClosed,
    LedgerLocked,
    NotALedger,
    QueryFilter,
    Reader,
    Rows,
    Transfer,
    TransferFlags,
)
from tests.clocks import HandClock
from tests.disks import HeldDisk
from tests.storages import ObservedStorage, Operation
from tests.waiting import TIMEOUT_SECONDS, until

S: Final = CreateTransferStatus
LINKED: Final = TransferFlags.LINKED
ACCOUNTS: Final = [Account(id=id_, ledger=1, code=1) for id_ in (1, 2)]
ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


def test_it_answers_as_the_ledger_does(tmp_path: Path) -> None:
    """Every method gives what the synchronous ledger gives for the same requests."""
    batch = [ONE, attrs.evolve(ONE, id=2, debit_account_id=404), ONE]

    async def use() -> list[object]:
        async with await AsyncLedger.open(tmp_path / "async", clock=HandClock()) as ledger:
            return [
                await ledger.create_accounts(ACCOUNTS),
                await ledger.create_transfers(batch),
                await ledger.lookup_accounts([2, 1]),
                await ledger.lookup_transfers([1, 2]),
                (await ledger.accounts()).tobytes(),
                (await ledger.at(position=2)).lookup_accounts([1]),
                (await ledger.checkpoint()).state_sha256,
                ledger.position,
                ledger.timestamp,
                ledger.report.events_replayed,
            ]

    with Ledger.open(tmp_path / "sync", clock=HandClock()) as ledger:
        expected = [
            ledger.create_accounts(ACCOUNTS),
            ledger.create_transfers(batch),
            ledger.lookup_accounts([2, 1]),
            ledger.lookup_transfers([1, 2]),
            ledger.accounts().tobytes(),
            ledger.at(position=2).lookup_accounts([1]),
            ledger.checkpoint().state_sha256,
            ledger.position,
            ledger.timestamp,
            ledger.report.events_replayed,
        ]
    assert asyncio.run(use()) == expected


def test_rows_go_in_and_rows_come_out(tmp_path: Path) -> None:
    """Requests in numpy rows are answered in numpy rows."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            accounts = np.zeros(1, ACCOUNT)
            assert (await ledger.create_accounts(accounts)).shape == (1,)
            assert (await ledger.create_transfers(np.zeros(3, TRANSFER))).shape == (3,)

    asyncio.run(use())


def test_tasks_share_a_record(tmp_path: Path) -> None:
    """What tasks ask for while one request is being written becomes one record after it."""
    disk = HeldDisk()

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger", storage=disk) as ledger:
            await ledger.create_accounts(ACCOUNTS)
            disk.hold()
            first = asyncio.create_task(ledger.create_transfers([ONE]))
            await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
            others = [
                asyncio.create_task(ledger.create_transfers([attrs.evolve(ONE, id=id_)]))
                for id_ in (2, 3, 1, 4)
            ]
            refused = asyncio.create_task(
                ledger.create_transfers([attrs.evolve(ONE, id=5, flags=LINKED)])
            )
            await asyncio.sleep(0)
            assert (await ledger.lookup_accounts([1]))[0].debits_posted == 0, "the loop is free"
            disk.release()
            results = [result for (result,) in await asyncio.gather(first, *others, refused)]
            expected = [S.CREATED, S.CREATED, S.CREATED, S.EXISTS, S.CREATED]
            assert [it.status for it in results] == [*expected, S.LINKED_EVENT_CHAIN_OPEN]
            assert results[3].timestamp == results[0].timestamp
            assert (await ledger.lookup_accounts([1]))[0].debits_posted == 40

    asyncio.run(use())
    records = [record.header.event_count for record in Reader(tmp_path / "ledger").records()]
    assert records == [2, 1, 3]


def test_a_hundred_tasks_race_for_one_id(tmp_path: Path) -> None:
    """Exactly one of them creates it; the others are told that it exists, and when."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            answers = await asyncio.gather(*(ledger.create_transfers([ONE]) for _ in range(100)))
            statuses = [answer.status for (answer,) in answers]
            assert sorted(statuses) == [S.EXISTS] * 99 + [S.CREATED]
            assert len({answer.timestamp for (answer,) in answers}) == 1

    asyncio.run(use())


def test_a_cancelled_caller_leaves_the_ledger_sound(tmp_path: Path) -> None:
    """Who stops waiting gets no answer; the request, once decided, takes effect all the same."""
    disk = HeldDisk()

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger", storage=disk) as ledger:
            await ledger.create_accounts(ACCOUNTS)
            disk.hold()
            task = asyncio.create_task(ledger.create_transfers([ONE]))
            assert await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            disk.release()
            assert (await ledger.create_transfers([ONE]))[0].status is S.EXISTS

    asyncio.run(use())


ODD: Final[dict[str, Callable[[], Any]]] = {
    "a generator": lambda: (it for it in [ONE]),
    "a set": lambda: {1},
    "a dict": lambda: {1: ONE},
    "a string": lambda: "12",
    "bytes": lambda: b"\1\2",
    "nothing": lambda: None,
    "an integer": lambda: 5,
    "floats": lambda: np.zeros(3),
    "a table of rows": lambda: np.zeros((2, 2), TRANSFER),
    "rows of the other kind": lambda: np.zeros(2, ACCOUNT),
    "a tuple": lambda: (ONE,),
    "other objects": lambda: [object()],
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_arguments_are_answered_as_by_the_synchronous_ledger(
    tmp_path: Path, odd: Callable[[], Any]
) -> None:
    """Copying them first makes no difference."""

    def said(call: Callable[[], object]) -> str:
        try:
            return str(call())
        except Exception as error:  # noqa: BLE001 - whatever it is
            return re.sub("0x[0-9a-f]+", "", repr(error))

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            await ledger.create_transfers([ONE])
            of_tasks[:] = [
                said(lambda result=result: result.result())  # type: ignore[misc]
                for result in [
                    await _settled(method(odd()))
                    for method in (ledger.create_transfers, ledger.lookup_transfers)
                ]
            ]

    of_tasks: list[str] = []
    asyncio.run(use())
    with Ledger.open(tmp_path / "ledger") as ledger:
        of_threads = [said(lambda: ledger.create_transfers(odd())),
                      said(lambda: ledger.lookup_transfers(odd()))]  # fmt: skip
    assert of_tasks == of_threads


async def _settled(awaitable: Any) -> asyncio.Future[Any]:  # noqa: ANN401
    task: asyncio.Future[Any] = asyncio.ensure_future(awaitable)
    await asyncio.wait([task])
    return task


def row(id_: int, amount: int) -> Rows:
    rows = np.zeros(1, TRANSFER)
    rows["id"][:, 0], rows["amount"][:, 0] = id_, amount
    rows["debit_account_id"][:, 0], rows["credit_account_id"][:, 0] = 1, 2
    rows["ledger"] = rows["code"] = 1
    return rows


def test_a_request_is_copied_when_it_is_made(tmp_path: Path) -> None:
    """One array or list, filled anew before the requests are awaited, makes different requests."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            accounts = ACCOUNTS[:1]
            first = asyncio.create_task(ledger.create_accounts(accounts))
            accounts[0] = ACCOUNTS[1]
            await asyncio.gather(first, ledger.create_accounts(accounts))
            buffer, tasks = row(0, 0), []
            for id_, amount in ((1, 5), (2, 7)):
                buffer["id"][:, 0], buffer["amount"][:, 0] = id_, amount
                tasks.append(asyncio.create_task(ledger.create_transfers(buffer)))
            buffer["amount"][:, 0] = 999
            results = await asyncio.gather(*tasks)
            assert [S(int(it["status"][0])) for it in results] == [S.CREATED, S.CREATED]
            assert [it.amount for it in await ledger.lookup_transfers([1, 2])] == [5, 7]

    asyncio.run(use())


@attrs.define
class Payment:
    """An event of another class: its fields may change."""

    id: int
    amount: int
    debit_account_id = 1
    credit_account_id = 2
    pending_id = user_data_128 = user_data_64 = user_data_32 = timeout = flags = timestamp = 0
    ledger = code = 1


def test_all_arguments_are_copied_when_a_method_is_called(tmp_path: Path) -> None:
    """Events of a class that is not frozen, and lists of ids."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            payment: Any = Payment(7, 5)
            many = [attrs.evolve(ONE, id=id_) for id_ in range(10, 2_000)]
            calls = [ledger.create_transfers([payment]), ledger.create_transfers([payment, *many])]
            payment.amount = 999
            created = [await call for call in calls]
            assert [it[0].status for it in created] == [S.CREATED, S.EXISTS]
            assert [it.amount for it in await ledger.lookup_transfers([7])] == [5]
            ids = [1]
            accounts, transfers = ledger.lookup_accounts(ids), ledger.lookup_transfers(ids)
            ids[0] = 7
            assert (len(await accounts), await transfers) == (1, [])

    asyncio.run(use())


@pytest.mark.parametrize("flags", [0, int(TransferFlags.PENDING), int(TransferFlags.LINKED)])
def test_an_array_may_be_filled_anew_after_a_timeout(tmp_path: Path, flags: int) -> None:
    """The request that was given up is carried out with the rows that it was made with."""
    disk = HeldDisk()

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger", storage=disk) as ledger:
            await ledger.create_accounts(ACCOUNTS)
            disk.hold()
            first = asyncio.create_task(ledger.create_transfers([ONE]))
            assert await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
            buffer = np.concatenate([row(2, 5), row(3, 6)])
            buffer["flags"][0] = flags
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ledger.create_transfers(buffer), 0.001)
            buffer["amount"][:, 0] = 999
            disk.release()
            await first
            await ledger.create_transfers([attrs.evolve(ONE, id=4)])  # The others are done by then.
            assert [it.amount for it in await ledger.lookup_transfers([2, 3])] == [5, 6]

    asyncio.run(use())


def test_errors_reach_the_awaiting_task(tmp_path: Path) -> None:
    """What the ledger raises is raised where it was awaited, and the ledger goes on."""

    async def use() -> None:
        with pytest.raises(NotALedger):
            await AsyncLedger.open(tmp_path / "missing", create=False)
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            with pytest.raises(LedgerLocked):
                await AsyncLedger.open(tmp_path / "ledger")
            with pytest.raises(InvalidField, match="amount"):
                await ledger.create_transfers([attrs.evolve(ONE, amount=-1)])
            await ledger.create_accounts(ACCOUNTS)
        await ledger.close()
        for call in (ledger.lookup_accounts([1]), ledger.create_accounts(ACCOUNTS)):
            with pytest.raises(LedgerClosed):
                await call

    asyncio.run(use())
    with Ledger.open(tmp_path / "ledger") as again:
        assert again.position == 2


def test_an_opening_that_is_cancelled_leaves_no_lock_behind(tmp_path: Path) -> None:
    """Whoever gives up waiting for a slow opening does not keep the next one out."""
    arrived, go_on = threading.Event(), threading.Event()

    class SlowDisk(ObservedStorage):
        def before(self, operation: Operation) -> None:
            if operation.path.suffix == ".segment":
                arrived.set()
                assert go_on.wait(TIMEOUT_SECONDS)

    def opens() -> bool:
        try:
            Ledger.open(tmp_path / "ledger").close()
        except LedgerLocked:
            return False
        return True

    async def give_up() -> None:
        opening = asyncio.create_task(AsyncLedger.open(tmp_path / "ledger", storage=SlowDisk()))
        assert await asyncio.to_thread(arrived.wait, TIMEOUT_SECONDS)
        assert not opens()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(give_up())
    go_on.set()
    until(opens)


def test_change_events_are_awaited(tmp_path: Path) -> None:
    """All there are, or those to come until the iterator is closed."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            batch = [attrs.evolve(ONE, id=id_) for id_ in range(1, 601)]
            await ledger.create_transfers(batch)
            found = [event.transfer.id async for event in ledger.get_change_events()]
            assert found == [transfer.id for transfer in batch]
            seen = []
            following = ledger.get_change_events(position_min=ledger.position, follow=True)
            async for event in following:
                seen.append(event.transfer.id)
                if len(seen) == 3:
                    break
                await ledger.create_transfers([attrs.evolve(ONE, id=600 + len(seen))])
            await following.aclose()
            assert seen == [600, 601, 602]

    asyncio.run(use())


def test_queries_are_awaited(tmp_path: Path) -> None:
    """They answer as the ledger's own do."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            [answer] = await ledger.create_transfers([ONE], balances=True)
            assert answer.debit_balance is not None
            assert answer.debit_balance.debits_posted == ONE.amount
            of_account = AccountFilter(account_id=ONE.debit_account_id)
            assert [it.id for it in await ledger.get_account_transfers(of_account)] == [ONE.id]
            assert await ledger.get_account_balances(of_account) == []
            assert [it.id for it in await ledger.query_transfers(QueryFilter())] == [ONE.id]
            assert len(await ledger.query_accounts(QueryFilter())) == len(ACCOUNTS)

    asyncio.run(use())


def test_requests_are_decided_in_the_order_of_their_calls(tmp_path: Path) -> None:
    """A transfer that posts a pending one comes after it, though nobody waited in between."""
    pending = attrs.evolve(ONE, flags=TransferFlags.PENDING)

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            requests = []
            for id_ in range(1, 401, 2):
                requests.append(ledger.create_transfers([attrs.evolve(pending, id=id_)]))
                post = Transfer(
                    id=id_ + 1,
                    pending_id=id_,
                    amount=AMOUNT_MAX,
                    flags=TransferFlags.POST_PENDING_TRANSFER,
                )
                requests.append(ledger.create_transfers([post]))
            answers = await asyncio.gather(*requests)
            assert [answer.status for (answer,) in answers] == [S.CREATED] * 400
            times = [answer.timestamp for (answer,) in answers]
            assert times == sorted(times)

    asyncio.run(use())


def test_a_long_request_is_not_overtaken(tmp_path: Path) -> None:
    """It becomes rows in the thread; what is asked after it comes after it."""
    pending = [attrs.evolve(ONE, id=id_, flags=TransferFlags.PENDING) for id_ in range(1, 5_001)]
    post = Transfer(
        id=9_000, pending_id=5_000, amount=AMOUNT_MAX, flags=TransferFlags.POST_PENDING_TRANSFER
    )

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            wrong = [*pending[:-1], attrs.evolve(ONE, amount=-1)]
            answers = await asyncio.gather(
                ledger.create_transfers(wrong),
                ledger.create_transfers(pending),
                ledger.create_transfers([post]),
                return_exceptions=True,
            )
            assert isinstance(answers[0], InvalidField)
            assert answers[0].row == 4_999
            created = [it.status for answer in answers[1:] if isinstance(answer, list)
                       for it in answer]  # fmt: skip
            assert created == [S.CREATED] * 5_001

    asyncio.run(use())


def test_one_request_that_is_refused_leaves_the_others_alone(tmp_path: Path) -> None:
    """Each task gets its own error, and each of the rest its answer."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            answers = await asyncio.gather(
                ledger.create_transfers([ONE]),
                ledger.create_transfers([attrs.evolve(ONE, amount=-1)]),
                ledger.create_transfers([]),
                ledger.create_transfers([attrs.evolve(ONE, id=2)]),
                return_exceptions=True,
            )
            assert isinstance(answers[1], InvalidField)
            assert [len(answer) for answer in answers if isinstance(answer, list)] == [1, 0, 1]

    asyncio.run(use())


def test_closing_ends_those_who_follow(tmp_path: Path) -> None:
    """They would wait for ever for what cannot come."""

    async def use() -> None:
        ledger = await AsyncLedger.open(tmp_path / "ledger")
        await ledger.create_accounts(ACCOUNTS)

        async def follow() -> int:
            return len([event async for event in ledger.get_change_events(follow=True)])

        task = asyncio.create_task(follow())
        await ledger.create_transfers([ONE])
        await asyncio.sleep(0.05)
        await ledger.close()
        assert await asyncio.wait_for(task, 30) in (0, 1)

    asyncio.run(use())


def test_what_is_known_at_once_is_not_awaited(tmp_path: Path) -> None:
    """Position, count and whether it is open are properties, as the ledger's are."""

    async def use() -> None:
        ledger = await AsyncLedger.open(tmp_path / "ledger")
        await ledger.create_accounts(ACCOUNTS)
        await ledger.create_transfers([ONE])
        assert (ledger.position, ledger.transfer_count) == (len(ACCOUNTS) + 1, 1)
        states, before = [ledger.is_open], await ledger.state_sha256()
        await ledger.close()
        assert [*states, ledger.is_open] == [True, False]
        with Ledger.open(tmp_path / "ledger") as again:
            assert again.state_sha256() == before

    asyncio.run(use())


@contextlib.contextmanager
def held_state(ledger: AsyncLedger) -> Iterator[threading.Thread]:
    """Another thread keeps the state for itself, as a checkpoint does."""
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with ledger._ledger._state_lock:  # private: no public call holds it as long as a test wants
            held.set()
            go.wait(TIMEOUT_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(TIMEOUT_SECONDS)
    try:
        yield thread
    finally:
        go.set()
        thread.join()


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_lookup_that_waits_for_the_disk_does_not_hold_up_the_loop(
    tmp_path: Path, count: int
) -> None:
    """It lets a pending transfer expire first, which is synced; other tasks take their turns."""
    disk, clock = HeldDisk(), HandClock()
    pending = attrs.evolve(ONE, flags=TransferFlags.PENDING, timeout=1)

    async def use() -> None:
        async with await AsyncLedger.open(
            tmp_path / "ledger", storage=disk, clock=clock, expiry_seconds=10**6
        ) as ledger:
            await ledger.create_accounts(ACCOUNTS)
            await ledger.create_transfers([pending])
            clock.now += 2 * 10**9
            disk.hold()
            looking = asyncio.create_task(ledger.lookup_accounts([1] * count))
            await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert not looking.done()
            disk.release()
            assert [account.debits_pending for account in await looking] == [0] * count

    asyncio.run(use())


def test_a_lookup_does_not_hold_up_the_loop_while_another_thread_reads(tmp_path: Path) -> None:
    """A checkpoint or a large look-up keeps the state for itself for a while."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            with held_state(ledger):
                looking = asyncio.create_task(ledger.lookup_accounts([1]))
                for _ in range(1_000):
                    await asyncio.sleep(0)
                assert not looking.done()
            assert [account.id for account in await looking] == [1]

    asyncio.run(use())


def test_counts_do_not_wait_while_another_thread_reads(tmp_path: Path) -> None:
    """They include what is durable and not yet in the state, and leave out what is refused."""

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.create_accounts(ACCOUNTS)
            with held_state(ledger) as holder:
                counts = ledger.account_count, ledger.transfer_count
                assert holder.is_alive(), "it has waited"
            assert counts == (len(ACCOUNTS), 0)
            await ledger.create_transfers([ONE])
            with held_state(ledger) as holder:
                counts = ledger.account_count, ledger.transfer_count
                assert holder.is_alive(), "it has waited"
            assert counts == (len(ACCOUNTS), 1)
            await ledger.create_transfers(
                [attrs.evolve(ONE, id=8), attrs.evolve(ONE, id=9, credit_account_id=404)]
            )
            assert ledger.transfer_count == 2
            await ledger.lookup_accounts([1])
            assert ledger.transfer_count == 2

    asyncio.run(use())


def test_counts_leave_out_what_is_not_durable(tmp_path: Path) -> None:
    """A request in flight may be lost with the machine."""
    disk = HeldDisk()

    async def use() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger", storage=disk) as ledger:
            await ledger.create_accounts(ACCOUNTS)
            disk.hold()
            task = asyncio.create_task(ledger.create_transfers([ONE]))
            assert await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
            counts = ledger.account_count, ledger.transfer_count
            disk.release()
            await task
            assert counts == (len(ACCOUNTS), 0)
            assert ledger.transfer_count == 1

    asyncio.run(use())
