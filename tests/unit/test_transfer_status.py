"""Transfers: every status this version answers, one case a line, and which of two comes first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import attrs
import numpy as np
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
from nostro.journal.rows import transfer_rows
from tests.clocks import HandClock
from tests.precedence import Fault, pairs, with_faults

S: Final = CreateTransferStatus
F: Final = TransferFlags

BEFORE, NOW = 1_000, 1_000_000
DEBIT, CREDIT, FOREIGN, CLOSED, CLOSED_TOO = 1, 2, 3, 4, 5
LIMITED_DEBITS, LIMITED_CREDITS, FULL_DEBITS, FULL_CREDITS, YOUNG, YOUNG_TOO = 6, 7, 8, 9, 10, 11
ABSENT: Final = 404
OF_EACH_ACCOUNT: Final = {
    FOREIGN: Account(ledger=2),
    CLOSED: Account(flags=AccountFlags.CLOSED),
    CLOSED_TOO: Account(flags=AccountFlags.CLOSED),
    LIMITED_DEBITS: Account(flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS),
    LIMITED_CREDITS: Account(flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS),
}

PLAIN: Final = Transfer(
    id=1, debit_account_id=DEBIT, credit_account_id=CREDIT, amount=5, user_data_128=128,
    user_data_64=64, user_data_32=32, ledger=1, code=1,
)  # fmt: skip
TAKEN: Final = attrs.evolve(PLAIN, id=77)
USED_UP: Final = attrs.evolve(PLAIN, id=78, debit_account_id=ABSENT)
IMPORTED: Final = attrs.evolve(PLAIN, flags=F.IMPORTED, timestamp=500_000)

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
    Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE, {"timestamp": 2 * NOW}),
]
OF_THE_ID: Final = [
    Fault(S.RESERVED_FLAG, flags=1 << 9),
    Fault(S.RESERVED_FLAG, flags=1 << 15),
    Fault(S.ID_MUST_NOT_BE_ZERO, {"id": 0}),
    Fault(S.ID_MUST_NOT_BE_INT_MAX, {"id": AMOUNT_MAX}),
    Fault(S.ID_ALREADY_FAILED, {"id": USED_UP.id}),
]
OF_THE_FORM: Final = [
    Fault(S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, {"debit_account_id": 0}),
    Fault(S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, {"debit_account_id": AMOUNT_MAX}),
    Fault(S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, {"credit_account_id": 0}),
    Fault(S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, {"credit_account_id": AMOUNT_MAX}),
    Fault(S.ACCOUNTS_MUST_BE_DIFFERENT, {"debit_account_id": DEBIT, "credit_account_id": DEBIT}),
    Fault(S.ACCOUNTS_MUST_BE_DIFFERENT, {"debit_account_id": 55, "credit_account_id": 55}),
    Fault(S.PENDING_ID_MUST_BE_ZERO, {"pending_id": 1}),
    Fault(S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, {"timeout": 1}),
    Fault(S.LEDGER_MUST_NOT_BE_ZERO, {"ledger": 0}),
    Fault(S.CODE_MUST_NOT_BE_ZERO, {"code": 0}),
]
OF_THE_ACCOUNTS: Final = [
    Fault(S.DEBIT_ACCOUNT_NOT_FOUND, {"debit_account_id": ABSENT}),
    Fault(S.CREDIT_ACCOUNT_NOT_FOUND, {"credit_account_id": ABSENT + 1}),
    Fault(S.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, {"credit_account_id": FOREIGN}),
    Fault(S.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS, {"ledger": 2}),
]
OF_THE_BALANCES: Final = [
    Fault(S.DEBIT_ACCOUNT_ALREADY_CLOSED, {"debit_account_id": CLOSED}),
    Fault(S.CREDIT_ACCOUNT_ALREADY_CLOSED, {"credit_account_id": CLOSED_TOO}),
    Fault(S.OVERFLOWS_DEBITS_POSTED, {"debit_account_id": FULL_DEBITS}),
    Fault(S.OVERFLOWS_CREDITS_POSTED, {"credit_account_id": FULL_CREDITS}),
    Fault(S.EXCEEDS_CREDITS, {"debit_account_id": LIMITED_DEBITS}),
    Fault(S.EXCEEDS_DEBITS, {"credit_account_id": LIMITED_CREDITS}),
]
OF_A_KNOWN_ONE: Final = [
    Fault(S.EXISTS_WITH_DIFFERENT_FLAGS, flags=F.LINKED),  # sent last but one, so no open chain
    Fault(S.EXISTS_WITH_DIFFERENT_PENDING_ID, {"pending_id": 1}),
    Fault(S.EXISTS_WITH_DIFFERENT_TIMEOUT, {"timeout": 1}),
    Fault(S.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID, {"debit_account_id": ABSENT}),
    Fault(S.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID, {"credit_account_id": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_AMOUNT, {"amount": 5 + 2**64}),
    Fault(S.EXISTS_WITH_DIFFERENT_USER_DATA_128, {"user_data_128": 128 + 2**64}),
    Fault(S.EXISTS_WITH_DIFFERENT_USER_DATA_64, {"user_data_64": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_USER_DATA_32, {"user_data_32": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_LEDGER, {"ledger": 0}),
    Fault(S.EXISTS_WITH_DIFFERENT_CODE, {"code": 0}),
    Fault(S.EXISTS),
]
OF_THE_TIME: Final = [
    Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS, {"timestamp": 1}),
    Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS, {"timestamp": BEFORE}),
    Fault(S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT, {"debit_account_id": YOUNG}),
    Fault(
        S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT, {"credit_account_id": YOUNG_TOO}
    ),
]

# What a request is sent for, what is wrong with it, in order of precedence.
ORDERS: Final = {
    "new": (
        PLAIN,
        OF_THE_BATCH + OF_THE_ID + OF_THE_FORM + OF_THE_ACCOUNTS + OF_THE_BALANCES,
    ),
    "known": (TAKEN, OF_THE_BATCH[1:] + OF_THE_ID[:2] + OF_A_KNOWN_ONE),
    "imported": (
        IMPORTED,
        OF_AN_IMPORT + OF_THE_ID + OF_THE_FORM + OF_THE_ACCOUNTS + OF_THE_TIME + OF_THE_BALANCES,
    ),
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Holds the accounts above, TAKEN, and the use of USED_UP's id."""
    path: Path = tmp_path_factory.mktemp("transfer_status")
    clock = HandClock(BEFORE)
    with Ledger.open(path, clock=clock) as opened:
        accounts = [
            attrs.evolve(like, id=id_, ledger=like.ledger or 1, code=1)
            for id_ in range(1, YOUNG)
            for like in [OF_EACH_ACCOUNT.get(id_, Account())]
        ]
        opened.create_accounts(accounts)
        filled = attrs.evolve(
            PLAIN, debit_account_id=FULL_DEBITS, credit_account_id=FULL_CREDITS, amount=AMOUNT_MAX
        )
        results = opened.create_transfers([attrs.evolve(filled, id=76), TAKEN, USED_UP])
        assert [result.status for result in results] == [
            S.CREATED, S.CREATED, S.DEBIT_ACCOUNT_NOT_FOUND,
        ]  # fmt: skip
        clock.now = NOW
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (YOUNG, YOUNG_TOO)])
        yield opened


_FRESH_ID: Final = count(1_000)


def answer(ledger: Ledger, base: Transfer, *faults: Fault) -> int:
    """The status of ``base`` with the faults.

    It is sent second in a batch whose first event is refused, but says what kind of batch it is.
    A known transfer is followed by one more, so that it may be linked.
    """
    known = base is TAKEN
    base = base if known else attrs.evolve(base, id=next(_FRESH_ID))
    leader = attrs.evolve(base, id=0, timestamp=10 if base.flags & F.IMPORTED else 0)
    rows = [transfer_rows([leader]), with_faults(transfer_rows([base]), *faults)]
    if known:
        rows.append(transfer_rows([leader]))
    return int(ledger.create_transfers(np.concatenate(rows))["status"][1])


@pytest.mark.parametrize(
    ("base", "fault"),
    [(base, fault) for base, faults in ORDERS.values() for fault in faults],
    ids=[
        f"{name}-{number}-{S(fault.status).name}"
        for name, (_, faults) in ORDERS.items()
        for number, fault in enumerate(faults)
    ],
)
def test_each_fault_has_its_status(ledger: Ledger, base: Transfer, fault: Fault) -> None:
    """A transfer with one fault is refused with exactly the status that names it."""
    assert S(answer(ledger, base, fault)) is S(fault.status)


@pytest.mark.parametrize(("base", "faults"), ORDERS.values(), ids=ORDERS.keys())
def test_of_two_faults_the_earlier_is_answered(
    ledger: Ledger, base: Transfer, faults: list[Fault]
) -> None:
    """Whatever two rules are broken at once, the answer is TigerBeetle's first."""
    wrong = [
        (S(first.status), S(then.status), S(got), first, then)
        for first, then in pairs(faults)
        if (got := answer(ledger, base, first, then)) != first.status
    ]
    assert wrong == []


def test_nothing_refused_moves_any_money(ledger: Ledger) -> None:
    """After all those refusals the balances are what they were."""
    totals = {
        account.id: (account.debits_posted, account.credits_posted)
        for account in ledger.lookup_accounts(range(1, YOUNG_TOO + 1))
        if account.debits_posted or account.credits_posted
    }
    assert totals == {
        DEBIT: (5, 0), CREDIT: (0, 5), FULL_DEBITS: (AMOUNT_MAX, 0), FULL_CREDITS: (0, AMOUNT_MAX),
    }  # fmt: skip
    assert ledger.transfer_count == 2
