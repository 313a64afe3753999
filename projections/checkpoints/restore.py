"""Bringing a ledger's state up: the nearest sound checkpoint, then the journal from there on."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final

import attrs
import numpy as np

from nostro.journal.errors import CorruptCheckpoint, DecodeError
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import Checkpoint, checkpoint_paths, read_checkpoint
from nostro.projections.checkpoints.runner import holds_frame
from nostro.projections.indexes.reservation_index import ReservationIndex
from nostro.projections.rules.posting import AppliedTransfer
from nostro.projections.state.ledger_state import LedgerState, Positions

Progress = Callable[[int, int], None]
"""Called with the events applied and the events in all."""

_CONTRADICTIONS: Final = (ArithmeticError, AssertionError, LookupError, ValueError, struct.error)
"""What folding raises when events name accounts that do not exist, sum up to more than 128 bits and
the like: this program writes no such journal."""


@attrs.frozen
class Restored:
    ledger_id: bytes
    state: LedgerState
    frame_sha256: bytes
    checkpoint: Checkpoint | None
    """The checkpoint it began with; None if it was replayed from the first event."""
    checkpoints_refused: tuple[str, ...]
    """Why newer checkpoints could not be used."""
    events_replayed: int
    seconds: float


def restore_state(
    storage: Storage,
    directory: Directory,
    *,
    position_max: int | None = None,
    timestamp_max: int | None = None,
    use_checkpoints: bool = True,
    reservations: ReservationIndex | None = None,
    observe: Callable[[LedgerState, Record], None] | None = None,
    progress: Progress | None = None,
) -> Restored:
    """The ledger's state after every durable event, or as far as the bounds allow.

    Args:
        position_max: leave out every event after this position.
        timestamp_max: leave out every event later than this, ns.
        reservations: where to record what pending transfers change, after what it holds.
        observe: called with each record that is replayed, and the state with it folded in.

    Raises:
        Damage: the journal cannot be read up to there.
    """
    began = time.perf_counter()
    reader = Reader(directory.path, storage=storage)
    head = reader.head()
    refused: list[str] = []
    state, checkpoint = LedgerState(), None
    if use_checkpoints:
        found = _newest_checkpoint(
            storage, reader, head.ledger_id, position_max, timestamp_max, refused
        )
        if found is not None:
            state, checkpoint = found
    frame_sha256 = checkpoint.frame_sha256 if checkpoint is not None else bytes(32)
    replayed = 0
    for record in reader.records(Cursor(position=state.position + 1)):
        if position_max is not None and record.position_first > position_max:
            break
        if reservations is not None and record.position_first > reservations.stack.position:
            state.reservations = reservations
        replayed += apply_record(
            state, record, position_max=position_max, timestamp_max=timestamp_max
        )
        frame_sha256 = record.sha256
        if observe is not None:
            observe(state, record)
        if progress is not None:
            progress(record.position_last, min(head.position, position_max or head.position))
    seconds = time.perf_counter() - began
    return Restored(
        head.ledger_id, state, frame_sha256, checkpoint, tuple(refused), replayed, seconds
    )


def apply_record(
    state: LedgerState,
    record: Record,
    *,
    position_max: int | None = None,
    timestamp_max: int | None = None,
    applied: list[AppliedTransfer] | None = None,
) -> int:
    """Fold in what lies within the bounds and ``state`` does not hold yet.

    Args:
        applied: takes each transfer that took effect or expired, in order.

    Returns:
        How many events that were.

    Raises:
        CorruptFrame: the frame is sound, but its events do not follow from those before.
    """
    first = max(record.position_first, state.position + 1)
    last = record.position_last if position_max is None else min(record.position_last, position_max)
    if first > last or (timestamp_max is not None and record.timestamp_min > timestamp_max):
        return 0
    try:
        if record.kind is RecordKind.EVENTS:
            return _apply_events(state, record, first, last, timestamp_max, applied)
        return _apply_rows(state, record, first, last, timestamp_max, applied)
    except _CONTRADICTIONS as error:
        cause = f"its events do not follow from those before them: {error}"
        raise record.damage(cause) from error


def _apply_rows(
    state: LedgerState,
    record: Record,
    first: int,
    last: int,
    timestamp_max: int | None,
    applied: list[AppliedTransfer] | None,
) -> int:
    wanted = slice(first - record.position_first, last + 1 - record.position_first)
    rows, statuses = record.rows[wanted], record.statuses
    statuses = statuses if statuses is None else statuses[wanted]
    positions: Positions = range(first, last + 1)
    if timestamp_max is not None and record.timestamp_max > timestamp_max:
        kept = rows["timestamp"] <= np.uint64(timestamp_max)
        rows, statuses = rows[kept], statuses if statuses is None else statuses[kept]
        positions = np.array(positions, np.uint64)[kept]
    if len(rows):
        state.apply(
            record.kind,
            rows,
            statuses,
            positions=positions,
            timestamp=int(rows["timestamp"].max()),
            applied=applied,
        )
    return len(rows)


def _apply_events(
    state: LedgerState,
    record: Record,
    first: int,
    last: int,
    timestamp_max: int | None,
    applied: list[AppliedTransfer] | None,
) -> int:
    events = [
        event
        for event in record.events()
        if first <= event.position <= last
        and (timestamp_max is None or event.timestamp <= timestamp_max)
    ]
    expired = [event for event in events if isinstance(event, PendingExpired)]
    if expired:
        state.expire(
            [event.transfer_id for event in expired],
            positions=[event.position for event in expired],
            timestamps=[event.timestamp for event in expired],
            applied=applied,
        )
    if events:
        state.advance(events[-1].position, events[-1].timestamp)
    return len(events)


def _newest_checkpoint(
    storage: Storage,
    reader: Reader,
    ledger_id: bytes,
    position_max: int | None,
    timestamp_max: int | None,
    refused: list[str],
) -> tuple[LedgerState, Checkpoint] | None:
    paths = checkpoint_paths(storage, reader.directory, LedgerState.name)
    state_bytes_max = LedgerState.dump_bytes_max(reader.head().position)  # none of them is ahead
    for path in reversed(paths):
        try:
            checkpoint, dump = read_checkpoint(
                storage, path, ledger_id=ledger_id, state_bytes_max=state_bytes_max
            )
            if checkpoint.projection_version != LedgerState.version:
                continue
            state = LedgerState.load(dump)
            if state.position != checkpoint.position:
                raise CorruptCheckpoint(path, 0, "its state is that of another position")
        except (CorruptCheckpoint, DecodeError) as error:
            refused.append(str(error))
            continue
        if position_max is not None and state.position > position_max:
            continue
        if timestamp_max is not None and state.timestamp > timestamp_max:
            continue
        if not holds_frame(reader, checkpoint.position, checkpoint.frame_sha256):
            refused.append(f"{path}: the journal holds another frame at its position")
            continue
        return state, checkpoint
    return None
