"""Sums that do not fit, one case a line, each in the order in which it is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    TIMESTAMP_MAX,
    Account,
    AccountFlags,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
)
from tests.clocks import HandClock

S: Final = CreateTransferStatus
F: Final = TransferFlags
A: Final = AccountFlags
HALF: Final = 2**127
LATE: Final = TIMESTAMP_MAX - 2 * 10**18
"""The time of the requests, ns: two billion seconds before the last timestamp. It lies before the
year 2200, from which on a ledger refuses to write."""

PENDING_FULL, POSTED_FULL, SUM_FULL, EMPTY, LIMITED = 1, 2, 3, 4, 5
"""Accounts whose debits leave no room; of credits, ten more."""
CREDITS: Final = 10
ACCOUNTS: Final = [
    *(Account(id=id_, ledger=1, code=1) for id_ in (1, 2, 3, 4, 11, 12, 13, 14, 90, 91)),
    Account(id=LIMITED, ledger=1, code=1, flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS),
    Account(id=CREDITS + LIMITED, ledger=1, code=1, flags=A.CREDITS_MUST_NOT_EXCEED_DEBITS),
]


def moving(
    id_: int, debit: int, credit: int, amount: int, flags: TransferFlags = F.NONE
) -> Transfer:
    return Transfer(
        id=id_, debit_account_id=debit, credit_account_id=credit, amount=amount, ledger=1, code=1,
        flags=flags,
    )  # fmt: skip


FILLING: Final = [
    moving(1, PENDING_FULL, 90, AMOUNT_MAX, F.PENDING),
    moving(2, POSTED_FULL, 91, AMOUNT_MAX),
    moving(3, 91, CREDITS + POSTED_FULL, AMOUNT_MAX),
    moving(4, 90, CREDITS + PENDING_FULL, AMOUNT_MAX, F.PENDING),
    moving(5, SUM_FULL, CREDITS + SUM_FULL, HALF, F.PENDING),
    moving(6, SUM_FULL, CREDITS + SUM_FULL, HALF - 1),
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    clock = HandClock(1)
    with Ledger.open(tmp_path / "ledger", clock=clock) as ledger:
        ledger.create_accounts(ACCOUNTS)
        for transfer in FILLING:
            assert status(ledger, transfer) is S.CREATED
        clock.now = LATE
        yield ledger


def status(ledger: Ledger, transfer: Transfer) -> CreateTransferStatus:
    [result] = ledger.create_transfers([transfer])
    return result.status


@attrs.frozen
class Fault:
    status: CreateTransferStatus
    debit: int = EMPTY
    credit: int = CREDITS + EMPTY
    timeout: int = 0


ORDER: Final = (
    Fault(S.OVERFLOWS_DEBITS_PENDING, debit=PENDING_FULL),
    Fault(S.OVERFLOWS_CREDITS_PENDING, credit=CREDITS + PENDING_FULL),
    Fault(S.OVERFLOWS_DEBITS_POSTED, debit=POSTED_FULL),
    Fault(S.OVERFLOWS_CREDITS_POSTED, credit=CREDITS + POSTED_FULL),
    Fault(S.OVERFLOWS_DEBITS, debit=SUM_FULL),
    Fault(S.OVERFLOWS_CREDITS, credit=CREDITS + SUM_FULL),
    Fault(S.OVERFLOWS_TIMEOUT, timeout=2_000_000_001),
    Fault(S.EXCEEDS_CREDITS, debit=LIMITED),
    Fault(S.EXCEEDS_DEBITS, credit=CREDITS + LIMITED),
)


@pytest.mark.parametrize("fault", ORDER, ids=lambda fault: fault.status.name)
def test_each_sum_that_does_not_fit_has_its_status(ledger: Ledger, fault: Fault) -> None:
    """One more than there is room for is refused; without the fault it would be created."""
    refused = attrs.evolve(
        moving(50, fault.debit, fault.credit, 1, F.PENDING), timeout=fault.timeout
    )
    position, accounts = ledger.position, ledger.accounts().tobytes()
    assert status(ledger, refused) is fault.status
    assert ledger.accounts().tobytes() == accounts
    assert ledger.position - position == (fault.status in {S.EXCEEDS_CREDITS, S.EXCEEDS_DEBITS})
    assert status(ledger, moving(51, EMPTY, CREDITS + EMPTY, 1, F.PENDING)) is S.CREATED


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (first, second)
        for first, second in combinations(ORDER, 2)
        if EMPTY in (first.debit, second.debit) and CREDITS + EMPTY in (first.credit, second.credit)
    ],
    ids=lambda fault: fault.status.name,
)
def test_the_first_of_two_is_the_answer(ledger: Ledger, first: Fault, second: Fault) -> None:
    """A transfer with two faults is refused for the one that is looked for first."""
    both = attrs.evolve(
        moving(
            50,
            second.debit if first.debit == EMPTY else first.debit,
            second.credit if first.credit == CREDITS + EMPTY else first.credit,
            1,
            F.PENDING,
        ),
        timeout=first.timeout or second.timeout,
    )
    assert status(ledger, both) is first.status


@pytest.mark.parametrize(
    ("debit", "credit", "expected"),
    [
        (PENDING_FULL, CREDITS + EMPTY, S.OVERFLOWS_DEBITS),
        (EMPTY, CREDITS + PENDING_FULL, S.OVERFLOWS_CREDITS),
        (POSTED_FULL, CREDITS + EMPTY, S.OVERFLOWS_DEBITS_POSTED),
        (EMPTY, CREDITS + POSTED_FULL, S.OVERFLOWS_CREDITS_POSTED),
    ],
)
def test_what_is_posted_at_once_reserves_nothing(
    ledger: Ledger, debit: int, credit: int, expected: CreateTransferStatus
) -> None:
    """Pending balances are not looked at for themselves, but count in the sum."""
    assert status(ledger, moving(50, debit, credit, 1)) is expected
    assert status(ledger, moving(51, debit, credit, 0)) is S.CREATED


def test_the_last_timeout_that_fits(ledger: Ledger) -> None:
    """It ends at the last timestamp there is, and not a nanosecond later."""
    last = attrs.evolve(moving(50, EMPTY, CREDITS + EMPTY, 1, F.PENDING), timeout=2_000_000_000)
    assert status(ledger, last) is S.CREATED  # at LATE itself
    assert status(ledger, attrs.evolve(last, id=51)) is S.OVERFLOWS_TIMEOUT


def test_an_imported_transfer_has_no_timeout(ledger: Ledger) -> None:
    """It would have to run out of time in the past."""
    imported = attrs.evolve(
        moving(50, EMPTY, CREDITS + EMPTY, 1, F.PENDING | F.IMPORTED), timeout=1, timestamp=LATE - 1
    )
    assert status(ledger, imported) is S.IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO
    assert status(ledger, attrs.evolve(imported, timeout=0)) is S.CREATED
