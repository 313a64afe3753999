"""What the rules read: flags as plain ints, rows, and the state that they ask.

Rows are named tuples of Python ints: reading a field of one is many times faster than of numpy's.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, Protocol

import attrs

from nostro.journal.model import (
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    TransferFlags,
)

# Plain ints: a bitwise "and" on an IntFlag takes fifteen times as long.
DEBITS_LIMITED: Final = int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
CREDITS_LIMITED: Final = int(AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS)
CLOSED: Final = int(AccountFlags.CLOSED)
HISTORY: Final = int(AccountFlags.HISTORY)
ACCOUNT_IMPORTED: Final = int(AccountFlags.IMPORTED)
ACCOUNT_FLAGS: Final = sum(AccountFlags)
PENDING: Final = int(TransferFlags.PENDING)
POST: Final = int(TransferFlags.POST_PENDING_TRANSFER)
VOID: Final = int(TransferFlags.VOID_PENDING_TRANSFER)
RESOLVING: Final = POST | VOID
BALANCING_DEBIT: Final = int(TransferFlags.BALANCING_DEBIT)
BALANCING_CREDIT: Final = int(TransferFlags.BALANCING_CREDIT)
BALANCING: Final = BALANCING_DEBIT | BALANCING_CREDIT
CLOSING_DEBIT: Final = int(TransferFlags.CLOSING_DEBIT)
CLOSING_CREDIT: Final = int(TransferFlags.CLOSING_CREDIT)
CLOSING: Final = CLOSING_DEBIT | CLOSING_CREDIT
TRANSFER_IMPORTED: Final = int(TransferFlags.IMPORTED)
TRANSFER_FLAGS: Final = sum(TransferFlags)
NS_PER_SECOND: Final = 1_000_000_000


class AccountRow(NamedTuple):
    """One row of :data:`nostro.journal.model.ACCOUNT` as Python ints."""

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
    """One row of :data:`nostro.journal.model.TRANSFER` as Python ints."""

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

    @property
    def expires_at(self) -> int:
        """When the pending transfer runs out of time, ns; 0 if never."""
        return self.timestamp + self.timeout * NS_PER_SECOND if self.timeout else 0


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

    def balances(self) -> tuple[int, int, int, int]:
        """Debits pending, debits posted, credits pending, credits posted."""
        return self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted


class PendingStatus(enum.IntEnum):
    """What has become of a pending transfer."""

    PENDING = 1
    POSTED = 2
    VOIDED = 3
    EXPIRED = 4


class Refused(enum.Enum):
    """Says of an id that it belongs to a transfer that was refused for good."""

    FOR_GOOD = enum.auto()


class LedgerView(Protocol):
    """What the rules ask of the ledger, the batch's own earlier events included."""

    def existing_account(self, id_: int) -> AccountRow | None: ...
    def account(self, id_: int) -> AccountState | None: ...
    def existing_transfer(self, id_: int) -> TransferRow | Refused | None: ...
    def pending_status(self, pending: TransferRow) -> int: ...
    def accounts_timestamp_max(self) -> int: ...
    def transfers_timestamp_max(self) -> int: ...
    def is_account_timestamp(self, timestamp: int) -> bool: ...
    def is_transfer_timestamp(self, timestamp: int) -> bool: ...


Differences = tuple[tuple[str, int], ...]
"""Fields in order of precedence, each with the status for rows that differ in it."""


def differences(
    statuses: type[CreateAccountStatus | CreateTransferStatus], prefix: str, *fields: str
) -> Differences:
    """The fields with the statuses that are named after them."""
    return tuple((field, int(statuses[prefix + field.upper()])) for field in fields)


def first_difference(row: object, other: object, compared: Differences) -> int | None:
    """The status for the first field in which two rows differ; None if there is none."""
    for field, status in compared:
        if getattr(row, field) != getattr(other, field):
            return status
    return None
