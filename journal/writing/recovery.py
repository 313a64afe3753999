"""Opening a journal for writing after a crash, and refusing what no crash explains.

Everything up to HEAD was synced before it was acknowledged, so reading resumes there. The bytes
past HEAD come from a crash or from damage; :func:`classify` decides which. Recovery keeps a whole
frame past HEAD: after a power cut, HEAD on disk may be a second old and the frame acknowledged.

Recovery never trusts such a tail in its file. After a failed sync the system marks the pages
clean, and a later sync of the same file proves nothing. Recovery therefore copies the active
segment to a new file, syncs it and renames it over the old one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from nostro.journal.errors import CorruptManifest, JournalTruncated, NoRoomToRecover
from nostro.journal.format import frame
from nostro.journal.format.frame import HEADER_BYTES
from nostro.journal.format.head import Head
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES
from nostro.journal.reading.scan import (
    FrameBreak,
    Place,
    check_follows,
    check_last_frame,
    headers_between,
    last_written,
    scan,
    segment_start,
    written_end,
)
from nostro.journal.storage.copying import copy_part
from nostro.journal.storage.directory import (
    Directory,
    SegmentFile,
    durable_end,
    list_segments,
    make_folders,
    read_head,
    require_ledger,
    vouched_for,
)
from nostro.journal.storage.files import (
    NO_SPACE_ERRNOS,
    Storage,
    reading,
    sweep_temporaries,
)
from nostro.journal.writing.manifest import (
    check_manifest,
    read_manifest,
    refresh_manifest,
    sealed_segments,
)


@attrs.frozen
class Witness:
    """A file that was written only after ``position`` was durable."""

    path: Path
    position: int


@attrs.frozen
class RecoveryReport:
    """What recovery found past HEAD, and what it did."""

    closed: bool
    """Whether the last writer closed the ledger properly."""
    events_past_head: int
    """Whole events on disk after the end that HEAD names."""
    torn_bytes: int
    """Bytes of a frame that a crash cut short; they were never acknowledged."""
    quarantine: Path | None
    """The file that now holds those bytes."""


@attrs.frozen
class Recovered:
    """Where the next frame goes."""

    files: list[SegmentFile]
    place: Place
    head: Head
    timestamp: int
    report: RecoveryReport


@attrs.frozen
class Tail:
    """The bytes past HEAD: where the sound frames end, and what breaks off there."""

    place: Place
    timestamp: int
    events: int
    broken: FrameBreak | None


def recover(storage: Storage, directory: Directory, witnesses: Sequence[Witness]) -> Recovered:
    """Make the journal whole again; the caller holds the lock.

    Raises:
        Damage: no crash explains what is missing or altered. Nothing was changed.
        NoRoomToRecover: the disk is full. Nothing is lost, and the ledger can be read.
    """
    head, files, manifest_is_current, tail = examine(storage, directory, witnesses)
    make_folders(storage, directory)  # their files are derived, or a check below misses them
    for folder in (directory.path, *directory.folders):
        sweep_temporaries(storage, folder)
    # A kill may have come between a rename and the sync of its directory.
    storage.sync_directory(directory.segments)
    storage.sync_directory(directory.path)
    torn_bytes, quarantine = 0, None
    if tail.broken is not None or _holds_frames_past(head, files[-1], tail.place):
        with _room_for(directory, files[-1].size_bytes):
            active, end = files[-1], tail.place.offset_bytes
            if tail.broken is not None:
                with reading(storage, active.path) as fd:
                    torn_bytes = last_written(storage, fd, end, active.size_bytes) - end
                quarantine = directory.quarantine / f"{active.path.stem}-{end:012d}.torn"
                copy_part(storage, active.path, end, torn_bytes, quarantine)
            copy_part(storage, active.path, 0, end, active.path)
    if not manifest_is_current:
        sealed = sealed_segments(files)
        refresh_manifest(storage, directory, ledger_id=head.ledger_id, sealed=sealed)
    report = RecoveryReport(head.closed, tail.events, torn_bytes, quarantine)
    return Recovered(files, tail.place, head, tail.timestamp, report)


def examine(
    storage: Storage, directory: Directory, witnesses: Sequence[Witness]
) -> tuple[Head, list[SegmentFile], bool, Tail]:
    """HEAD, the segments, whether the manifest is current, and the tail. Changes nothing.

    Raises:
        Damage: no crash explains what is missing or altered.
    """
    require_ledger(directory)
    head = read_head(storage, directory)
    files = list_segments(storage, directory, ledger_id=head.ledger_id)
    manifest_is_current = _check_manifest(storage, directory, head, files)
    tail = _read_tail(storage, directory, head, files)
    _check_witnesses(files[-1], tail, witnesses)
    return head, files, manifest_is_current, tail


def classify(
    storage: Storage, fd: int, broken: FrameBreak, *, end_bytes: int, ledger_id: bytes
) -> str | None:
    """Why the break in the active segment cannot be a torn write; None if it is one.

    A torn write runs past the end of the file or lacks a whole sector, and no later frame was
    written in the knowledge that it was durable.
    """
    start = broken.place.offset_bytes
    later = _durable_later(storage, fd, broken.place, end_bytes, ledger_id)
    if later is not None:
        return f"a later frame at byte {later} proves that it was durable"
    extent = broken.frame_bytes or HEADER_BYTES
    if start + extent > end_bytes:
        return None
    data = memoryview(storage.read(fd, extent, start))
    if frame.has_zero_sector(data, offset_bytes=start):
        return None
    return "every sector of it was written; no crash explains it"


def _check_manifest(
    storage: Storage, directory: Directory, head: Head, files: list[SegmentFile]
) -> bool:
    """Whether the manifest lists every sealed segment."""
    try:
        listed = read_manifest(storage, directory, ledger_id=head.ledger_id)
    except (FileNotFoundError, CorruptManifest):
        return False  # derived: the segments' own headers have the same hashes
    check_manifest(directory, listed, files)
    return len(listed) == len(files) - 1


def _read_tail(
    storage: Storage, directory: Directory, head: Head, files: list[SegmentFile]
) -> Tail:
    """Scan from HEAD to the end of the journal."""
    first = len(vouched_for(directory, files, head)) - 1
    place = Place(head.offset_bytes, head.position + 1, head.frame_sha256)
    timestamp, events = head.timestamp, 0
    broken: FrameBreak | None = None
    for number, file in enumerate(files[first:], first):
        if number > first:
            check_follows(file.path, file.header, place)
            place = segment_start(file.header)
        else:
            durable_end(file.path, file.header.position_first, file.size_bytes, head)
            with reading(storage, file.path) as fd:
                check_last_frame(storage, fd, file, head)
        tail = _scan_segment(storage, file, place, head.ledger_id, sealed=number < len(files) - 1)
        place = tail.place
        timestamp = max(timestamp, tail.timestamp)
        events += tail.events
        broken = tail.broken
    return Tail(place, timestamp, events, broken)


def _scan_segment(
    storage: Storage, file: SegmentFile, place: Place, ledger_id: bytes, *, sealed: bool
) -> Tail:
    timestamp, events = 0, 0
    broken: FrameBreak | None = None
    with reading(storage, file.path) as fd:
        end = file.size_bytes if sealed else written_end(storage, fd, place, file.size_bytes)
        try:
            for scanned in scan(storage, fd, place, end_bytes=end, ledger_id=ledger_id):
                timestamp = max(timestamp, scanned.header.timestamp_max)
                events += scanned.header.event_count
                place = scanned.next_place
        except FrameBreak as found:
            broken = found
            cause: str | None = "the segment is sealed; no crash explains it"
            if not sealed:
                cause = classify(storage, fd, found, end_bytes=file.size_bytes, ledger_id=ledger_id)
            if cause is not None:
                damage = found.damage(file.path)
                damage.cause = f"{damage.cause}; {cause}"
                raise damage from None
    return Tail(place, timestamp, events, broken)


def _check_witnesses(active: SegmentFile, tail: Tail, witnesses: Sequence[Witness]) -> None:
    for witness in witnesses:
        if witness.position >= tail.place.position:
            raise JournalTruncated(
                active.path,
                tail.place.offset_bytes,
                f"the journal ends here, but {witness.path} was written at position"
                f" {witness.position}",
                tail.place.position,
            )


def _durable_later(
    storage: Storage, fd: int, place: Place, end_bytes: int, ledger_id: bytes
) -> int | None:
    """The offset of a later sound frame header that was written after ``place`` was durable."""
    for at, header in headers_between(storage, fd, place.offset_bytes + 1, end_bytes):
        if header.ledger_id == ledger_id and header.position_durable >= place.position:
            return at
    return None


def _holds_frames_past(head: Head, active: SegmentFile, place: Place) -> bool:
    """Whether the active segment holds frames that may never have been synced."""
    start = SEGMENT_HEADER_BYTES
    if active.header.position_first == head.segment_position:
        start = head.offset_bytes
    return place.offset_bytes > start


@contextlib.contextmanager
def _room_for(directory: Directory, bytes_needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        if failure.errno not in NO_SPACE_ERRNOS:
            raise
        raise NoRoomToRecover(directory.path, bytes_needed) from None
