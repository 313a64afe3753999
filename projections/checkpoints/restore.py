"""Bringing a ledger's state up: the nearest sound checkpoint, then the journal from there on."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any, Final

import attrs
import numpy as np

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.format.parts import Positions, as_array
from nostro.journal.model import TIMESTAMP_MAX
from nostro.journal.reading.reader import Cursor, Reader, Record, RecordPart
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import Checkpoint, newest_checkpoint
from nostro.projections.checkpoints.index_set import Indexes
from nostro.projections.rules.posting import AppliedTransfer
from nostro.projections.state.ledger_state import LedgerState

Applied = list[AppliedTransfer] | None
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
    indexes: Indexes | None = None,
    progress: Progress | None = None,
) -> Restored:
    """The ledger's state after every durable event, within the bounds.

    Args:
        position_max: leave out every event after this position.
        timestamp_max: leave out every event later than this, ns.
        indexes: loaded ones, to complete: what they lack is replayed.

    Raises:
        Damage: the journal cannot be read up to there.
    """
    began = time.perf_counter()
    reader = Reader(directory.path, storage=storage)
    head = reader.head()
    refused: list[str] = []

    def load(checkpoint: Checkpoint, dump: Any) -> LedgerState | None:
        state = LedgerState.load(dump)
        if state.position != checkpoint.position:
            raise CorruptCheckpoint(checkpoint.path, 0, "its state is that of another position")
        is_later = timestamp_max is not None and state.timestamp > timestamp_max
        return None if is_later else state

    found = newest_checkpoint(
        storage,
        reader,
        LedgerState.name,
        LedgerState.version,
        load,
        position_max=position_max if indexes is None else indexes.position,
        state_bytes_max=LedgerState.dump_bytes_max(head.position),
        refused=refused,
    )
    state, checkpoint = (LedgerState(), None) if found is None else found
    frame_sha256 = checkpoint.frame_sha256 if checkpoint is not None else bytes(32)
    if indexes is not None:
        indexes.attach(state)
    replayed = 0
    for record in reader.records(Cursor(position=state.position + 1)):
        if position_max is not None and record.position_first > position_max:
            break
        if indexes is not None:
            indexes.begin(record)
        replayed += apply_record(
            state, record, position_max=position_max, timestamp_max=timestamp_max
        )
        frame_sha256 = record.sha256
        if indexes is not None:
            indexes.take(record)
        if progress is not None:
            progress(record.position_last, min(head.position, position_max or head.position))
    if indexes is not None:
        state.reservations = indexes.reservations
    seconds = time.perf_counter() - began
    return Restored(
        head.ledger_id, state, frame_sha256, checkpoint, tuple(refused), replayed, seconds
    )


def restore_indexed(storage: Storage, directory: Directory) -> tuple[Restored, Indexes]:
    """The ledger's state after every durable event, and its indexes, complete. Release them.

    Raises:
        Damage: the journal cannot be read.
    """
    indexes = Indexes(storage, directory)
    try:
        indexes.load()
        return restore_state(storage, directory, indexes=indexes), indexes
    except BaseException:
        indexes.release()  # else mapped until the error is forgotten
        raise


def apply_record(
    state: LedgerState,
    record: Record,
    *,
    position_max: int | None = None,
    timestamp_max: int | None = None,
    applied: Applied = None,
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
    until = TIMESTAMP_MAX if timestamp_max is None else timestamp_max
    if first > last or record.timestamp_min > until:
        return 0
    count, reached = 0, 0
    try:
        for part in record.parts:
            apply = _apply_events if part.kind is RecordKind.EVENTS else _apply_rows
            count += apply(state, part, range(first, last + 1), until, applied)
            reached = max(reached, state.position)
    except _CONTRADICTIONS as error:
        cause = f"its events do not follow from those before them: {error}"
        raise record.damage(cause) from error
    state.advance(reached, state.timestamp)
    return count


def _apply_rows(
    state: LedgerState, part: RecordPart, within: range, until: int, applied: Applied
) -> int:
    """Fold in the rows at the positions ``within``, none later than ``until`` (ns)."""
    wanted = _slice(part.positions, within)
    rows, statuses, positions = part.rows[wanted], part.statuses, part.positions[wanted]
    statuses = statuses if statuses is None else statuses[wanted]
    if part.record.timestamp_max > until:
        kept = rows["timestamp"] <= np.uint64(until)
        rows, statuses = rows[kept], statuses if statuses is None else statuses[kept]
        positions = as_array(positions)[kept]
    if len(rows):
        latest = int(rows["timestamp"].max())
        state.apply(
            part.kind, rows, statuses, positions=positions, timestamp=latest, applied=applied
        )
    return len(rows)


def _apply_events(
    state: LedgerState, part: RecordPart, within: range, until: int, applied: Applied
) -> int:
    """Fold in the domain events of ``part``, as above."""
    events = [e for e in part.events() if e.position in within and e.timestamp <= until]
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


def _slice(positions: Positions, within: range) -> slice:
    """Which of the positions lie ``within``."""
    if isinstance(positions, range):
        first = positions.start
        return slice(max(within.start - first, 0), max(within.stop - first, 0))
    start, end = np.searchsorted(positions, np.array([within.start, within.stop], np.uint64))
    return slice(int(start), int(end))
