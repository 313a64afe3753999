"""Change events, and the balances in an answer: each posting with what it led to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import pytest

from nostro import (
    AMOUNT_MAX,
    AccountBalance,
    AccountFlags,
    ChangeEvent,
    ChangeEventType,
    InvalidField,
    LedgerClient,
    OutOfRange,
    Transfer,
    TransferFlags,
    TransferWithBalances,
    id,
)
from nostro.journal.rows import transfer_rows
from tests.contract.books import Books
from tests.waiting import TIMEOUT_SECONDS, until

F: Final = TransferFlags
T: Final = ChangeEventType
POST, VOID, PENDING = F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER, F.PENDING


def since(books: Books) -> int:
    """When the last account of the books was made: before anything happened to them, ns."""
    return max(account.timestamp for account in books.ledger.lookup_accounts(books.ids))


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def told(event: ChangeEvent) -> tuple[ChangeEventType, int, tuple[int, ...]]:
    debit, credit = event.debit_account, event.credit_account
    return event.type, event.transfer.id, (
        debit.debits_pending, debit.debits_posted, credit.credits_pending, credit.credits_posted,
    )  # fmt: skip


def test_every_kind_of_event_is_told_with_both_accounts_after_it(ledger: LedgerClient) -> None:
    """In one request or in many, refused ones left out; what expired is told when it did."""
    books = Books(ledger, AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlags.NONE)
    poor, other = books.ids
    fill = books.move(1_000, debit_account_id=other, credit_account_id=poor)
    plain = books.move(10, user_data_128=2**100, user_data_64=2**63, user_data_32=7)
    first, second = books.move(100, flags=PENDING), books.move(50, flags=PENDING)
    timed = books.move(30, flags=PENDING, timeout=1)
    broken = [books.move(1, flags=F.LINKED), books.move(1, code=0)]
    books.post(fill, plain, books.move(1, code=0), books.move(9_999), first, timed, second, *broken)
    posting, voiding = books.resolve(first, POST, 60), books.resolve(second, VOID)
    assert books.post(posting, voiding) == ["CREATED", "CREATED"]
    closing = books.move(0, flags=PENDING | F.CLOSING_CREDIT)
    assert books.post(closing) == ["CREATED"]
    until(lambda: books.balances()[0] == (0, 70, 0, 1_000))

    events = list(ledger.get_change_events(timestamp_min=since(books)))
    expiry = next(event for event in events if event.type is T.TWO_PHASE_EXPIRED)
    assert expiry.timestamp >= expiry.transfer.timestamp + 10**9
    assert [expiry.transfer] == ledger.lookup_transfers([timed.id])
    assert [expiry.debit_account, expiry.credit_account] == ledger.lookup_accounts(books.ids)
    events.remove(expiry)
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)
    for event in events:
        assert [event.transfer] == ledger.lookup_transfers([event.transfer.id])
        assert event.timestamp == event.transfer.timestamp
    still = 30 if expiry.timestamp > events[-1].timestamp else 0
    assert [told(event) for event in events] == [
        (T.SINGLE_PHASE, fill.id, (0, 1_000, 0, 1_000)),
        (T.SINGLE_PHASE, plain.id, (0, 10, 0, 10)),
        (T.TWO_PHASE_PENDING, first.id, (100, 10, 100, 10)),
        (T.TWO_PHASE_PENDING, timed.id, (130, 10, 130, 10)),
        (T.TWO_PHASE_PENDING, second.id, (180, 10, 180, 10)),
        (T.TWO_PHASE_POSTED, posting.id, (80, 70, 80, 70)),
        (T.TWO_PHASE_VOIDED, voiding.id, (30, 70, 30, 70)),
        (T.TWO_PHASE_PENDING, closing.id, (still, 70, still, 70)),
    ]
    flags = [event.credit_account.flags for event in events[1:]]
    assert flags == [AccountFlags.NONE] * 6 + [AccountFlags.CLOSED]


def test_they_begin_where_they_are_told_to(ledger: LedgerClient) -> None:
    """At a time, or just after one."""
    books = Books(ledger)
    for _ in range(3):
        books.post(*(books.move(1) for _ in range(3)))
    events = list(ledger.get_change_events(timestamp_min=since(books)))
    assert [event.debit_account.debits_posted for event in events] == list(range(1, 10))
    for at, event in enumerate(events):
        assert list(ledger.get_change_events(timestamp_min=event.timestamp)) == events[at:]
        assert list(ledger.get_change_events(timestamp_min=event.timestamp + 1)) == events[at + 1 :]


def test_more_than_a_message_holds_is_told_whole(ledger: LedgerClient) -> None:
    """Thousands, in order, each once."""
    books = Books(ledger)
    sent = [books.move(1) for _ in range(6_001)]
    ledger.create_transfers(sent)
    events = list(ledger.get_change_events(timestamp_min=since(books)))
    assert [event.transfer.id for event in events] == [transfer.id for transfer in sent]
    assert [event.credit_account.credits_posted for event in events] == list(range(1, 6_002))


def test_who_does_not_follow_is_told_what_there_was(ledger: LedgerClient) -> None:
    """When it began, or so; so it ends, however much comes meanwhile."""
    books = Books(ledger)
    ledger.create_transfers(transfer_rows([books.move(1) for _ in range(3_001)]))
    reading = ledger.get_change_events(timestamp_min=since(books))
    posted = [next(reading).debit_account.debits_posted]
    for _ in range(3):
        books.post(books.move(1))
    posted += [event.debit_account.debits_posted for event in reading]
    assert posted == list(range(1, 3_002))


def test_who_follows_is_told_what_comes(ledger: LedgerClient) -> None:
    """Until it is told to stop, also when nothing comes any more."""
    books, stop = Books(ledger), threading.Event()
    seen: list[int] = []

    def read() -> None:
        following = ledger.get_change_events(timestamp_min=since(books), follow=True, stop=stop)
        seen.extend(event.debit_account.debits_posted for event in following)

    reader = in_thread(read)
    for count in range(1, 4):
        assert books.post(books.move(1), books.move(1)) == ["CREATED"] * 2
        until(lambda count=count: len(seen) == 2 * count)  # type: ignore[misc]
    stop.set()
    reader.join(TIMEOUT_SECONDS)
    assert not reader.is_alive()
    assert seen == [1, 2, 3, 4, 5, 6]
    assert list(ledger.get_change_events(follow=True, stop=stop)) == []


def test_who_follows_may_stop_after_any_event(ledger: LedgerClient) -> None:
    """And goes on after it."""
    books = Books(ledger)
    books.post(*(books.move(1) for _ in range(5)))
    done, seen = since(books), []
    for _ in range(5):
        for event in ledger.get_change_events(timestamp_min=done + 1, follow=True):
            seen.append(event.debit_account.debits_posted)
            done = event.timestamp
            break
    assert seen == [1, 2, 3, 4, 5]


def test_who_follows_may_stop_itself(ledger: LedgerClient) -> None:
    """What is there already is not told any more then."""
    books, stop = Books(ledger), threading.Event()
    for _ in range(5):
        books.post(books.move(1))
    seen = []
    for event in ledger.get_change_events(timestamp_min=since(books), follow=True, stop=stop):
        seen.append(event.debit_account.debits_posted)
        if len(seen) == 2:
            stop.set()
    assert seen == [1, 2]


def test_following_ends_when_nothing_comes_for_a_while(ledger: LedgerClient) -> None:
    """With everything there is, and no later than it is told to."""
    books = Books(ledger)
    books.post(books.move(1), books.move(1))
    for seconds in (0, 0.05):
        following = ledger.get_change_events(
            timestamp_min=since(books), follow=True, timeout_seconds=seconds
        )
        assert [event.debit_account.debits_posted for event in following] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"timestamp_min": -1}, OutOfRange),
        ({"timestamp_min": 2**63}, OutOfRange),
        ({"timestamp_min": 1.0}, InvalidField),
        ({"timeout_seconds": -1}, InvalidField),
        ({"timeout_seconds": "x"}, InvalidField),
        ({"stop": 1}, InvalidField),
    ],
)
def test_what_cannot_be_told_is_refused_at_once(
    ledger: LedgerClient, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """By the call, and not by the first event."""
    with pytest.raises(error):
        ledger.get_change_events(follow=True, **arguments)


# --- balances in the answer ---


def shown(answer: TransferWithBalances) -> tuple[str, tuple[int, ...] | None]:
    debit, credit = answer.debit_balance, answer.credit_balance
    if debit is None or credit is None:
        assert debit is credit
        return answer.status.name, None
    assert debit.timestamp == credit.timestamp == answer.timestamp
    return answer.status.name, (
        debit.debits_pending, debit.debits_posted, credit.credits_pending, credit.credits_posted,
    )  # fmt: skip


def test_an_answer_may_carry_the_balances_after_each_transfer(ledger: LedgerClient) -> None:
    """Just after it, though the next of the batch changed them; none for what was not created."""
    books = Books(ledger)
    plain, pending = books.move(10), books.move(100, flags=PENDING)
    answers = ledger.create_transfers(
        [
            plain,
            books.move(1, code=0),
            books.move(1, credit_account_id=id()),
            plain,
            pending,
            books.resolve(pending, POST, AMOUNT_MAX),
            books.move(1, flags=F.LINKED),
            books.move(AMOUNT_MAX, flags=F.LINKED),
            books.move(1),
            books.move(5, flags=F.LINKED),
            books.move(6),
        ],
        balances=True,
    )
    assert [shown(answer) for answer in answers] == [
        ("CREATED", (0, 10, 0, 10)),
        ("CODE_MUST_NOT_BE_ZERO", None),
        ("CREDIT_ACCOUNT_NOT_FOUND", None),
        ("EXISTS", None),
        ("CREATED", (100, 10, 100, 10)),
        ("CREATED", (0, 110, 0, 110)),
        ("LINKED_EVENT_FAILED", None),
        ("OVERFLOWS_DEBITS_POSTED", None),
        ("LINKED_EVENT_FAILED", None),
        ("CREATED", (0, 115, 0, 115)),
        ("CREATED", (0, 121, 0, 121)),
    ]
    assert answers[0].credit_balance == AccountBalance(0, 0, 0, 10, answers[0].timestamp)
    assert type(answers[1]) is TransferWithBalances
    [again] = ledger.create_transfers([plain], balances=True)
    assert shown(again) == ("EXISTS", None)
    assert again.timestamp == answers[0].timestamp
    assert ledger.create_transfers([], balances=True) == []


def test_imported_transfers_are_answered_with_balances(ledger: LedgerClient) -> None:
    """At their own times, between which others happened."""
    books = Books(ledger)
    [newest] = ledger.create_transfers([books.move(1)])
    time = newest.timestamp
    accepted = [
        books.move(amount, flags=F.IMPORTED, timestamp=time + late)
        for amount, late in ((2, 1), (4, 3))
    ]
    stale = books.move(1, flags=F.IMPORTED, timestamp=time)
    answers = ledger.create_transfers([*accepted, stale], balances=True)
    assert [shown(answer) for answer in answers] == [
        ("CREATED", (0, 3, 0, 3)),
        ("CREATED", (0, 7, 0, 7)),
        ("IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS", None),
    ]


def test_a_long_request_is_answered_with_balances(ledger: LedgerClient) -> None:
    """Though it takes several messages, and so do the balances; rows cannot carry any."""
    books = Books(ledger)
    batch = [books.move(1, code=0 if n % 100 == 7 else books.code) for n in range(3_001)]
    answers = ledger.create_transfers(batch, balances=True)
    posted = [it.debit_balance.debits_posted for it in answers if it.debit_balance is not None]
    assert posted == list(range(1, 2_972))
    assert [it.debit_balance is None for it in answers] == [it.code == 0 for it in batch]
    rows: Any = transfer_rows([books.move(1)])
    with pytest.raises(InvalidField, match="needs a list of transfers, not an array"):
        ledger.create_transfers(rows, balances=True)
    assert books.balances()[0] == (0, 2_971, 0, 0)


def test_threads_get_the_balances_of_their_own_transfers(ledger: LedgerClient) -> None:
    """Whatever the others do in between."""
    books = Books(ledger)
    seen: dict[int, int] = {}

    def work() -> None:
        for _ in range(10):
            mine: list[Transfer] = [books.move(1), books.move(1)]
            for answer in ledger.create_transfers(mine, balances=True):
                assert answer.debit_balance is not None
                seen[answer.timestamp] = answer.debit_balance.debits_posted

    threads = [in_thread(work) for _ in range(4)]
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    assert [seen[timestamp] for timestamp in sorted(seen)] == list(range(1, 81))
