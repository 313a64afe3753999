"""Past ledgers: what was known at a position, what had happened by a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    TIMESTAMP_MAX,
    Account,
    AccountFlags,
    InvalidField,
    Ledger,
    LedgerClosed,
    OutOfRange,
    PastLedger,
    Transfer,
    TransferFlags,
)
from tests.clocks import HandClock

ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)
OLD: Final = Account(id=1, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=100)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(5_000)


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    """Accounts at 100 and 110, transfers 1 to 3 at 200, 300 and 400, all in one record each."""
    with Ledger.open(tmp_path / "ledger", clock=clock) as opened:
        opened.create_accounts([OLD, attrs.evolve(OLD, id=2, timestamp=110)])
        opened.create_transfers([imported(id_, 100 + 100 * id_) for id_ in (1, 2, 3)])
        yield opened


def imported(id_: int, timestamp: int) -> Transfer:
    return attrs.evolve(ONE, id=id_, flags=TransferFlags.IMPORTED, timestamp=timestamp)


def facts(past: PastLedger) -> tuple[list[int], list[int], list[int]]:
    """Account ids, what each has been debited, and the transfers there are."""
    accounts = past.lookup_accounts([1, 2])
    return (
        [account.id for account in accounts],
        [account.debits_posted for account in accounts],
        [transfer.id for transfer in past.lookup_transfers([1, 2, 3, 4])],
    )


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (0, ([], [], [])),
        (99, ([], [], [])),
        (100, ([1], [0], [])),
        (199, ([1, 2], [0, 0], [])),
        (200, ([1, 2], [10, 0], [1])),
        (399, ([1, 2], [20, 0], [1, 2])),
        (400, ([1, 2], [30, 0], [1, 2, 3])),
        (TIMESTAMP_MAX, ([1, 2], [30, 0], [1, 2, 3])),
    ],
)
def test_a_time_includes_what_happened_at_it(
    ledger: Ledger, timestamp: int, expected: tuple[list[int], list[int], list[int]]
) -> None:
    """Up to and with the nanosecond asked for, even in the middle of one request's record."""
    assert facts(ledger.at(timestamp=timestamp)) == expected


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (0, ([], [], [])),
        (1, ([1], [0], [])),
        (2, ([1, 2], [0, 0], [])),
        (4, ([1, 2], [20, 0], [1, 2])),
        (5, ([1, 2], [30, 0], [1, 2, 3])),
    ],
)
def test_a_position_includes_its_event(
    ledger: Ledger, position: int, expected: tuple[list[int], list[int], list[int]]
) -> None:
    """Events after the position are left out, even those of the same record."""
    past = ledger.at(position=position)
    assert facts(past) == expected
    assert (past.position, past.transfer_count) == (position, len(expected[2]))
    assert len(past.accounts()) == len(expected[0])


def test_the_present_is_a_past_too(ledger: Ledger) -> None:
    """At the last position the past ledger has the live ledger's state, hash and all."""
    past = ledger.at(position=ledger.position)
    assert past.state_sha256() == ledger.state_sha256()
    assert past.timestamp == ledger.timestamp


@pytest.mark.parametrize(
    ("timestamp", "position"), [(-1, None), (TIMESTAMP_MAX + 1, None), (None, -1), (None, 6)]
)
def test_what_the_journal_does_not_reach_is_an_error(
    ledger: Ledger, timestamp: int | None, position: int | None
) -> None:
    """The error names what was asked for and how far the journal goes."""
    with pytest.raises(OutOfRange, match="is outside the journal") as caught:
        ledger.at(timestamp=timestamp, position=position)
    assert caught.value.value == (position if timestamp is None else timestamp)


@pytest.mark.parametrize(("timestamp", "position"), [(None, None), (1, 1)])
def test_one_moment_must_be_named(
    ledger: Ledger, timestamp: int | None, position: int | None
) -> None:
    """Neither a time nor a position, or both, is no moment."""
    with pytest.raises(InvalidField, match="must be given, or a timestamp, but not both"):
        ledger.at(timestamp=timestamp, position=position)


def test_a_past_ledger_does_not_change(ledger: Ledger) -> None:
    """What is written later is not in it, not even an import with an earlier time."""
    by_time, by_position = ledger.at(timestamp=1_000), ledger.at(position=5)
    before = facts(by_time), facts(by_position)
    ledger.create_transfers([imported(4, 500)])
    assert (facts(by_time), facts(by_position)) == before
    assert facts(ledger.at(timestamp=1_000)) == ([1, 2], [40, 0], [1, 2, 3, 4])


def test_a_checkpoint_later_than_the_moment_is_not_used(ledger: Ledger) -> None:
    """Checkpoints speed up the way to a moment and never change what is found there."""
    found = [facts(ledger.at(timestamp=t)) for t in (150, 250, 350)]
    ledger.checkpoint()
    assert [facts(ledger.at(timestamp=t)) for t in (150, 250, 350)] == found
    ledger.create_transfers([imported(4, 500)])
    ledger.checkpoint()
    assert [facts(ledger.at(timestamp=t)) for t in (150, 250, 350)] == found
    assert facts(ledger.at(position=4)) == ([1, 2], [20, 0], [1, 2])


def test_many_accounts_are_the_same_as_one_by_one(ledger: Ledger) -> None:
    """Whether the indexes tell them or a replay."""
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in range(10, 1_500)])
    ledger.create_transfers([attrs.evolve(ONE, id=id_, credit_account_id=id_) for id_ in (20, 30)])
    for position in (5, 10, ledger.position - 1):
        together = ledger.at(position=position).lookup_accounts(range(1, 1_600))
        past = ledger.at(position=position)
        one_by_one = [account for id_ in range(1, 60) for account in past.lookup_accounts([id_])]
        assert together[: len(one_by_one)] == one_by_one
        assert len(together) == min(position - 3, 1_492)


def test_accounts_are_still_told_when_the_ledger_is_closed(ledger: Ledger) -> None:
    """The journal knows them; transfers are not looked for any more."""
    past = ledger.at(position=4)
    ledger.close()
    assert [account.debits_posted for account in past.lookup_accounts([1, 2])] == [20, 0]
    with pytest.raises(LedgerClosed):
        past.lookup_transfers([1])


@pytest.mark.parametrize("is_posted", [True, False])
def test_an_account_is_closed_when_it_was(ledger: Ledger, is_posted: bool) -> None:
    """From the pending transfer on that closed it; until that is voided, or for good."""
    closing = TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT
    ledger.create_transfers([attrs.evolve(ONE, id=4, flags=closing)])
    resolving = (
        TransferFlags.POST_PENDING_TRANSFER if is_posted else TransferFlags.VOID_PENDING_TRANSFER
    )
    amount = AMOUNT_MAX if is_posted else 0
    ledger.create_transfers([Transfer(id=5, amount=amount, pending_id=4, flags=resolving)])
    assert ledger.position == 7
    closed = [
        bool(ledger.at(position=position).lookup_accounts([1])[0].flags & AccountFlags.CLOSED)
        for position in range(1, 8)
    ]
    assert closed == [False] * 5 + [True, is_posted]


def test_what_was_reserved_is_told_until_it_expired(ledger: Ledger, clock: HandClock) -> None:
    """Though the transfer that was imported after the expiry is earlier."""
    ledger.create_transfers([attrs.evolve(ONE, id=4, flags=TransferFlags.PENDING, timeout=1)])
    clock.now += 2 * 10**9
    expired_at = ledger.lookup_accounts([1])[0].debits_pending, ledger.timestamp
    assert expired_at[0] == 0
    ledger.create_transfers([imported(5, clock.now - 10**9)])
    assert ledger.timestamp == expired_at[1]
    accounts = [
        ledger.at(timestamp=timestamp).lookup_accounts([1])[0]
        for timestamp in (clock.now - 10**9 - 1, clock.now - 10**9, clock.now - 1, ledger.timestamp)
    ]
    assert [(it.debits_pending, it.debits_posted) for it in accounts] == [
        (10, 30), (10, 40), (10, 40), (0, 40),
    ]  # fmt: skip
