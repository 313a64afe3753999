"""Accounts: every status this version answers, one case a line, and which of two comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pytest

from nostro import AMOUNT_MAX, TIMESTAMP_MAX, Account, AccountFlags, CreateAccountStatus, Ledger
from nostro.journal.rows import account_rows
from tests.clocks import HandClock
from tests.precedence import Fault, pairs, with_faults

S: Final = CreateAccountStatus
F: Final = AccountFlags

NOW: Final = 1_000_000
CLOCK: Final = HandClock()
PLAIN: Final = Account(
    id=1, user_data_128=128, user_data_64=64, user_data_32=32, ledger=1, code=1, flags=F.HISTORY
)
TAKEN: Final = attrs.evolve(PLAIN, id=77)
IMPORTED: Final = attrs.evolve(PLAIN, flags=F.HISTORY | F.IMPORTED, timestamp=500)
BOTH_LIMITS: Final = F.DEBITS_MUST_NOT_EXCEED_CREDITS | F.CREDITS_MUST_NOT_EXCEED_DEBITS

OF_THE_BATCH: Final = [
    Fault(S.LINKED_EVENT_CHAIN_OPEN, flags=F.LINKED),
    Fault(S.IMPORTED_EVENT_NOT_EXPECTED, flags=F.IMPORTED),
    Fault(S.TIMESTAMP_MUST_BE_ZERO, {"timestamp": 1}),
    Fault(S.TIMESTAMP_MUST_BE_ZERO, {"timestamp": 2**64 - 1}),
]
OF_AN_IMPORT: Final = [
    Fault(S.LINKED_EVENT_CHAIN_OPEN, flags=F.LINKED),
    Fault(S.IMPORTED_EVENT_EXPECTED, flags=F.IMPORTED),
    Fault(S.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE, {"timestamp": 0}),
    Fault(S.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE, {"timestamp": TIMESTAMP_MAX + 1}),
    Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE, {"timestamp": TIMESTAMP_MAX}),
    Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE, {"timestamp": NOW + 1}),
]
OF_THE_FORM: Final = [
    Fault(S.RESERVED_FIELD, {"reserved": 1}),
    Fault(S.RESERVED_FLAG, flags=1 << 6),
    Fault(S.RESERVED_FLAG, flags=1 << 15),
]
OF_A_NEW_ONE: Final = [
    Fault(S.ID_MUST_NOT_BE_ZERO, {"id": 0}),
    Fault(S.ID_MUST_NOT_BE_INT_MAX, {"id": AMOUNT_MAX}),
    Fault(S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, flags=BOTH_LIMITS),
    Fault(S.DEBITS_PENDING_MUST_BE_ZERO, {"debits_pending": 1}),
    Fault(S.DEBITS_POSTED_MUST_BE_ZERO, {"debits_posted": 2**64}),
    Fault(S.CREDITS_PENDING_MUST_BE_ZERO, {"credits_pending": 1}),
    Fault(S.CREDITS_POSTED_MUST_BE_ZERO, {"credits_posted": AMOUNT_MAX}),
    Fault(S.LEDGER_MUST_NOT_BE_ZERO, {"ledger": 0}),
    Fault(S.CODE_MUST_NOT_BE_ZERO, {"code": 0}),
]
OF_A_KNOWN_ONE: Final = [
    Fault(S.EXISTS_WITH_DIFFERENT_FLAGS, flags=F.CLOSED),
    Fault(S.EXISTS_WITH_DIFFERENT_USER_DATA_128, {"user_data_128": 128 + 2**64}),
    Fault(S.EXISTS_WITH_DIFFERENT_USER_DATA_64, {"user_data_64": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_USER_DATA_32, {"user_data_32": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_LEDGER, {"ledger": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_CODE, {"code": 0}),
    Fault(S.EXISTS),
    Fault(S.EXISTS, {"debits_pending": 1}),  # balances of a repeated request are not compared
]

# What a request is sent for, what is wrong with it, in order of precedence.
ORDERS: Final = {
    "new": (PLAIN, OF_THE_BATCH + OF_THE_FORM + OF_A_NEW_ONE),
    "known": (TAKEN, OF_THE_BATCH + OF_THE_FORM + OF_A_KNOWN_ONE),
    "imported": (
        IMPORTED,
        [
            *OF_AN_IMPORT,
            *OF_THE_FORM,
            *OF_A_NEW_ONE,
            Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS, {"timestamp": 400}),
            Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS, {"timestamp": 1}),
        ],
    ),
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Holds TAKEN, and nothing that any case could disturb."""
    path: Path = tmp_path_factory.mktemp("account_status")
    CLOCK.now = 450
    with Ledger.open(path, clock=CLOCK) as opened:
        assert opened.create_accounts([TAKEN])[0].status is S.CREATED
        yield opened


def answer(ledger: Ledger, base: Account, *faults: Fault) -> int:
    """The status of ``base`` with the faults.

    It is sent second in a batch whose first event is refused, but says what kind of batch it is.
    """
    CLOCK.now = NOW
    leader = attrs.evolve(base, id=0, timestamp=10 if base.flags & F.IMPORTED else 0)
    rows = np.concatenate([account_rows([leader]), with_faults(account_rows([base]), *faults)])
    return int(ledger.create_accounts(rows)["status"][1])


@pytest.mark.parametrize(
    ("base", "fault"),
    [(base, fault) for base, faults in ORDERS.values() for fault in faults],
    ids=[
        f"{name}-{number}-{S(fault.status).name}"
        for name, (_, faults) in ORDERS.items()
        for number, fault in enumerate(faults)
    ],
)
def test_each_fault_has_its_status(ledger: Ledger, base: Account, fault: Fault) -> None:
    """An account with one fault is refused with exactly the status that names it."""
    assert answer(ledger, base, fault) == fault.status


@pytest.mark.parametrize(("base", "faults"), ORDERS.values(), ids=ORDERS.keys())
def test_of_two_faults_the_earlier_is_answered(
    ledger: Ledger, base: Account, faults: list[Fault]
) -> None:
    """Whatever two rules are broken at once, the answer is TigerBeetle's first."""
    wrong = [
        (S(first.status), S(then.status), S(got))
        for first, then in pairs(faults)
        if (got := answer(ledger, base, first, then)) != first.status
    ]
    assert wrong == []


def test_nothing_refused_leaves_a_trace(ledger: Ledger) -> None:
    """After all those refusals the ledger holds what it held."""
    assert [account.id for account in ledger.lookup_accounts([0, 1, 77, AMOUNT_MAX])] == [77]
    assert ledger.position == 1
