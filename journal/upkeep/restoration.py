"""Restoring a journal from a backup: all of it, or the part up to a position or a time.

The backup is verified first. The result is verified before it gets its name.

A whole restore is the same ledger, byte for byte. A part is another ledger (upkeep/rewriting.py).
A part ends with a whole request.
"""

from __future__ import annotations

import time
from itertools import takewhile
from pathlib import Path

import attrs

from nostro.journal.errors import InvalidField, OutOfRange
from nostro.journal.format.events import LedgerRestored
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.storage.atomic_directory import atomic_directory, check_free
from nostro.journal.storage.directory import Directory, require_ledger
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.backup import backup, check_apart
from nostro.journal.upkeep.rewriting import rewrite_journal
from nostro.journal.upkeep.verification import Progress, verify


@attrs.frozen
class RestoreReport:
    """What was restored."""

    ledger_id: bytes
    ledger_id_before: bytes
    """The backup's. The same, if all of it was restored under its own identity."""
    position: int
    """The last event of the backup that is in it."""
    position_backup: int
    """The last event of the backup."""
    request_left_out: tuple[int, int] | None
    """The first and last position of the request that ``until_position`` cuts through."""
    timestamp: int
    """The highest timestamp in the last request, ns; 0 if the ledger is empty."""
    frame_sha256: bytes
    """The last link of the result's hash chain."""
    size_bytes: int
    seconds: float

    @property
    def is_same_ledger(self) -> bool:
        return self.ledger_id == self.ledger_id_before


def restore(
    source: Path | str,
    destination: Path | str,
    *,
    until_position: int | None = None,
    until_timestamp: int | None = None,
    new_identity: bool = False,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> RestoreReport:
    """Make a ledger at ``destination`` from a backup; the path must be empty or must not exist.

    Args:
        until_position: leave out every request that has an event after this position.
        until_timestamp: leave out the first request with an event later than this, ns, and all
            that were recorded after it.
        new_identity: make another ledger even of the whole backup.

    Raises:
        InvalidField, OutOfRange: the backup has no such position.
        NotALedger, NotOwner, DestinationInside, DestinationTaken, LedgerLocked: nothing was done.
        Damage: the backup is damaged; nothing was done.
        CopyFailed, JournalFull, WriterPoisoned: the disk is full or broken; nothing was left.
    """
    began = time.perf_counter()
    if until_position is not None and until_timestamp is not None:
        raise InvalidField("until_position", until_position, "and a time are given; give one")
    storage = storage or Storage()
    source, destination = Path(source), Path(destination)
    require_ledger(Directory(source))
    check_apart(source, destination)
    check_free(storage, destination)
    before = verify(source, progress=_half(progress, 0), storage=storage)
    reader = Reader(source, storage=storage)
    position, inside = _end(reader, before.position, until_position, until_timestamp)
    last = reader.record_at(position) if position else None
    with atomic_directory(storage, destination) as unfinished:
        if position == before.position and not new_identity:
            position = backup(
                source, unfinished, progress=_half(progress, 1), storage=storage
            ).position  # further, if the source is being written
            after = verify(unfinished, storage=storage)
        else:
            origin = before.ledger_id, position, last.sha256 if last is not None else bytes(32)
            kept = takewhile(lambda record: record.position_last <= position, reader.records())
            after = rewrite_journal(
                storage,
                unfinished,
                ((record.header, record.encoded) for record in kept),
                lambda timestamp: LedgerRestored(0, timestamp, *origin),
                bytes_total=before.size_bytes,
                progress=_half(progress, 1),
            )
    return RestoreReport(
        ledger_id=after.ledger_id,
        ledger_id_before=before.ledger_id,
        position=position,
        position_backup=max(before.position, position),
        request_left_out=inside,
        timestamp=last.timestamp_max if last is not None else 0,
        frame_sha256=after.frame_sha256,
        size_bytes=after.size_bytes,
        seconds=time.perf_counter() - began,
    )


def _end(
    reader: Reader, position_last: int, until_position: int | None, until_timestamp: int | None
) -> tuple[int, tuple[int, int] | None]:
    """The last position to keep, and the request that ``until_position`` cuts through.

    Raises:
        OutOfRange: the backup has no such position.
    """
    if until_timestamp is not None:
        later = next(reader.records(Cursor(timestamp=until_timestamp + 1)), None)
        return (position_last if later is None else later.position_first - 1), None
    if until_position is None:
        return position_last, None
    if not 0 <= until_position <= position_last:
        raise OutOfRange("until_position", until_position, position_last)
    record = reader.record_at(until_position) if until_position else None
    if record is None or record.position_last == until_position:
        return until_position, None
    return record.position_first - 1, (record.position_first, record.position_last)


def _half(progress: Progress | None, number: int) -> Progress:
    """Report one half of the work: 0 is reading the backup, 1 is writing the ledger."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(number * total + done, 2 * total)

    return report
