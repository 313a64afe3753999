"""The rules for accounts: the status of one to be created. Pure functions on plain values.

Each check stands in TigerBeetle's order of precedence, so that these functions can be read beside
its reference (https://docs.tigerbeetle.com/reference/requests/create_accounts/).

Transfers have theirs in :mod:`transfer_rules`; what concerns the batch (chains, the
imported flag, the client's timestamps) is in :mod:`nostro.projections.deciding.decision`.
"""

from __future__ import annotations

from typing import Final

from nostro.journal.model import AMOUNT_MAX, CreateAccountStatus
from nostro.projections.rules.values import (
    ACCOUNT_FLAGS,
    ACCOUNT_IMPORTED,
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    AccountRow,
    LedgerView,
    differences,
    first_difference,
)

A: Final = CreateAccountStatus
_COMPARED: Final = differences(
    A, "EXISTS_WITH_DIFFERENT_",
    "flags", "user_data_128", "user_data_64", "user_data_32", "ledger", "code",
)  # fmt: skip


def account_status(a: AccountRow, state: LedgerView) -> int:
    """What becomes of ``a``; for EXISTS the caller looks up the original's timestamp."""
    if a.reserved != 0:
        return A.RESERVED_FIELD
    if a.flags & ~ACCOUNT_FLAGS:
        return A.RESERVED_FLAG
    if a.id == 0:
        return A.ID_MUST_NOT_BE_ZERO
    if a.id == AMOUNT_MAX:
        return A.ID_MUST_NOT_BE_INT_MAX
    existing = state.existing_account(a.id)
    if existing is not None:
        different = first_difference(a, existing, _COMPARED)
        return A.EXISTS if different is None else different
    if a.flags & DEBITS_LIMITED and a.flags & CREDITS_LIMITED:
        return A.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    if a.debits_pending != 0:
        return A.DEBITS_PENDING_MUST_BE_ZERO
    if a.debits_posted != 0:
        return A.DEBITS_POSTED_MUST_BE_ZERO
    if a.credits_pending != 0:
        return A.CREDITS_PENDING_MUST_BE_ZERO
    if a.credits_posted != 0:
        return A.CREDITS_POSTED_MUST_BE_ZERO
    if a.ledger == 0:
        return A.LEDGER_MUST_NOT_BE_ZERO
    if a.code == 0:
        return A.CODE_MUST_NOT_BE_ZERO
    if a.flags & ACCOUNT_IMPORTED and (
        a.timestamp <= state.accounts_timestamp_max() or state.is_transfer_timestamp(a.timestamp)
    ):
        return A.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    return A.CREATED
