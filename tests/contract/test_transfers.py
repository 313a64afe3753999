"""What transfers do: two phases, balancing, closing, limits, chains, times that run out."""

from __future__ import annotations

from typing import Final

import pytest

from nostro import (
    AMOUNT_MAX,
    AccountFlags,
    LedgerClient,
    Transfer,
    TransferFailed,
    TransferFlags,
    id,
    raise_for_status,
)
from tests.contract.books import Books
from tests.waiting import until

F: Final = TransferFlags
POST, VOID, PENDING = F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER, F.PENDING
LIMITED: Final = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
OWED: Final = AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS


def test_a_pending_transfer_is_posted_in_part(ledger: LedgerClient) -> None:
    """What is not posted is released, and a second resolution is refused."""
    books = Books(ledger)
    pending = books.move(10, flags=PENDING)
    assert books.post(pending) == ["CREATED"]
    assert books.balances() == [(10, 0, 0, 0), (0, 0, 10, 0)]
    assert books.post(
        books.resolve(pending, POST, 11),
        books.resolve(pending, POST, 7),
        books.resolve(pending, POST, 7),
        books.resolve(pending, VOID),
    ) == [
        "EXCEEDS_PENDING_TRANSFER_AMOUNT", "CREATED",
        "PENDING_TRANSFER_ALREADY_POSTED", "PENDING_TRANSFER_ALREADY_POSTED",
    ]  # fmt: skip
    assert books.balances() == [(0, 7, 0, 0), (0, 0, 0, 7)]


def test_a_pending_transfer_is_voided(ledger: LedgerClient) -> None:
    """Nothing is left of it; what is not pending, or not there, cannot be resolved."""
    books = Books(ledger)
    pending, plain, absent = books.move(10, flags=PENDING), books.move(1), Transfer(id=id())
    assert books.post(
        pending,
        plain,
        books.resolve(pending, VOID, 9),
        books.resolve(pending, VOID),
        books.resolve(pending, POST, AMOUNT_MAX),
        books.resolve(plain, VOID),
        books.resolve(absent, VOID),
    ) == [
        "CREATED", "CREATED", "PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT", "CREATED",
        "PENDING_TRANSFER_ALREADY_VOIDED", "PENDING_TRANSFER_NOT_PENDING",
        "PENDING_TRANSFER_NOT_FOUND",
    ]  # fmt: skip
    assert books.balances() == [(0, 1, 0, 0), (0, 0, 0, 1)]


def test_the_whole_of_a_pending_transfer_is_posted(ledger: LedgerClient) -> None:
    """The greatest amount stands for all of it; what is looked up has the pending one's fields."""
    books = Books(ledger)
    pending = books.move(10, flags=PENDING)
    post = books.resolve(pending, POST, AMOUNT_MAX)
    assert books.post(pending, post) == ["CREATED", "CREATED"]
    [found] = ledger.lookup_transfers([post.id])
    assert (found.amount, found.debit_account_id, found.code) == (10, books.ids[0], books.code)


def test_a_pending_transfer_runs_out_of_time(ledger: LedgerClient) -> None:
    """After its timeout the amount is free again, and it can no longer be posted."""
    books = Books(ledger)
    pending = books.move(10, flags=PENDING, timeout=1)
    assert books.post(pending) == ["CREATED"]
    until(lambda: books.balances() == [(0, 0, 0, 0), (0, 0, 0, 0)])
    assert books.post(books.resolve(pending, POST, 10)) == ["PENDING_TRANSFER_EXPIRED"]


def test_an_account_may_not_owe_more_than_it_has(ledger: LedgerClient) -> None:
    """Both limits are exact to the unit, and count what is pending."""
    books = Books(ledger, LIMITED, OWED, AccountFlags.NONE)
    limited, owed, free = books.ids
    assert books.post(
        books.move(10, debit_account_id=free, credit_account_id=limited),
        books.move(8, debit_account_id=limited, credit_account_id=free, flags=PENDING),
        books.move(3, debit_account_id=limited, credit_account_id=free),
        books.move(2, debit_account_id=limited, credit_account_id=free),
        books.move(1, debit_account_id=free, credit_account_id=owed),
    ) == ["CREATED", "CREATED", "EXCEEDS_CREDITS", "CREATED", "EXCEEDS_DEBITS"]


def test_a_balancing_transfer_moves_what_there_is(ledger: LedgerClient) -> None:
    """It takes no more than is there, and is looked up with the amount that it became."""
    books = Books(ledger, LIMITED, AccountFlags.NONE)
    rich, other = books.ids
    fill = books.move(10, debit_account_id=other, credit_account_id=rich)
    balancing = books.move(25, flags=F.BALANCING_DEBIT)
    assert books.post(fill, balancing) == ["CREATED", "CREATED"]
    [found] = ledger.lookup_transfers([balancing.id])
    assert found.amount == 10
    assert books.balances() == [(0, 10, 0, 10), (0, 10, 0, 10)]


def test_a_closed_account_takes_nothing_until_it_is_reopened(ledger: LedgerClient) -> None:
    """Voiding the transfer that closed it opens it again."""
    books = Books(ledger)
    closing = books.move(0, flags=PENDING | F.CLOSING_DEBIT)
    assert books.post(closing, books.move(1)) == ["CREATED", "DEBIT_ACCOUNT_ALREADY_CLOSED"]
    [closed, _] = ledger.lookup_accounts(books.ids)
    assert closed.flags == AccountFlags.CLOSED
    assert books.post(books.resolve(closing, VOID), books.move(1)) == ["CREATED", "CREATED"]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_chain_succeeds_or_fails_whole(ledger: LedgerClient, bad: int) -> None:
    """One bad member takes the others back; what stands around the chain is untouched."""
    books = Books(ledger)
    chain = [books.move(1, flags=F.LINKED), books.move(2, flags=F.LINKED), books.move(4)]
    broken = [
        books.move(1, flags=transfer.flags, code=0 if number == bad else books.code)
        for number, transfer in enumerate(chain)
    ]
    expected = ["LINKED_EVENT_FAILED"] * 3
    expected[bad] = "CODE_MUST_NOT_BE_ZERO"
    statuses = books.post(books.move(8), *broken, *chain)
    assert statuses == ["CREATED", *expected, "CREATED", "CREATED", "CREATED"]
    assert books.balances() == [(0, 15, 0, 0), (0, 0, 0, 15)]


def test_a_chain_that_the_request_ends_in_is_open(ledger: LedgerClient) -> None:
    """It is refused whole, and nothing of it is left."""
    books = Books(ledger)
    chain = [books.move(1, flags=F.LINKED), books.move(1, flags=F.LINKED)]
    assert books.post(*chain) == ["LINKED_EVENT_FAILED", "LINKED_EVENT_CHAIN_OPEN"]
    assert ledger.lookup_transfers([it.id for it in chain]) == []


def test_a_chain_breaks_on_what_exists(ledger: LedgerClient) -> None:
    """What was there before is no part of a new chain, and nothing of that is created."""
    books = Books(ledger)
    old, new = books.move(1, flags=F.LINKED), books.move(1)
    assert books.post(old, books.move(1)) == ["CREATED", "CREATED"]
    assert books.post(old, new) == ["EXISTS", "LINKED_EVENT_FAILED"]
    assert ledger.lookup_transfers([new.id]) == []


def test_a_chain_that_is_sent_again_is_told_from_one_that_failed(ledger: LedgerClient) -> None:
    """By looking it up: both are answered alike."""
    books = Books(ledger)
    chain = [books.move(1, flags=F.LINKED), books.move(1)]
    for _ in range(2):
        raise_for_status(ledger.create_transfers(chain), chain, allow_exists=True, ledger=ledger)
    other = [chain[0], books.move(1)]
    with pytest.raises(TransferFailed, match="exists"):
        raise_for_status(ledger.create_transfers(other), other, allow_exists=True, ledger=ledger)


def test_what_does_not_fit_overflows(ledger: LedgerClient) -> None:
    """A sum that does not fit in 128 bits is refused by name."""
    books = Books(ledger)
    assert books.post(
        books.move(AMOUNT_MAX - 1),
        books.move(1, flags=PENDING),
        books.move(1, flags=PENDING),
        books.move(2),
    ) == ["CREATED", "CREATED", "OVERFLOWS_DEBITS", "OVERFLOWS_DEBITS_POSTED"]
