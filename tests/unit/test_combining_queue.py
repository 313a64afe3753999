"""Callers that meet at a ledger: one record for many, and each its own answer.

The tests look at the private queue, and patch the pipeline behind it: nothing outside shows that a
caller waits in line, or can interrupt the one that leads at a given step.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro import (
    Account,
    CreateTransferStatus,
    InvalidField,
    JournalFull,
    Ledger,
    LedgerClosed,
    Reader,
    Transfer,
    TransferFlags,
    WriterPoisoned,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.rows import transfer_rows
from nostro.journal.writing.writer import QueuedRecord
from nostro.projections.pipeline.combining_queue import CombiningQueue
from nostro.projections.pipeline.create_request import JOINED_ROWS_MAX, CreateRequest, take_joined
from tests.ledgers import pipeline
from tests.waiting import until

S: Final = CreateTransferStatus
ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


def with_id(id_: int, **fields: Any) -> Transfer:  # noqa: ANN401 - as attrs has it
    return attrs.evolve(ONE, id=id_, **fields)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger") as opened:
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        yield opened


class Callers:
    """Each request is sent by a thread of its own, in order; the first is held undecided."""

    def __init__(self, ledger: Ledger, pool: ThreadPoolExecutor) -> None:
        self._ledger, self._pool = ledger, pool
        assert ledger._queue is not None  # private: nothing outside shows who waits in line
        self._queue = ledger._queue  # private: nothing outside shows who waits in line
        pipeline(ledger)._deciding.acquire()  # private: no request takes long to decide
        self.first = pool.submit(ledger.create_transfers, [ONE])
        until(lambda: self._queue._is_led)  # private: nothing outside shows who leads

    def send(self, *transfers: Transfer, **options: Any) -> Future[list[Any]]:  # noqa: ANN401
        before = len(self._queue._waiting)  # private: nothing outside shows who waits in line
        create: Any = self._ledger.create_transfers
        future: Future[list[Any]] = self._pool.submit(create, list(transfers), **options)
        # private: nothing outside shows who waits in line
        until(lambda: len(self._queue._waiting) > before)
        return future

    def release(self) -> None:
        pipeline(self._ledger)._deciding.release()  # private: no request takes long to decide


@pytest.fixture
def callers(ledger: Ledger) -> Iterator[Callers]:
    with ThreadPoolExecutor(16) as pool:
        yield Callers(ledger, pool)


def statuses(future: Future[list[Any]]) -> list[CreateTransferStatus]:
    return [result.status for result in future.result()]


def records(ledger: Ledger) -> list[int]:
    """How many events each record has, without the accounts."""
    return [record.header.event_count for record in Reader(ledger.path).records()][1:]


def test_callers_that_meet_share_a_record(callers: Callers, ledger: Ledger) -> None:
    """Each is answered as if it had come alone, in the order in which they came."""
    sent = [callers.send(with_id(2), with_id(3)), callers.send(with_id(4, code=0))]
    sent += [callers.send(with_id(2)), callers.send(with_id(5))]
    callers.release()
    assert statuses(callers.first) == [S.CREATED]
    assert [statuses(future) for future in sent] == [
        [S.CREATED, S.CREATED], [S.CODE_MUST_NOT_BE_ZERO], [S.EXISTS], [S.CREATED],
    ]  # fmt: skip
    assert sent[2].result()[0].timestamp == sent[0].result()[0].timestamp
    assert records(ledger) == [1, 3]
    assert ledger.lookup_accounts([1])[0].debits_posted == 40


def test_what_cannot_be_joined_goes_on_its_own(callers: Callers, ledger: Ledger) -> None:
    """A chain left open, imported events, accounts, and who asks for balances."""
    chain = callers.send(with_id(2), with_id(3, flags=TransferFlags.LINKED))
    plain = callers.send(with_id(4))
    imported = callers.send(with_id(5, flags=TransferFlags.IMPORTED, timestamp=1))
    balances = callers.send(with_id(6), balances=True)
    callers.release()
    assert statuses(chain) == [S.CREATED, S.LINKED_EVENT_CHAIN_OPEN]
    assert statuses(plain) == [S.CREATED]
    assert statuses(imported) == [S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS]
    assert [result.debit_balance.debits_posted for result in balances.result()] == [40]
    assert records(ledger) == [1, 1, 1, 1]


def test_when_there_is_no_room_for_all_each_is_tried_alone(
    callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who does not fit is told; the others get in."""
    decide = type(pipeline(ledger)).decide

    def little_room(kind: RecordKind, rows: Any, applied: Any) -> Any:  # noqa: ANN401
        if len(rows) > 1:
            raise JournalFull(ledger.path, 128 * len(rows))
        return decide(pipeline(ledger), kind, rows, applied)

    # private: no caller reaches this step of another's request
    monkeypatch.setattr(pipeline(ledger), "decide", little_room)
    sent = [
        callers.send(with_id(2)),
        callers.send(with_id(3), with_id(4)),
        callers.send(with_id(5)),
    ]
    callers.release()
    assert statuses(sent[0]) == statuses(sent[2]) == [S.CREATED]
    with pytest.raises(JournalFull):
        sent[1].result()
    assert [it.id for it in ledger.lookup_transfers([2, 3, 4, 5])] == [2, 5]


def test_an_answer_is_of_what_became_durable(
    callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of what was decided first and then found no room: alone, it is decided again."""
    complete = type(pipeline(ledger)).complete
    rooms = iter([True, False])

    def one_refusal(queued: QueuedRecord | None) -> None:
        complete(pipeline(ledger), queued)
        if not next(rooms, True):
            raise JournalFull(ledger.path, 128)

    # private: no caller reaches this step of another's request
    monkeypatch.setattr(pipeline(ledger), "complete", one_refusal)
    sent = [callers.send(with_id(id_)) for id_ in (2, 3)]
    callers.release()
    assert [statuses(future) for future in sent] == [[S.EXISTS], [S.EXISTS]]
    assert statuses(callers.first) == [S.CREATED]


class Stop(BaseException):
    """Comes from outside."""


def test_when_the_next_leader_is_interrupted_another_leads(
    callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sleeps for ever because somebody else was stopped at the disk."""
    wait = type(pipeline(ledger)).wait_for_disk
    interruptions = iter([True])

    def interrupted_once() -> None:
        if next(interruptions, False):
            raise Stop
        wait(pipeline(ledger))

    # private: no caller reaches this step of another's request
    monkeypatch.setattr(pipeline(ledger), "wait_for_disk", interrupted_once)
    sent = [callers.send(with_id(id_)) for id_ in (2, 3, 4)]
    callers.release()
    with pytest.raises(Stop):
        sent[0].result()
    assert statuses(callers.first) == statuses(sent[1]) == statuses(sent[2]) == [S.CREATED]


def test_what_stops_the_leader_stops_nobody_else(
    callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others learn that what became of their requests is unknown."""
    complete = type(pipeline(ledger)).complete
    interruptions = iter([False, True])

    def interrupted_once(queued: QueuedRecord | None) -> None:
        complete(pipeline(ledger), queued)
        if next(interruptions, False):
            raise Stop

    # private: no caller reaches this step of another's request
    monkeypatch.setattr(pipeline(ledger), "complete", interrupted_once)
    sent = [callers.send(with_id(id_)) for id_ in (2, 3)]
    callers.release()
    with pytest.raises(Stop):
        sent[0].result()
    with pytest.raises(WriterPoisoned, match="reopen the ledger"):
        sent[1].result()
    assert ledger.create_transfers([with_id(4)])[0].status is S.CREATED


def test_a_failure_reaches_everybody_it_concerns(
    callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sleeps for ever, and the next request is carried out."""
    decide = type(pipeline(ledger)).decide

    def failing(kind: RecordKind, rows: Any, applied: Any) -> Any:  # noqa: ANN401
        if len(rows) > 1:
            raise MemoryError
        return decide(pipeline(ledger), kind, rows, applied)

    # private: no caller reaches this step of another's request
    monkeypatch.setattr(pipeline(ledger), "decide", failing)
    sent = [callers.send(with_id(id_)) for id_ in (2, 3, 4)]
    callers.release()
    for future in sent:
        with pytest.raises(MemoryError):
            future.result()
    assert ledger.create_transfers([with_id(5)])[0].status is S.CREATED


def test_everybody_is_told_when_the_ledger_closes(callers: Callers, ledger: Ledger) -> None:
    """Who was decided on before it is created, who was not is refused; nobody is left in line."""
    sent = [callers.first, *[callers.send(with_id(id_)) for id_ in range(2, 9)]]
    closing = threading.Thread(target=ledger.close)
    closing.start()
    callers.release()
    closing.join()
    created = [id_ for id_, future in enumerate(sent, 1) if future.exception() is None]
    refused = [future.exception() for future in sent if future.exception() is not None]
    assert all(isinstance(error, LedgerClosed) for error in refused)
    with Ledger.open(ledger.path) as again:
        assert [it.id for it in again.lookup_transfers(range(1, 9))] == created


def test_a_caller_with_a_bad_field_does_not_get_in_line(ledger: Ledger) -> None:
    """It is told at once, and nobody else is."""
    with pytest.raises(InvalidField, match="amount"):
        ledger.create_transfers([attrs.evolve(ONE, amount=-1)])
    assert ledger.create_transfers([ONE])[0].status is S.CREATED


class Interrupted:
    def acquire(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_elected", [True, False])
def test_who_is_interrupted_in_line_leaves_it(ledger: Ledger, is_elected: bool) -> None:
    """If it was to lead, the next one does."""
    line = CombiningQueue(pipeline(ledger))
    gone, next_ = (
        CreateRequest(RecordKind.TRANSFERS, transfer_rows([with_id(id_)])) for id_ in (1, 2)
    )
    line._is_led = True  # private: no signal arrives at a chosen step
    next_.wake = threading.Lock()
    next_.wake.acquire()
    gone.wake = Interrupted()  # type: ignore[assignment]
    line._waiting = deque([gone, next_])  # private: no signal arrives at a chosen step
    gone.is_elected = is_elected
    with pytest.raises(KeyboardInterrupt):
        line._sleep(gone)  # private: no signal arrives at a chosen step
    assert list(line._waiting) == [next_]  # private: nothing outside shows who waits in line
    assert next_.is_elected is is_elected
    assert next_.wake.locked() is not is_elected


@pytest.mark.parametrize("last", [1, 2])
def test_requests_are_joined_up_to_a_limit(last: int) -> None:
    """So that nobody waits for a record without end."""
    sizes = [4_000, JOINED_ROWS_MAX - 4_001, last]
    line = deque(CreateRequest(RecordKind.TRANSFERS, transfer_rows([ONE] * size)) for size in sizes)
    joined = take_joined(line)
    assert len(joined.rows) == (JOINED_ROWS_MAX if last == 1 else JOINED_ROWS_MAX - 1)
    assert len(joined.parts) == (3 if last == 1 else 2)
    assert [len(request.rows) for request in line] == ([] if last == 1 else [2])
