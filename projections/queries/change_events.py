"""Change events: every posting in journal order, with both accounts just after it.

TigerBeetle publishes them by AMQP; here they are an iterator. It takes no lock and may run beside
the writer, in this process or another::

    for event in change_events("data", position_min=seen + 1, follow=True):
        publish(event)
        seen = event.position

The fields are those of TigerBeetle's change data capture (docs/operating/cdc.md there).
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs

from nostro.journal.errors import InvalidField, OutOfRange
from nostro.journal.model import TIMESTAMP_MAX, Account, AccountFlags, Transfer, TransferFlags
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.rows import integer
from nostro.journal.storage.directory import Directory, require_ledger
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import apply_record, restore_state
from nostro.projections.rules.posting import AppliedTransfer
from nostro.projections.rules.values import (
    PENDING,
    POST,
    VOID,
    AccountRow,
    AccountState,
    TransferRow,
)
from nostro.projections.state.accounts import Accounts
from nostro.projections.state.ledger_state import LedgerState


class ChangeEventType(enum.IntEnum):
    """What a change event is; TigerBeetle's names and numbers."""

    SINGLE_PHASE = 0
    TWO_PHASE_PENDING = 1
    TWO_PHASE_POSTED = 2
    TWO_PHASE_VOIDED = 3
    TWO_PHASE_EXPIRED = 4


@attrs.frozen
class ChangeEvent:
    """One posting."""

    position: int
    """Its position in the journal; to continue after it, start at the next one. 0 in a cluster."""
    timestamp: int
    """Its time, ns: the timestamp of the transfer, or of its expiry."""
    type: ChangeEventType
    transfer: Transfer
    """For an expiry, the pending transfer."""
    debit_account: Account
    """With its balances and flags just after the event."""
    credit_account: Account
    """With its balances and flags just after the event."""


def change_events(
    path: Path | str,
    *,
    position_min: int = 1,
    timestamp_min: int = 0,
    follow: bool = False,
    stop: threading.Event | None = None,
    timeout_seconds: float | None = None,
    storage: Storage | None = None,
) -> Iterator[ChangeEvent]:
    """Iterate over the durable change events of the ledger in ``path``.

    It first builds the state before them, from the nearest checkpoint.

    Args:
        position_min: the first position.
        timestamp_min: the earliest timestamp, ns.
        follow: continue with each new event as it becomes durable.
        stop: ends following when it is set.
        timeout_seconds: ends following after this time without a new event.

    Raises:
        InvalidField, OutOfRange: an argument is invalid, or ``position_min`` lies beyond the end.
        NotALedger, NotOwner: there is no ledger to read.
        Damage: the journal cannot be read further; the events before were sound.
    """
    position_min = _check_within("position_min", position_min, 2**64 - 1)
    timestamp_min = check_reading(timestamp_min, timeout_seconds, stop)
    storage = storage or Storage()
    directory = Directory(Path(path))
    require_ledger(directory)
    reader = Reader(directory.path, storage=storage)
    end = reader.head().position + 1
    if position_min > end:  # it would skip the events up to there silently
        raise OutOfRange("position_min", position_min, end)
    first = _record_start(reader, position_min, timestamp_min)
    state = restore_state(storage, directory, position_max=first - 1).state
    cursor = Cursor(position=first)
    records = (
        reader.follow(cursor, stop=stop, timeout_seconds=timeout_seconds)
        if follow
        else reader.records(cursor)
    )
    return (
        event
        for record in records
        for event in _events(state, record)
        if event.position >= position_min and event.timestamp >= timestamp_min
    )


def check_reading(timestamp_min: object, timeout_seconds: object, stop: object) -> int:
    """Check the arguments of a request for change events; ``timestamp_min`` as a Python int.

    Raises:
        InvalidField, OutOfRange: an argument is invalid.
    """
    earliest = _check_within("timestamp_min", timestamp_min, TIMESTAMP_MAX)
    if timeout_seconds is not None and not (
        isinstance(timeout_seconds, int | float) and timeout_seconds >= 0
    ):
        raise InvalidField("timeout_seconds", timeout_seconds, "must be a number, 0 or more")
    if stop is not None and not isinstance(stop, threading.Event):
        raise InvalidField("stop", stop, "must be a threading.Event")
    return earliest


def _check_within(field: str, value: object, greatest: int) -> int:
    number = integer(field, value)
    if not 0 <= number <= greatest:
        raise OutOfRange(field, number, greatest)
    return number


def _record_start(reader: Reader, position_min: int, timestamp_min: int) -> int:
    """The first position of the first record to read."""
    end = reader.head().position + 1
    starts = []
    for cursor in (Cursor(position=max(position_min, 1)), Cursor(timestamp=timestamp_min)):
        record = next(reader.records(cursor), None)
        starts.append(end if record is None else record.position_first)
    return max(starts)


def _events(state: LedgerState, record: Record) -> list[ChangeEvent]:
    """Apply one record to ``state``; return its change events."""
    applied: list[AppliedTransfer] = []
    apply_record(state, record, applied=applied)
    return [
        ChangeEvent(
            one.position,
            one.timestamp,
            _type(one),
            _transfer(one.row),
            _account(state.accounts, one.debit),
            _account(state.accounts, one.credit),
        )
        for one in applied
    ]


def _type(applied: AppliedTransfer) -> ChangeEventType:
    flags = applied.row.flags
    if applied.timestamp != applied.row.timestamp:
        return ChangeEventType.TWO_PHASE_EXPIRED
    if flags & PENDING:
        return ChangeEventType.TWO_PHASE_PENDING
    if flags & POST:
        return ChangeEventType.TWO_PHASE_POSTED
    if flags & VOID:
        return ChangeEventType.TWO_PHASE_VOIDED
    return ChangeEventType.SINGLE_PHASE


def _transfer(row: TransferRow) -> Transfer:
    return Transfer(*row[:-2], TransferFlags(row.flags), row.timestamp)


def _account(accounts: Accounts, state: AccountState) -> Account:
    row: AccountRow = accounts.row(state.slot)
    return Account(
        row.id,
        *state.balances(),
        row.user_data_128,
        row.user_data_64,
        row.user_data_32,
        row.ledger,
        row.code,
        AccountFlags(state.flags),
        row.timestamp,
    )
