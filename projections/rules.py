"""The rules: what becomes of one account or one transfer. Pure functions on plain values.

Each check stands in TigerBeetle's order of precedence, so that these functions can be read beside
its reference (https://docs.tigerbeetle.com/reference/requests/create_transfers/). A function
returns the first status that applies, or CREATED.

Rules that concern the batch (chains, the imported flag, the client's timestamps) are in
:mod:`projections.decision`.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, Protocol

import attrs

from journal.model import (
    AMOUNT_MAX,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    TransferFlags,
)

A: Final = CreateAccountStatus
T: Final = CreateTransferStatus

# Plain ints: a bitwise "and" on an IntFlag takes fifteen times as long.
DEBITS_LIMITED: Final = int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
CREDITS_LIMITED: Final = int(AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS)
CLOSED: Final = int(AccountFlags.CLOSED)
ACCOUNT_IMPORTED: Final = int(AccountFlags.IMPORTED)
ACCOUNT_FLAGS: Final = sum(AccountFlags)
PENDING: Final = int(TransferFlags.PENDING)
CLOSING: Final = int(TransferFlags.CLOSING_DEBIT | TransferFlags.CLOSING_CREDIT)
TRANSFER_IMPORTED: Final = int(TransferFlags.IMPORTED)
TRANSFER_FLAGS: Final = sum(TransferFlags)


class AccountRow(NamedTuple):
    """One row of :data:`journal.model.ACCOUNT` as Python ints."""

    id: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    user_data_128: int
    user_data_64: int
    user_data_32: int
    reserved: int
    ledger: int
    code: int
    flags: int
    timestamp: int


class TransferRow(NamedTuple):
    """One row of :data:`journal.model.TRANSFER` as Python ints."""

    id: int
    debit_account_id: int
    credit_account_id: int
    amount: int
    pending_id: int
    user_data_128: int
    user_data_64: int
    user_data_32: int
    timeout: int
    ledger: int
    code: int
    flags: int
    timestamp: int


@attrs.define(eq=False)
class AccountState:
    """What the rules read and change of an account."""

    slot: int
    ledger: int
    flags: int
    timestamp: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int


class Used(enum.Enum):
    """Says of an id that it belongs to a transfer that was refused for good."""

    UP = enum.auto()


class State(Protocol):
    """What the rules ask of the ledger, the batch's own earlier events included."""

    def existing_account(self, id_: int) -> AccountRow | None: ...
    def account(self, id_: int) -> AccountState | None: ...
    def existing_transfer(self, id_: int) -> TransferRow | Used | None: ...
    def accounts_timestamp_max(self) -> int: ...
    def transfers_timestamp_max(self) -> int: ...
    def is_account_timestamp(self, timestamp: int) -> bool: ...
    def is_transfer_timestamp(self, timestamp: int) -> bool: ...


def account_status(a: AccountRow, state: State) -> int:
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
        return _account_exists(a, existing)
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


def _account_exists(a: AccountRow, e: AccountRow) -> int:
    if a.flags != e.flags:
        return A.EXISTS_WITH_DIFFERENT_FLAGS
    if a.user_data_128 != e.user_data_128:
        return A.EXISTS_WITH_DIFFERENT_USER_DATA_128
    if a.user_data_64 != e.user_data_64:
        return A.EXISTS_WITH_DIFFERENT_USER_DATA_64
    if a.user_data_32 != e.user_data_32:
        return A.EXISTS_WITH_DIFFERENT_USER_DATA_32
    if a.ledger != e.ledger:
        return A.EXISTS_WITH_DIFFERENT_LEDGER
    if a.code != e.code:
        return A.EXISTS_WITH_DIFFERENT_CODE
    return A.EXISTS


def transfer_status(t: TransferRow, state: State) -> int:
    """What becomes of ``t``, which is single-phase.

    For EXISTS the caller looks up the original's timestamp.
    """
    if t.flags & ~TRANSFER_FLAGS:
        return T.RESERVED_FLAG
    if t.id == 0:
        return T.ID_MUST_NOT_BE_ZERO
    if t.id == AMOUNT_MAX:
        return T.ID_MUST_NOT_BE_INT_MAX
    existing = state.existing_transfer(t.id)
    if existing is Used.UP:
        return T.ID_ALREADY_FAILED
    if existing is not None:
        return _transfer_exists(t, existing)
    malformed = _transfer_malformed(t)
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
        untimely = _imported_transfer_untimely(t, debit, credit, state)
        if untimely is not None:
            return untimely
    if debit.flags & CLOSED:
        return T.DEBIT_ACCOUNT_ALREADY_CLOSED
    if credit.flags & CLOSED:
        return T.CREDIT_ACCOUNT_ALREADY_CLOSED
    return _balance_status(t.amount, debit, credit)


def _transfer_malformed(t: TransferRow) -> int | None:
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


def _imported_transfer_untimely(
    t: TransferRow, debit: AccountState, credit: AccountState, state: State
) -> int | None:
    if t.timestamp <= state.transfers_timestamp_max() or state.is_account_timestamp(t.timestamp):
        return T.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    if t.timestamp <= debit.timestamp:
        return T.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT
    if t.timestamp <= credit.timestamp:
        return T.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT
    return None


def _balance_status(amount: int, debit: AccountState, credit: AccountState) -> int:
    """Overflow and limits. Pending amounts count: what is reserved is as good as spent."""
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
    if debit.flags & DEBITS_LIMITED and debits > debit.credits_posted:
        return T.EXCEEDS_CREDITS
    if credit.flags & CREDITS_LIMITED and credits > credit.debits_posted:
        return T.EXCEEDS_DEBITS
    return T.CREATED


def _transfer_exists(t: TransferRow, e: TransferRow) -> int:
    if t.flags != e.flags:
        return T.EXISTS_WITH_DIFFERENT_FLAGS
    if t.pending_id != e.pending_id:
        return T.EXISTS_WITH_DIFFERENT_PENDING_ID
    if t.timeout != e.timeout:
        return T.EXISTS_WITH_DIFFERENT_TIMEOUT
    if t.debit_account_id != e.debit_account_id:
        return T.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID
    if t.credit_account_id != e.credit_account_id:
        return T.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID
    if t.amount != e.amount:
        return T.EXISTS_WITH_DIFFERENT_AMOUNT
    if t.user_data_128 != e.user_data_128:
        return T.EXISTS_WITH_DIFFERENT_USER_DATA_128
    if t.user_data_64 != e.user_data_64:
        return T.EXISTS_WITH_DIFFERENT_USER_DATA_64
    if t.user_data_32 != e.user_data_32:
        return T.EXISTS_WITH_DIFFERENT_USER_DATA_32
    if t.ledger != e.ledger:
        return T.EXISTS_WITH_DIFFERENT_LEDGER
    if t.code != e.code:
        return T.EXISTS_WITH_DIFFERENT_CODE
    return T.EXISTS
