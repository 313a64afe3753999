"""Requests that meet while one of them is still on its way to the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from threading import enumerate as threads
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFilter,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    JournalFull,
    Ledger,
    QueryFilter,
    Reader,
    Transfer,
    TransferFlags,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.rows import WORDS_OF_ROW, account_rows
from nostro.projections.deciding.fast_path_columns import ROWS_MIN
from nostro.projections.state.accounts import Accounts
from tests.clocks import HandClock
from tests.disks import HeldDisk
from tests.ledgers import pipeline
from tests.waiting import until

S: Final = CreateTransferStatus
BANK, WALLET, NEW = 1, 2, 3
ONE: Final = Transfer(
    id=1, debit_account_id=BANK, credit_account_id=WALLET, amount=10, ledger=1, code=1
)
BACK: Final = attrs.evolve(ONE, id=2, debit_account_id=WALLET, credit_account_id=BANK)
PLAIN: Final = attrs.evolve(ONE, credit_account_id=NEW)


@pytest.fixture
def disk() -> HeldDisk:
    return HeldDisk()


@pytest.fixture
def pool(disk: HeldDisk) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor
        disk.release()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_000)


@pytest.fixture
def ledger(
    tmp_path: Path, disk: HeldDisk, pool: ThreadPoolExecutor, clock: HandClock
) -> Iterator[Ledger]:
    """A bank, and a wallet that must not be overdrawn."""
    limited = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    with Ledger.open(tmp_path / "ledger", storage=disk, clock=clock) as opened:
        opened.create_accounts(
            [
                Account(id=BANK, ledger=1, code=1),
                Account(id=WALLET, ledger=1, code=1, flags=limited),
            ]
        )
        yield opened
        disk.release()


class Meeting:
    """Sends requests from threads of their own, each once the one before it is decided."""

    def __init__(self, ledger: Ledger, disk: HeldDisk, pool: ThreadPoolExecutor) -> None:
        self.ledger, self.disk, self.pool = ledger, disk, pool
        self.decided = 0
        decide: Callable[..., Any] = pipeline(ledger).decide

        def counting(*arguments: Any) -> Any:  # noqa: ANN401 - passes on what it is given
            answer = decide(*arguments)
            self.decided += 1
            return answer

        # private: nothing outside shows that a request is decided
        pipeline(ledger).decide = counting  # type: ignore[method-assign, assignment]
        disk.hold()

    def send(self, *events: Transfer | Account) -> Future[Any]:
        before = self.decided
        send: Callable[..., Any] = (
            self.ledger.create_accounts
            if isinstance(events[0], Account)
            else self.ledger.create_transfers
        )
        future = self.pool.submit(send, list(events))
        until(lambda: self.decided > before or future.done())
        return future


@pytest.fixture
def meeting(ledger: Ledger, disk: HeldDisk, pool: ThreadPoolExecutor) -> Meeting:
    return Meeting(ledger, disk, pool)


def statuses(future: Future[list[CreateTransferResult]]) -> list[CreateTransferStatus]:
    return [result.status for result in future.result()]


def test_a_request_sees_what_was_decided_before_it(meeting: Meeting) -> None:
    """Money still in flight can be spent, and spent only once; ids and accounts in flight exist."""
    first = meeting.send(ONE)
    new = meeting.send(Account(id=NEW, ledger=1, code=1))
    spent = meeting.send(BACK, attrs.evolve(BACK, id=3, amount=1))
    onward = meeting.send(attrs.evolve(ONE, id=4, credit_account_id=NEW))
    again = meeting.send(ONE, BACK, attrs.evolve(BACK, id=3))
    assert meeting.ledger.lookup_transfers([1, 2, 4]) == []
    assert meeting.ledger.position == 2, "nothing in flight is shown"
    assert not first.done()
    meeting.disk.release()
    assert statuses(first) == statuses(onward) == [S.CREATED]
    assert new.result()[0].status is CreateAccountStatus.CREATED
    assert statuses(spent) == [S.CREATED, S.EXCEEDS_CREDITS]
    assert statuses(again) == [S.EXISTS, S.EXISTS, S.ID_ALREADY_FAILED]
    assert [t.id for t in meeting.ledger.lookup_transfers([1, 2, 3, 4])] == [1, 2, 4]


def test_callers_in_line_share_one_sync(meeting: Meeting, tmp_path: Path) -> None:
    """What gathers behind a slow sync is written as one group, in the order of the decisions."""
    futures = [meeting.send(attrs.evolve(ONE, id=id_)) for id_ in range(1, 6)]
    meeting.disk.release()
    assert [statuses(future) for future in futures] == [[S.CREATED]] * 5
    records = list(Reader(tmp_path / "ledger").records())[1:]
    assert [record.position_first for record in records] == [3, 4, 5, 6, 7]
    assert [record.header.position_durable for record in records] == [2] * 5
    assert [int(record.parts[0].rows["id"][0, 0]) for record in records] == [1, 2, 3, 4, 5]


def test_what_rests_on_a_refused_record_is_refused_with_it(meeting: Meeting) -> None:
    """When the disk turns a record down, nothing decided on top of it is answered or kept."""
    written = meeting.send(Account(id=NEW, ledger=1, code=1))
    first = meeting.send(ONE)
    spent = meeting.send(BACK)
    repeated = meeting.send(ONE)  # decides nothing new, but would say that ONE exists
    meeting.disk.release(full=True)
    for future in (first, spent, repeated):
        with pytest.raises(JournalFull):
            future.result()
    assert written.result()[0].status is CreateAccountStatus.CREATED
    meeting.disk.full = False
    ledger = meeting.ledger
    assert ledger.lookup_transfers([1, 2]) == []
    assert [r.status for r in ledger.create_transfers([BACK])] == [S.EXCEEDS_CREDITS]
    assert [r.status for r in ledger.create_transfers([ONE])] == [S.CREATED]
    fresh = attrs.evolve(BACK, id=5)
    assert [r.status for r in ledger.create_transfers([fresh])] == [S.CREATED]


def test_closing_waits_for_what_is_in_flight(meeting: Meeting) -> None:
    """A request that was decided before the ledger closes gets its answer."""
    first = meeting.send(ONE)
    closing = meeting.pool.submit(meeting.ledger.close)
    until(lambda: not meeting.ledger.is_open)
    assert not first.done()
    meeting.disk.release()
    closing.result()
    assert statuses(first) == [S.CREATED]


def test_closing_releases_everything_though_what_is_in_flight_is_refused(
    meeting: Meeting, tmp_path: Path
) -> None:
    """A disk that fills up during close costs the request in flight, not the lock or a thread."""
    written = meeting.send(Account(id=NEW, ledger=1, code=1))
    first = meeting.send(ONE)
    closing = meeting.pool.submit(meeting.ledger.close)
    until(lambda: not meeting.ledger.is_open)
    assert "nostro-checkpoint" in {thread.name for thread in threads()}
    meeting.disk.release(full=True)
    with pytest.raises(JournalFull):
        first.result()
    closing.result()  # whoever waited has been told
    assert written.result()[0].status is CreateAccountStatus.CREATED
    assert "nostro-checkpoint" not in {thread.name for thread in threads()}
    with Ledger.open(tmp_path / "ledger") as reopened:
        assert reopened.position == 3


def test_a_huge_amount_in_flight_is_not_overlooked_by_columns(meeting: Meeting) -> None:
    """A plain batch overflows against an amount that the durable balances do not show yet."""
    first = meeting.send(attrs.evolve(ONE, amount=AMOUNT_MAX, credit_account_id=WALLET))
    new = Account(id=NEW, ledger=1, code=1)
    meeting.disk.release()
    first.result()
    meeting.ledger.create_accounts([new, attrs.evolve(new, id=4)])
    meeting.disk.hold()
    huge = attrs.evolve(ONE, id=10, debit_account_id=NEW, credit_account_id=4, amount=AMOUNT_MAX)
    second = meeting.send(huge)
    batch = [attrs.evolve(huge, id=100 + n, amount=1) for n in range(ROWS_MIN)]
    third = meeting.send(*batch)
    meeting.disk.release()
    assert statuses(second) == [S.CREATED]
    assert statuses(third) == [S.OVERFLOWS_DEBITS_POSTED] * ROWS_MIN
    (account,) = meeting.ledger.lookup_accounts([NEW])
    assert account.debits_posted == AMOUNT_MAX


def _plain_batch(first_id: int) -> list[Transfer]:
    return [attrs.evolve(PLAIN, id=first_id + number, amount=1) for number in range(ROWS_MIN)]


def test_ids_apart_from_those_in_flight_are_decided_at_once(meeting: Meeting) -> None:
    """Callers whose ids rise each on its own do not wait for one another."""
    meeting.disk.release()
    meeting.ledger.create_accounts([Account(id=NEW, ledger=1, code=1)])
    meeting.disk.hold()
    later = meeting.send(*_plain_batch(1_000))
    earlier = meeting.send(*_plain_batch(500))
    assert not later.done()
    # private: nothing outside shows how many are in flight
    assert len(pipeline(meeting.ledger)._in_flight) == 2
    meeting.disk.release()
    assert statuses(later) == statuses(earlier) == [S.CREATED] * ROWS_MIN


def test_an_id_in_flight_is_not_overlooked_by_columns(meeting: Meeting) -> None:
    """One of a long batch's ids was used a moment ago, by a request that is not durable yet."""
    meeting.disk.release()
    meeting.ledger.create_accounts([Account(id=NEW, ledger=1, code=1)])
    meeting.disk.hold()
    first = meeting.send(*_plain_batch(1_000))
    batch = _plain_batch(500)
    batch[40] = attrs.evolve(batch[40], id=1_020)
    second = meeting.pool.submit(meeting.ledger.create_transfers, batch)
    meeting.disk.release()
    assert statuses(first) == [S.CREATED] * ROWS_MIN
    expected = [S.CREATED] * ROWS_MIN
    expected[40] = S.EXISTS
    assert statuses(second) == expected


def test_an_account_being_closed_is_not_overlooked_by_columns(meeting: Meeting) -> None:
    """A plain batch meets a closing transfer that the durable table does not show yet."""
    meeting.disk.release()
    accounts = [Account(id=id_, ledger=1, code=1) for id_ in (NEW, 4)]
    meeting.ledger.create_accounts(accounts)
    meeting.disk.hold()
    flags = TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT
    move = attrs.evolve(ONE, debit_account_id=NEW, credit_account_id=4)
    closing = meeting.send(attrs.evolve(move, id=10, flags=flags))
    batch = meeting.send(*[attrs.evolve(move, id=100 + n) for n in range(ROWS_MIN)])
    meeting.disk.release()
    assert statuses(closing) == [S.CREATED]
    assert statuses(batch) == [S.DEBIT_ACCOUNT_ALREADY_CLOSED] * ROWS_MIN


def test_an_import_by_columns_does_not_overlook_an_account_in_flight(
    meeting: Meeting, clock: HandClock
) -> None:
    """A long imported batch keeps clear of the time of an account that is not durable yet."""
    meeting.disk.release()
    meeting.ledger.create_accounts([Account(id=5, ledger=1, code=1)])
    meeting.disk.hold()
    clock.now = 9_000
    first = meeting.send(
        Account(id=NEW, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=1_500)
    )
    batch = [
        attrs.evolve(
            ONE,
            id=100 + n,
            credit_account_id=5,
            flags=TransferFlags.IMPORTED,
            timestamp=1_480 + n,
        )
        for n in range(ROWS_MIN)
    ]
    second = meeting.send(*batch)
    meeting.disk.release()
    first.result()
    regressed = S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    assert statuses(second) == [S.CREATED] * 20 + [regressed] + [S.CREATED] * (ROWS_MIN - 21)


def test_no_time_is_used_twice_while_records_settle(meeting: Meeting, clock: HandClock) -> None:
    """An imported event cannot slip in at the time of one that becomes durable just then."""
    old = Account(id=NEW, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=1_500)
    clock.now = 9_000
    accounts = meeting.ledger._state.accounts  # private: no record settles at a chosen step
    table_asked = accounts.has_timestamp
    first = meeting.send(old)

    def settle_meanwhile(timestamp: int) -> bool:
        found = table_asked(timestamp)
        meeting.disk.release()
        first.result()
        return found

    # private: no record settles at a chosen step
    accounts.has_timestamp = settle_meanwhile  # type: ignore[method-assign]
    imported = attrs.evolve(ONE, flags=TransferFlags.IMPORTED, timestamp=1_500)
    second = meeting.send(imported)
    meeting.disk.release()
    assert statuses(second) == [S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS]


def test_no_account_is_imported_at_the_time_of_a_transfer_that_settles(
    meeting: Meeting, clock: HandClock
) -> None:
    """The same the other way round: the transfer is in flight, the account comes after it."""
    clock.now = 9_000
    # private: no record settles at a chosen step
    archive = pipeline(meeting.ledger)._frontier.archive
    journal_asked = archive.has_transfer_at
    first = meeting.send(attrs.evolve(ONE, flags=TransferFlags.IMPORTED, timestamp=1_500))

    def settle_meanwhile(timestamp: int) -> bool:
        found = journal_asked(timestamp)
        meeting.disk.release()
        first.result()
        return found

    # private: no record settles at a chosen step
    archive.has_transfer_at = settle_meanwhile  # type: ignore[method-assign]
    old = Account(id=NEW, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=1_500)
    second = meeting.send(old)
    meeting.disk.release()
    (result,) = second.result()
    assert result.status is CreateAccountStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS


READERS: Final[dict[str, Callable[[Ledger], object]]] = {
    "position": lambda ledger: ledger.position == 5,
    "timestamp": lambda ledger: ledger.timestamp == ledger.lookup_transfers([2])[0].timestamp,
    "transfer_count": lambda ledger: ledger.transfer_count == 2,
    "lookup_accounts": lambda ledger: ledger.lookup_accounts([BANK])[0].debits_posted == 20,
    "lookup_transfers": lambda ledger: len(ledger.lookup_transfers([1, 2])) == 2,
    "accounts": lambda ledger: ledger.accounts()["debits_posted"][0, 0] == 20,
    "at": lambda ledger: ledger.at(position=5).lookup_accounts([BANK])[0].debits_posted == 20,
    "query_accounts": lambda ledger: (
        ledger.query_accounts(QueryFilter(limit=9))[0].debits_posted == 20
    ),
    "query_transfers": lambda ledger: len(ledger.query_transfers(QueryFilter(limit=9))) == 2,
    "get_account_transfers": lambda ledger: (
        len(ledger.get_account_transfers(AccountFilter(BANK, limit=9))) == 2
    ),
    "get_change_events": lambda ledger: len(list(ledger.get_change_events())) == 2,
    "checkpoint": lambda ledger: ledger.checkpoint().position == 5,
    "create_transfers": lambda ledger: (
        ledger.create_transfers([attrs.evolve(PLAIN, id=2)])[0].status is S.EXISTS
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_was_acknowledged_is_seen_by_every_reader(ledger: Ledger, reader: str) -> None:
    """The last plain request is folded in when the next one comes, or by whoever reads first."""
    ledger.create_accounts([Account(id=NEW, ledger=1, code=1)])
    ledger.create_transfers([PLAIN])
    ledger.create_transfers([attrs.evolve(PLAIN, id=2)])
    assert pipeline(ledger).is_behind, "or this shows nothing"
    assert READERS[reader](ledger)


def test_what_was_acknowledged_last_is_in_the_hash_and_the_checkpoint(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Equal states have equal hashes, folded in already or not; closing folds everything in."""
    ledger.create_accounts([Account(id=NEW, ledger=1, code=1)])
    ledger.create_transfers([PLAIN])
    assert pipeline(ledger).is_behind
    before = ledger.state_sha256()
    assert not pipeline(ledger).is_behind
    assert ledger.state_sha256() == before
    ledger.create_transfers([attrs.evolve(PLAIN, id=2)])
    assert pipeline(ledger).is_behind
    ledger.close()
    assert ledger.position == 5
    with Ledger.open(tmp_path / "ledger") as again:
        assert again.report.events_replayed == 0


def test_pending_transfers_that_came_last_expire_in_time(tmp_path: Path) -> None:
    """Nobody asks for anything after them; the ledger looks out for them all the same."""
    clock = HandClock(1_000)
    pending = attrs.evolve(PLAIN, flags=TransferFlags.PENDING, timeout=1)
    with Ledger.open(tmp_path / "other", clock=clock, expiry_seconds=0.02) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (BANK, NEW)])
        batch = [attrs.evolve(pending, id=10 + number) for number in range(ROWS_MIN)]
        ledger.create_transfers([PLAIN])
        ledger.create_transfers(batch)
        clock.now += 5 * 10**9
        until(lambda: Reader(ledger.path).head().position == 2 + 1 + 2 * ROWS_MIN)
        assert ledger.lookup_accounts([BANK])[0].debits_pending == 0


def test_a_reader_that_meets_the_closing_sees_what_was_acknowledged(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the ledger open, so it answers, and with everything.

    Patched: no call from outside falls between the two checks. The patches below are for such
    moments too.
    """
    ledger.create_accounts([Account(id=NEW, ledger=1, code=1)])
    ledger.create_transfers([PLAIN])
    assert pipeline(ledger).is_behind
    fold = ledger._fold  # private: no call from outside falls between two steps

    def closed_meanwhile() -> None:
        ledger._closed.set()  # private: no call from outside falls between two steps
        fold()

    # private: no call from outside falls between two steps
    monkeypatch.setattr(ledger, "_fold", closed_meanwhile)
    # private: no call from outside falls between two steps
    monkeypatch.setattr(ledger, "_check_open", lambda: None)
    assert ledger.lookup_accounts([NEW])[0].credits_posted == 10
    ledger._closed.clear()  # private: the ledger is closed in good order later


def test_what_comes_while_a_checkpoint_is_copied_gets_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, though it is the last request."""
    with Ledger.open(tmp_path / "other", checkpoint_seconds=0.1) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (BANK, NEW)])
        folder = tmp_path / "other" / "checkpoints"
        until(lambda: [*folder.glob("*-00000000000000000002.*")])
        ledger.create_transfers([PLAIN])
        fold = ledger._fold  # private: no call from outside falls between two steps
        late = iter([attrs.evolve(PLAIN, id=2)])

        def one_more() -> None:
            fold()
            for transfer in late:
                ledger.create_transfers([transfer])

        # private: no request arrives at a chosen step
        monkeypatch.setattr(ledger._checkpointer, "_fold_durable", one_more)
        until(lambda: [*folder.glob("*-00000000000000000004.*")])


def test_a_signal_handler_may_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a look-up of the same thread, while something is unfolded."""
    ledger.create_accounts([Account(id=NEW, ledger=1, code=1)])
    find = ledger._state.accounts.find  # private: no signal arrives at a chosen step
    seen = []

    def interrupted(ids: list[int]) -> bytearray:
        monkeypatch.undo()
        request = Thread(target=ledger.create_transfers, args=([PLAIN],))
        request.start()
        request.join()
        seen.append((ledger.position, ledger.timestamp > 0, ledger.transfer_count))
        return find(ids)

    # private: no signal arrives at a chosen step
    monkeypatch.setattr(ledger._state.accounts, "find", interrupted)
    assert ledger.lookup_accounts([BANK])[0].id == BANK
    assert seen == [(4, True, 1)]


def test_the_last_record_in_flight_may_settle_at_any_moment(ledger: Ledger) -> None:
    """An answer that rests on nothing new does not stumble over a line that empties meanwhile."""

    class Emptying(deque[Any]):
        def __bool__(self) -> bool:
            return True

        def __getitem__(self, index: object, /) -> Any:  # noqa: ANN401 - as deque has it
            raise IndexError(index)

    ledger.create_transfers([ONE])
    pipeline(ledger)._in_flight = Emptying()  # private: no record settles at a chosen step
    assert [r.status for r in ledger.create_transfers([ONE])] == [S.EXISTS]
    pipeline(ledger)._in_flight = deque()  # private: no record settles at a chosen step


def test_an_account_that_is_found_has_its_row() -> None:
    """Whoever finds an id while accounts are being added can read its row, whatever the moment."""
    accounts = Accounts()

    class Watched(dict[int, int]):
        def update(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - as dict has it
            super().update(*arguments, **named)
            ids = np.array([[7, 0]], np.uint64)
            assert accounts.rows["code"][accounts.slots_of(ids)].tolist() == [5]

    accounts.slots = Watched()
    accounts.add(account_rows([Account(id=7, ledger=1, code=5)]), 1)
    assert accounts.count == 1


def test_the_table_may_grow_while_a_request_is_decided(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts that settle in another thread just then are found in the table they are in."""
    many = [Account(id=100 + n, ledger=1, code=1) for n in range(2_000)]
    requests = pipeline(ledger)
    _, queued = requests.decide(RecordKind.ACCOUNTS, account_rows(many))
    assert queued is not None
    requests._writer.wait(queued)  # private: the accounts must be durable and not yet in the table

    class SettledMeanwhile:
        @staticmethod
        def iter_unpack(data: bytes) -> list[tuple[int, ...]]:
            thread = Thread(target=requests.fold_durable)
            thread.start()
            thread.join()
            return list(WORDS_OF_ROW.iter_unpack(data))

    # private: no record settles at a chosen step
    monkeypatch.setattr("nostro.projections.deciding.fast_path_rows.WORDS_OF_ROW", SettledMeanwhile)
    late = attrs.evolve(ONE, debit_account_id=2_090, credit_account_id=2_091)
    assert [r.status for r in ledger.create_transfers([late])] == [S.CREATED]
