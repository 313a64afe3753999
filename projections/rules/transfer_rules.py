"""The rules for transfers: as what a transfer takes effect, or why it does not. Pure functions.

Each check stands in TigerBeetle's order of precedence, so that these functions can be read beside
its reference (https://docs.tigerbeetle.com/reference/requests/create_transfers/).

A transfer that takes effect is *resolved*: a balancing one has the amount it really moves, one
that posts or voids has the fields of its pending transfer filled in, and each has its timestamp.
"""

from __future__ import annotations

from typing import Final

from nostro.journal.model import AMOUNT_MAX, TIMESTAMP_MAX, CreateTransferStatus
from nostro.projections.rules.two_phase_rules import filled_in, resolution
from nostro.projections.rules.values import (
    BALANCING,
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CLOSED,
    CLOSING,
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    NS_PER_SECOND,
    PENDING,
    RESOLVING,
    TRANSFER_FLAGS,
    TRANSFER_IMPORTED,
    AccountState,
    LedgerView,
    Refused,
    TransferRow,
    differences,
    first_difference,
)

T: Final = CreateTransferStatus
_COMPARED_FIRST: Final = differences(T, "EXISTS_WITH_DIFFERENT_", "flags", "pending_id", "timeout")
_COMPARED: Final = differences(
    T, "EXISTS_WITH_DIFFERENT_",
    "debit_account_id", "credit_account_id", "amount",
    "user_data_128", "user_data_64", "user_data_32", "ledger", "code",
)  # fmt: skip


def transfer_outcome(t: TransferRow, timestamp: int, state: LedgerView) -> TransferRow | int:
    """The resolved transfer, or the first status that applies.

    Args:
        timestamp: when it happens, ns; an imported one brings its own.

    For EXISTS the caller looks up the original's timestamp.
    """
    if t.flags & ~TRANSFER_FLAGS:
        return T.RESERVED_FLAG
    if t.id == 0:
        return T.ID_MUST_NOT_BE_ZERO
    if t.id == AMOUNT_MAX:
        return T.ID_MUST_NOT_BE_INT_MAX
    existing = state.existing_transfer(t.id)
    if existing is Refused.FOR_GOOD:
        return T.ID_ALREADY_FAILED
    if existing is not None:
        return _exists(t, existing, state)
    if t.flags & RESOLVING:
        return resolution(t, timestamp, state)
    return _first_phase(t, timestamp, state)


def _first_phase(t: TransferRow, timestamp: int, state: LedgerView) -> TransferRow | int:
    """A transfer that names its accounts and amount itself."""
    malformed = _malformed(t)
    if malformed is not None:
        return malformed
    debit = state.account(t.debit_account_id)
    if debit is None:
        return T.DEBIT_ACCOUNT_NOT_FOUND
    credit = state.account(t.credit_account_id)
    if credit is None:
        return T.CREDIT_ACCOUNT_NOT_FOUND
    if debit.ledger != credit.ledger:
        return T.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
    if t.ledger != debit.ledger:
        return T.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS
    if t.flags & TRANSFER_IMPORTED:
        timestamp = t.timestamp
        untimely = _untimely(t, debit, credit, state)
        if untimely is not None:
            return untimely
    if debit.flags & CLOSED:
        return T.DEBIT_ACCOUNT_ALREADY_CLOSED
    if credit.flags & CLOSED:
        return T.CREDIT_ACCOUNT_ALREADY_CLOSED
    amount = _balancing_amount(t, debit, credit) if t.flags & BALANCING else t.amount
    refused = _balances_refuse(t, amount, timestamp, debit, credit)
    if refused is not None:
        return refused
    return t._replace(amount=amount, timestamp=timestamp)


def _malformed(t: TransferRow) -> int | None:
    if t.debit_account_id == 0:
        return T.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO
    if t.debit_account_id == AMOUNT_MAX:
        return T.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    if t.credit_account_id == 0:
        return T.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO
    if t.credit_account_id == AMOUNT_MAX:
        return T.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    if t.credit_account_id == t.debit_account_id:
        return T.ACCOUNTS_MUST_BE_DIFFERENT
    if t.pending_id != 0:
        return T.PENDING_ID_MUST_BE_ZERO
    if not t.flags & PENDING:
        if t.timeout != 0:
            return T.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER
        if t.flags & CLOSING:
            return T.CLOSING_TRANSFER_MUST_BE_PENDING
    if t.ledger == 0:
        return T.LEDGER_MUST_NOT_BE_ZERO
    if t.code == 0:
        return T.CODE_MUST_NOT_BE_ZERO
    return None


def _untimely(
    t: TransferRow, debit: AccountState, credit: AccountState, state: LedgerView
) -> int | None:
    if t.timestamp <= state.transfers_timestamp_max() or state.is_account_timestamp(t.timestamp):
        return T.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    if t.timestamp <= debit.timestamp:
        return T.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT
    if t.timestamp <= credit.timestamp:
        return T.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT
    if t.timeout != 0:
        return T.IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO
    return None


def _balancing_amount(t: TransferRow, debit: AccountState, credit: AccountState) -> int:
    """As much of the amount as the accounts' balances leave room for."""
    amount = t.amount
    if t.flags & BALANCING_DEBIT:
        room = debit.credits_posted - debit.debits_posted - debit.debits_pending
        amount = min(amount, max(room, 0))
    if t.flags & BALANCING_CREDIT:
        room = credit.debits_posted - credit.credits_posted - credit.credits_pending
        amount = min(amount, max(room, 0))
    return amount


def _balances_refuse(
    t: TransferRow, amount: int, timestamp: int, debit: AccountState, credit: AccountState
) -> int | None:
    """Overflow and limits. Pending amounts count: what is reserved is as good as spent."""
    if t.flags & PENDING:
        if amount + debit.debits_pending > AMOUNT_MAX:
            return T.OVERFLOWS_DEBITS_PENDING
        if amount + credit.credits_pending > AMOUNT_MAX:
            return T.OVERFLOWS_CREDITS_PENDING
    debits = debit.debits_posted + amount
    credits = credit.credits_posted + amount
    if debits > AMOUNT_MAX:
        return T.OVERFLOWS_DEBITS_POSTED
    if credits > AMOUNT_MAX:
        return T.OVERFLOWS_CREDITS_POSTED
    debits += debit.debits_pending
    credits += credit.credits_pending
    if debits > AMOUNT_MAX:
        return T.OVERFLOWS_DEBITS
    if credits > AMOUNT_MAX:
        return T.OVERFLOWS_CREDITS
    if t.timeout and timestamp + t.timeout * NS_PER_SECOND > TIMESTAMP_MAX:
        return T.OVERFLOWS_TIMEOUT
    if debit.flags & DEBITS_LIMITED and debits > debit.credits_posted:
        return T.EXCEEDS_CREDITS
    if credit.flags & CREDITS_LIMITED and credits > credit.debits_posted:
        return T.EXCEEDS_DEBITS
    return None


def _exists(t: TransferRow, e: TransferRow, state: LedgerView) -> int:
    different = first_difference(t, e, _COMPARED_FIRST)
    if different is not None:
        return different
    if t.flags & RESOLVING:
        pending = state.existing_transfer(t.pending_id)
        assert isinstance(pending, TransferRow)  # or ``e`` could not have resolved it
        t = filled_in(t, pending)
    elif t.flags & BALANCING and t.amount >= e.amount:
        t = t._replace(amount=e.amount)  # the amount asked for is a bound
    different = first_difference(t, e, _COMPARED)
    return T.EXISTS if different is None else different
