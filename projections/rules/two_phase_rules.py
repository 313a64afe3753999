"""The rules for the second phase: posting or voiding a pending transfer. Pure functions.

In TigerBeetle's order of precedence; see https://docs.tigerbeetle.com/coding/two-phase-transfers/.
A field left zero takes its value from the pending transfer; so does an amount of AMOUNT_MAX when
posting, of zero when voiding.
"""

from __future__ import annotations

from typing import Final

from nostro.journal.model import AMOUNT_MAX, CreateTransferStatus
from nostro.projections.rules.values import (
    CLOSED,
    PENDING,
    POST,
    RESOLVING,
    TRANSFER_FLAGS,
    TRANSFER_IMPORTED,
    VOID,
    LedgerView,
    PendingStatus,
    TransferRow,
    differences,
    first_difference,
)

T: Final = CreateTransferStatus
_COMPARED: Final = differences(
    T, "PENDING_TRANSFER_HAS_DIFFERENT_",
    "debit_account_id", "credit_account_id", "ledger", "code",
)  # fmt: skip

_INCOMPATIBLE: Final = TRANSFER_FLAGS & ~RESOLVING & ~TRANSFER_IMPORTED & ~1
"""Every flag but these two, linked and imported."""
_RESOLVED: Final = {
    int(PendingStatus.POSTED): T.PENDING_TRANSFER_ALREADY_POSTED,
    int(PendingStatus.VOIDED): T.PENDING_TRANSFER_ALREADY_VOIDED,
    int(PendingStatus.EXPIRED): T.PENDING_TRANSFER_EXPIRED,
}


def resolution(t: TransferRow, timestamp: int, state: LedgerView) -> TransferRow | int:
    """The transfer that posts or voids, resolved, or the first status that applies."""
    malformed = _malformed(t)
    if malformed is not None:
        return malformed
    pending = state.existing_transfer(t.pending_id)
    if not isinstance(pending, TransferRow):
        return T.PENDING_TRANSFER_NOT_FOUND
    if not pending.flags & PENDING:
        return T.PENDING_TRANSFER_NOT_PENDING
    resolved = filled_in(t, pending)
    different = first_difference(resolved, pending, _COMPARED)
    if different is not None:
        return different
    if resolved.amount > pending.amount:
        return T.EXCEEDS_PENDING_TRANSFER_AMOUNT
    if t.flags & VOID and resolved.amount < pending.amount:
        return T.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT
    refused = _RESOLVED.get(state.pending_status(pending))
    if refused is not None:
        return refused
    if pending.timeout and pending.expires_at <= timestamp:
        return T.PENDING_TRANSFER_EXPIRED
    if t.flags & TRANSFER_IMPORTED:
        timestamp = t.timestamp
        if timestamp <= state.transfers_timestamp_max() or state.is_account_timestamp(timestamp):
            return T.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    if t.flags & POST:  # a closed account still lets go of what is pending
        if _is_closed(pending.debit_account_id, state):
            return T.DEBIT_ACCOUNT_ALREADY_CLOSED
        if _is_closed(pending.credit_account_id, state):
            return T.CREDIT_ACCOUNT_ALREADY_CLOSED
    return resolved._replace(timestamp=timestamp)


def filled_in(t: TransferRow, pending: TransferRow) -> TransferRow:
    """``t`` with the values of ``pending`` where it names none itself."""
    whole = 0 if t.flags & VOID else AMOUNT_MAX
    return t._replace(
        debit_account_id=t.debit_account_id or pending.debit_account_id,
        credit_account_id=t.credit_account_id or pending.credit_account_id,
        amount=pending.amount if t.amount == whole else t.amount,
        user_data_128=t.user_data_128 or pending.user_data_128,
        user_data_64=t.user_data_64 or pending.user_data_64,
        user_data_32=t.user_data_32 or pending.user_data_32,
        ledger=t.ledger or pending.ledger,
        code=t.code or pending.code,
    )


def _malformed(t: TransferRow) -> int | None:
    if t.flags & RESOLVING == RESOLVING or t.flags & _INCOMPATIBLE:
        return T.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    if t.pending_id == 0:
        return T.PENDING_ID_MUST_NOT_BE_ZERO
    if t.pending_id == AMOUNT_MAX:
        return T.PENDING_ID_MUST_NOT_BE_INT_MAX
    if t.pending_id == t.id:
        return T.PENDING_ID_MUST_BE_DIFFERENT
    if t.timeout != 0:
        return T.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER
    return None


def _is_closed(account_id: int, state: LedgerView) -> bool:
    account = state.account(account_id)
    if account is None:
        raise AssertionError("a pending transfer names an account that does not exist")
    return bool(account.flags & CLOSED)
