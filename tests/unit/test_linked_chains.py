"""Linked chains: all of it or nothing, and the results TigerBeetle gives for each member."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
    audit,
)
from tests.clocks import HandClock

A: Final = CreateAccountStatus
S: Final = CreateTransferStatus
LINKED, IMPORTED = TransferFlags.LINKED, TransferFlags.IMPORTED
NOW: Final = 1_000

GOOD: Final = Transfer(id=9, debit_account_id=1, credit_account_id=2, amount=7, ledger=1, code=1)
LIMITED: Final = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS


@pytest.fixture
def clock() -> HandClock:
    return HandClock(100)


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    """Accounts 1 and 2, 3 that is closed, 4 that must not overdraw; transfer 50 exists."""
    with Ledger.open(tmp_path / "ledger", clock=clock) as opened:
        opened.create_accounts(
            [
                Account(id=1, ledger=1, code=1),
                Account(id=2, ledger=1, code=1),
                Account(id=3, ledger=1, code=1, flags=AccountFlags.CLOSED),
                Account(id=4, ledger=1, code=1, flags=LIMITED),
            ]
        )
        opened.create_transfers([attrs.evolve(GOOD, id=50)])
        clock.now = NOW
        yield opened


def chain(*members: Transfer) -> list[Transfer]:
    """The members linked, the last one closing the chain."""
    return [attrs.evolve(t, flags=t.flags | LINKED) for t in members[:-1]] + [members[-1]]


def good(id_: int) -> Transfer:
    return attrs.evolve(GOOD, id=id_)


def statuses(results: list[CreateTransferResult]) -> list[CreateTransferStatus]:
    return [result.status for result in results]


BREAKERS: Final = [
    (attrs.evolve(GOOD, id=60, timestamp=5), S.TIMESTAMP_MUST_BE_ZERO),
    (attrs.evolve(GOOD, id=60, flags=IMPORTED, timestamp=5), S.IMPORTED_EVENT_NOT_EXPECTED),
    (attrs.evolve(GOOD, id=60, flags=TransferFlags(1 << 12)), S.RESERVED_FLAG),
    (attrs.evolve(GOOD, id=0), S.ID_MUST_NOT_BE_ZERO),
    (attrs.evolve(GOOD, id=AMOUNT_MAX), S.ID_MUST_NOT_BE_INT_MAX),
    (attrs.evolve(GOOD, id=50, amount=8), S.EXISTS_WITH_DIFFERENT_FLAGS),  # by being linked
    (attrs.evolve(GOOD, id=60, debit_account_id=2), S.ACCOUNTS_MUST_BE_DIFFERENT),
    (attrs.evolve(GOOD, id=60, ledger=0), S.LEDGER_MUST_NOT_BE_ZERO),
    (attrs.evolve(GOOD, id=60, debit_account_id=404), S.DEBIT_ACCOUNT_NOT_FOUND),
    (attrs.evolve(GOOD, id=60, credit_account_id=404), S.CREDIT_ACCOUNT_NOT_FOUND),
    (attrs.evolve(GOOD, id=60, debit_account_id=3), S.DEBIT_ACCOUNT_ALREADY_CLOSED),
    (attrs.evolve(GOOD, id=60, credit_account_id=3), S.CREDIT_ACCOUNT_ALREADY_CLOSED),
    (attrs.evolve(GOOD, id=60, debit_account_id=4), S.EXCEEDS_CREDITS),
    (attrs.evolve(GOOD, id=60, amount=AMOUNT_MAX), S.OVERFLOWS_DEBITS_POSTED),
]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("breaker", "status"), BREAKERS, ids=[s.name for _, s in BREAKERS])
def test_one_failure_takes_the_whole_chain_back(
    ledger: Ledger, breaker: Transfer, status: CreateTransferStatus, place: int
) -> None:
    """Whoever fails, and wherever in the chain, none of the chain's transfers takes effect."""
    before = ledger.lookup_accounts([1, 2, 3, 4])
    members = [good(10), good(11), good(12)]
    members.insert(place, breaker)
    expected = [S.ID_MUST_NOT_BE_ZERO] + [S.LINKED_EVENT_FAILED] * 4
    expected[place + 1] = status
    assert statuses(ledger.create_transfers([good(0), *chain(*members)])) == expected
    assert ledger.lookup_accounts([1, 2, 3, 4]) == before
    assert ledger.lookup_transfers([10, 11, 12]) == []
    retried = ledger.create_transfers(chain(good(10), good(11), good(12)))
    assert statuses(retried) == [S.CREATED] * 3, "the ids of a chain taken back are free again"


def test_a_whole_chain_takes_effect_and_sees_itself(ledger: Ledger) -> None:
    """Each member is decided on top of the ones before: money may pass through an account."""
    through = chain(
        attrs.evolve(GOOD, id=10, credit_account_id=4),
        attrs.evolve(GOOD, id=11, debit_account_id=4, credit_account_id=2),
    )
    assert statuses(ledger.create_transfers(through)) == [S.CREATED, S.CREATED]
    (account,) = ledger.lookup_accounts([4])
    assert (account.debits_posted, account.credits_posted) == (7, 7)


def test_money_of_a_chain_taken_back_cannot_be_spent(ledger: Ledger) -> None:
    """Neither later in the same request nor in the next is a taken-back amount there."""
    spend = attrs.evolve(GOOD, id=12, debit_account_id=4)
    broken = chain(attrs.evolve(GOOD, id=10, credit_account_id=4), good(0))
    assert statuses(ledger.create_transfers([*broken, spend])) == [
        S.LINKED_EVENT_FAILED, S.ID_MUST_NOT_BE_ZERO, S.EXCEEDS_CREDITS,
    ]  # fmt: skip
    spend = attrs.evolve(spend, id=13)
    assert statuses(ledger.create_transfers([spend])) == [S.EXCEEDS_CREDITS]


def test_what_stands_around_a_broken_chain_is_untouched(ledger: Ledger) -> None:
    """Chains in one request stand for themselves, and so do the transfers between them."""
    request = [
        good(10),
        *chain(good(11), good(0)),
        good(12),
        *chain(good(13), good(14)),
        *chain(good(0), good(15)),
        good(16),
    ]
    assert statuses(ledger.create_transfers(request)) == [
        S.CREATED,
        S.LINKED_EVENT_FAILED, S.ID_MUST_NOT_BE_ZERO,
        S.CREATED,
        S.CREATED, S.CREATED,
        S.ID_MUST_NOT_BE_ZERO, S.LINKED_EVENT_FAILED,
        S.CREATED,
    ]  # fmt: skip
    assert [t.id for t in ledger.lookup_transfers(range(10, 17))] == [10, 12, 13, 14, 16]


OPEN: Final = [
    ([good(10)], [S.LINKED_EVENT_CHAIN_OPEN]),
    ([good(10), good(11)], [S.LINKED_EVENT_FAILED, S.LINKED_EVENT_CHAIN_OPEN]),
    ([good(0), good(11)], [S.ID_MUST_NOT_BE_ZERO, S.LINKED_EVENT_CHAIN_OPEN]),
    (
        [good(10), good(0), good(12), good(13)],
        [
            S.LINKED_EVENT_FAILED, S.ID_MUST_NOT_BE_ZERO, S.LINKED_EVENT_FAILED,
            S.LINKED_EVENT_CHAIN_OPEN,
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("members", "expected"), OPEN)
def test_a_chain_that_the_request_cuts_off_is_open(
    ledger: Ledger, members: list[Transfer], expected: list[CreateTransferStatus]
) -> None:
    """A linked flag on a request's last event refuses the chain, broken before or not."""
    request = [attrs.evolve(member, flags=LINKED) for member in members]
    assert statuses(ledger.create_transfers(request)) == expected
    assert ledger.lookup_transfers([member.id for member in members]) == []


def test_each_result_has_the_timestamp_of_its_place(ledger: Ledger) -> None:
    """Refused events get the time they would have had, ``exists`` the original's."""
    (original,) = ledger.lookup_transfers([50])
    request = [good(10), *chain(good(11), good(0)), good(50), good(12)]
    assert ledger.create_transfers(request) == [
        CreateTransferResult(NOW, S.CREATED),
        CreateTransferResult(NOW + 1, S.LINKED_EVENT_FAILED),
        CreateTransferResult(NOW + 2, S.ID_MUST_NOT_BE_ZERO),
        CreateTransferResult(original.timestamp, S.EXISTS),
        CreateTransferResult(NOW + 4, S.CREATED),
    ]
    assert [t.timestamp for t in ledger.lookup_transfers([10, 12])] == [NOW, NOW + 4]


def test_an_imported_member_taken_back_keeps_its_own_timestamp_in_the_result(
    ledger: Ledger,
) -> None:
    """As TigerBeetle answers: the status of a member taken back changes, its timestamp does not."""
    request = [
        attrs.evolve(good(10), flags=IMPORTED | LINKED, timestamp=500),
        attrs.evolve(good(11), flags=IMPORTED, timestamp=500),
        attrs.evolve(good(12), flags=IMPORTED, timestamp=400),
    ]
    assert ledger.create_transfers(request) == [
        CreateTransferResult(500, S.LINKED_EVENT_FAILED),
        CreateTransferResult(NOW + 1, S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS),
        CreateTransferResult(400, S.CREATED),  # what was taken back does not count as newest
    ]


def test_an_id_that_failed_for_good_in_a_chain_stays_used_up(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Taking a chain back frees its ids, but not the one whose failure depended on the moment."""
    broken = chain(good(10), attrs.evolve(GOOD, id=60, debit_account_id=404), good(12))
    ledger.create_transfers(broken)
    again = [good(10), good(60), good(12)]
    assert statuses(ledger.create_transfers(again)) == [S.CREATED, S.ID_ALREADY_FAILED, S.CREATED]
    ledger.close()
    assert audit(tmp_path / "ledger").passed
    with Ledger.open(tmp_path / "ledger") as reopened:
        assert statuses(reopened.create_transfers([good(60)])) == [S.ID_ALREADY_FAILED]


def test_chains_of_accounts_are_taken_back_alike(ledger: Ledger) -> None:
    """A chain of accounts leaves none of them behind; a chain after it may use the same ids."""
    member = Account(id=20, ledger=1, code=1, flags=AccountFlags.LINKED)
    request = [
        member,
        Account(id=21, ledger=0, code=1),
        member,
        Account(id=21, ledger=1, code=1),
        attrs.evolve(member, id=22),
    ]
    assert ledger.create_accounts(request) == [
        CreateAccountResult(NOW, A.LINKED_EVENT_FAILED),
        CreateAccountResult(NOW + 1, A.LEDGER_MUST_NOT_BE_ZERO),
        CreateAccountResult(NOW + 2, A.CREATED),
        CreateAccountResult(NOW + 3, A.CREATED),
        CreateAccountResult(NOW + 4, A.LINKED_EVENT_CHAIN_OPEN),
    ]
    assert [account.id for account in ledger.lookup_accounts([20, 21, 22])] == [20, 21]


def test_a_chain_breaks_on_a_repeated_member(ledger: Ledger) -> None:
    """Within one chain the second use of an id is answered ``exists``, which breaks the chain."""
    member = attrs.evolve(good(10), flags=LINKED)
    request = [member, member, good(11)]
    assert ledger.create_transfers(request) == [
        CreateTransferResult(NOW, S.LINKED_EVENT_FAILED),
        CreateTransferResult(NOW, S.EXISTS),
        CreateTransferResult(NOW + 2, S.LINKED_EVENT_FAILED),
    ]
    assert ledger.lookup_transfers([10, 11]) == []
