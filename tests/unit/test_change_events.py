"""Change events, and the balances that an answer may carry: each posting with what it led to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountBalance,
    ChangeEvent,
    ChangeEventType,
    CreateTransferStatus,
    InvalidField,
    Ledger,
    NotALedger,
    OutOfRange,
    Transfer,
    TransferFlags,
    change_events,
)
from nostro.journal.rows import transfer_rows
from tests.clocks import HandClock

T: Final = ChangeEventType
F: Final = TransferFlags
SECOND: Final = 10**9
PLAIN: Final = Transfer(
    id=1, debit_account_id=1, credit_account_id=2, amount=10, user_data_64=9, ledger=1, code=7
)
PENDING: Final = attrs.evolve(PLAIN, id=2, amount=100, flags=F.PENDING)


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger", clock=clock) as ledger:
        ledger.create_accounts(
            [Account(id=id_, ledger=1, code=id_, user_data_128=2**100 + id_) for id_ in (1, 2)]
        )
        yield ledger


def told(event: ChangeEvent) -> tuple[int, ChangeEventType, int, tuple[int, ...]]:
    debit, credit = event.debit_account, event.credit_account
    return event.position, event.type, event.transfer.id, (
        debit.debits_pending, debit.debits_posted, credit.credits_pending, credit.credits_posted,
    )  # fmt: skip


def test_every_kind_of_event_is_told_with_the_balances_after_it(
    ledger: Ledger, clock: HandClock
) -> None:
    """In one request or in many, refused ones left out, what expired at the time it did."""
    ledger.create_transfers(
        [
            PLAIN,
            attrs.evolve(PLAIN, id=3, code=0),
            attrs.evolve(PLAIN, id=4, debit_account_id=404),
            PENDING,
            attrs.evolve(PENDING, id=5, timeout=1),
            attrs.evolve(PENDING, id=6),
        ]
    )
    ledger.create_transfers(
        [
            Transfer(id=7, pending_id=2, amount=60, flags=F.POST_PENDING_TRANSFER),
            Transfer(id=8, pending_id=6, flags=F.VOID_PENDING_TRANSFER),
        ]
    )
    clock.now += 2 * SECOND
    events = list(ledger.get_change_events())
    assert [told(event) for event in events] == [
        (3, T.SINGLE_PHASE, 1, (0, 10, 0, 10)),
        (5, T.TWO_PHASE_PENDING, 2, (100, 10, 100, 10)),
        (6, T.TWO_PHASE_PENDING, 5, (200, 10, 200, 10)),
        (7, T.TWO_PHASE_PENDING, 6, (300, 10, 300, 10)),
        (8, T.TWO_PHASE_POSTED, 7, (200, 70, 200, 70)),
        (9, T.TWO_PHASE_VOIDED, 8, (100, 70, 100, 70)),
        (10, T.TWO_PHASE_EXPIRED, 5, (0, 70, 0, 70)),
    ]
    for event in events[:-1]:
        assert [event.transfer] == ledger.lookup_transfers([event.transfer.id])
        assert event.timestamp == event.transfer.timestamp
    assert [events[-1].transfer] == ledger.lookup_transfers([5])
    assert events[-1].timestamp == clock.now
    last = events[-1]
    assert [last.debit_account, last.credit_account] == ledger.lookup_accounts([1, 2])


def test_it_begins_wherever_it_is_told_to(ledger: Ledger, clock: HandClock) -> None:
    """Within a record or between two, before a checkpoint or after it, by position or time."""
    for first in (10, 20, 30):
        clock.now += 100
        ledger.create_transfers([attrs.evolve(PLAIN, id=first + n) for n in range(3)])
        ledger.checkpoint()
    events = list(ledger.get_change_events())
    assert [event.position for event in events] == list(range(3, 12))
    for position in range(13):
        expected = [event for event in events if event.position >= position]
        assert list(ledger.get_change_events(position_min=position)) == expected
    for event in events:
        for time in (event.timestamp - 1, event.timestamp, event.timestamp + 1):
            expected = [event for event in events if event.timestamp >= time]
            assert list(ledger.get_change_events(timestamp_min=time)) == expected
    both = list(ledger.get_change_events(position_min=5, timestamp_min=events[5].timestamp))
    assert both == events[5:]


def test_it_follows_the_writer(ledger: Ledger) -> None:
    """What becomes durable later comes too, until it is stopped."""
    stop, seen = threading.Event(), []

    def read() -> None:
        for event in change_events(ledger.path, follow=True, stop=stop):
            seen.append(told(event))
            if len(seen) == 3:
                stop.set()

    reader = threading.Thread(target=read)
    reader.start()
    for id_ in (1, 2, 3):
        ledger.create_transfers([attrs.evolve(PLAIN, id=id_)])
    reader.join(30)
    assert seen == [(2 + n, T.SINGLE_PHASE, n, (0, 10 * n, 0, 10 * n)) for n in (1, 2, 3)]


def test_what_cannot_be_read_is_refused_at_once(ledger: Ledger, tmp_path: Path) -> None:
    """By the call and not by the first event."""
    with pytest.raises(NotALedger):
        change_events(tmp_path / "nothing")
    with pytest.raises(OutOfRange):
        ledger.get_change_events(position_min=-1)
    with pytest.raises(OutOfRange):
        ledger.get_change_events(timestamp_min=2**63)
    with pytest.raises(OutOfRange):  # what comes up to there would be passed over
        ledger.get_change_events(position_min=ledger.position + 2, follow=True)
    wrong: list[dict[str, Any]] = [
        {"position_min": "1"}, {"timestamp_min": 1.0}, {"timeout_seconds": float("nan")},
        {"timeout_seconds": -1}, {"timeout_seconds": "x"}, {"stop": 1},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(InvalidField) as caught:
            ledger.get_change_events(follow=True, **arguments)
        assert caught.value.field in arguments


def test_closing_the_ledger_ends_those_who_follow(ledger: Ledger) -> None:
    """They would wait for ever for what cannot come."""
    ledger.create_transfers([PLAIN])
    seen: list[int] = []

    def read() -> None:
        seen.extend(event.position for event in ledger.get_change_events(follow=True))

    reader = threading.Thread(target=read)
    reader.start()
    ledger.close()
    reader.join(30)
    assert not reader.is_alive()
    assert seen in ([], [3])


# --- balances in the answer ---


def test_an_answer_may_carry_the_balances_after_each_transfer(ledger: Ledger) -> None:
    """Just after it, though the next of the batch changed them again; none for what failed."""
    answers = ledger.create_transfers(
        [
            PLAIN,
            attrs.evolve(PLAIN, id=3, code=0),
            attrs.evolve(PLAIN, id=4, credit_account_id=404),
            PENDING,
            Transfer(id=5, pending_id=2, amount=AMOUNT_MAX, flags=F.POST_PENDING_TRANSFER),
        ],
        balances=True,
    )
    times = [answer.timestamp for answer in answers]
    assert [(answer.debit_balance, answer.credit_balance) for answer in answers] == [
        (AccountBalance(0, 10, 0, 0, times[0]), AccountBalance(0, 0, 0, 10, times[0])),
        (None, None),
        (None, None),
        (AccountBalance(100, 10, 0, 0, times[3]), AccountBalance(0, 0, 100, 10, times[3])),
        (AccountBalance(0, 110, 0, 0, times[4]), AccountBalance(0, 0, 0, 110, times[4])),
    ]
    [again] = ledger.create_transfers([PLAIN], balances=True)
    assert again.status is CreateTransferStatus.EXISTS
    assert again.debit_balance is None
    assert ledger.create_transfers([], balances=True) == []


def test_a_large_batch_carries_them_too(ledger: Ledger) -> None:
    """Also where the batch is decided, and without balances folded, by columns."""
    batch = [attrs.evolve(PLAIN, id=n) for n in range(1, 1_001)]
    answers = ledger.create_transfers(batch, balances=True)
    assert [a.debit_balance.debits_posted for a in answers if a.debit_balance] == [
        10 * n for n in range(1, 1_001)
    ]
    with pytest.raises(InvalidField, match="balances"):
        ledger.create_transfers(transfer_rows(batch), balances=True)  # type: ignore[call-overload]


def test_threads_get_the_balances_of_their_own_transfers(ledger: Ledger) -> None:
    """Whoever folds a group, each transfer's balances reach whoever asked for it."""
    seen: dict[int, int] = {}

    def work(first: int) -> None:
        for id_ in range(first, first + 50):
            [answer] = ledger.create_transfers(
                [attrs.evolve(PLAIN, id=id_, amount=1)], balances=True
            )
            assert answer.debit_balance is not None
            seen[answer.timestamp] = answer.debit_balance.debits_posted

    threads = [threading.Thread(target=work, args=(1_000 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seen[timestamp] for timestamp in sorted(seen)] == list(range(1, 401))
