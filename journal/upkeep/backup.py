"""Backing up a journal, also while it is written: the copy is itself a ledger's directory.

The source is read without a lock, up to the end that HEAD names when the backup begins. Sealed
segments never change, so the next backup into the same directory copies only newer segments, and
the one that was active.

The destination is a sound ledger at every moment: the earlier backup or this one. Segments are put
in place in order, each whole, and HEAD comes last. An interrupted backup leaves no more past HEAD
than a crash of the writer would.

Checkpoints, indexes and the tree are derived and left out. Opening makes them again in one reading
of the journal; a checkpoint without the indexes would not spare that reading.
"""

from __future__ import annotations

import hashlib
import time
from functools import cached_property
from pathlib import Path

import attrs

from nostro.journal.errors import (
    CorruptFrame,
    DestinationInside,
    DestinationTaken,
    OtherHistory,
    OtherLedger,
)
from nostro.journal.format.head import Head, encode_slots
from nostro.journal.reading.bulk_scan import scan_chunks
from nostro.journal.reading.reader import Reader
from nostro.journal.reading.scan import Place, reading_frames, segment_start
from nostro.journal.storage import copying
from nostro.journal.storage.copying import FilePrefix
from nostro.journal.storage.directory import (
    Directory,
    Lock,
    SegmentFile,
    durable_end,
    list_segments,
    make_folders,
    read_head,
    read_segment_header,
    require_ledger,
    vouched_for,
)
from nostro.journal.storage.files import (
    Storage,
    check_directory,
    lies_within,
    make_directories,
    replace_file,
)
from nostro.journal.storage.throttle import PACE_DEFAULT, Throttle
from nostro.journal.upkeep.verification import Progress
from nostro.journal.writing.manifest import sealed_segments, write_manifest


@attrs.frozen
class BackupReport:
    """The content of the destination, and the work that it took."""

    ledger_id: bytes
    position: int
    """The last event."""
    timestamp: int
    """The highest timestamp, ns."""
    frame_sha256: bytes
    """The last link of the hash chain."""
    segments: int
    segments_copied: int
    """The segments that were written, linked ones included."""
    segments_linked: int
    size_bytes: int
    bytes_copied: int
    position_before: int | None
    """The last event of the earlier backup; None for a first backup."""
    seconds: float


def backup(
    source: Path | str,
    destination: Path | str,
    *,
    link: bool = False,
    pace: float = PACE_DEFAULT,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> BackupReport:
    """Bring ``destination`` up to the last durable event in ``source``.

    When this returns, every byte of the destination has been read back and hashed.

    Args:
        link: hard-link sealed segments instead of copying them; both must be on one file system,
            and damage to one is damage to both.
        pace: the share of the time to work while the journal is open for writing, above 0 and at
            most 1; a closed journal is copied at full speed.

    Raises:
        InvalidField: the pace is out of range.
        NotALedger, NotOwner: the source is not a ledger of this user.
        DestinationInside, DestinationTaken, OtherLedger, OtherHistory, LedgerLocked: the
            destination was not touched.
        Damage: the source is damaged; the destination holds the earlier backup.
        CopyFailed: the destination cannot be written; it holds the earlier backup.
    """
    began = time.perf_counter()
    throttle = Throttle(pace)
    storage = storage or Storage()
    origin, target = Directory(Path(source)), Directory(Path(destination))
    require_ledger(origin)
    check_apart(origin.path, target.path)
    head = read_head(storage, origin)
    files = vouched_for(origin, list_segments(storage, origin, ledger_id=head.ledger_id), head)
    durable_end(files[-1].path, head.segment_position, files[-1].size_bytes, head)
    if not storage.exists(target.lock):
        _survey(storage, origin, target, head, files)  # before LOCK is made
    if not storage.exists(target.path):
        with copying.as_copy_failed(target.path):
            make_directories(storage, target.path)
    with copying.as_copy_failed(target.lock):
        lock = Lock(storage, target)
    try:
        before = _survey(storage, origin, target, head, files)
        with copying.as_copy_failed(target.path):
            make_folders(storage, target)
            storage.sync_directory(target.path)
            lock.lock_segments()
        run = _Backup(
            storage,
            target,
            head,
            files,
            progress,
            Throttle(1) if head.closed else throttle,
            link=link,
        )
        run.run()
        return run.report(before, time.perf_counter() - began)
    finally:
        lock.release()


def check_apart(source: Path, destination: Path) -> None:
    """Refuse a destination that is the source or lies within it.

    Raises:
        DestinationInside: it does; links are followed.
    """
    if lies_within(destination, source):
        raise DestinationInside(destination, source)


@attrs.define
class _Backup:
    """One backup into a destination that is locked and fit for it."""

    _storage: Storage
    _target: Directory
    _head: Head
    _files: list[SegmentFile]
    _progress: Progress | None
    _throttle: Throttle
    _link: bool
    _done: int = 0
    _copied: int = 0
    _linked: int = 0
    _bytes_copied: int = 0

    @cached_property
    def _total(self) -> int:
        return sum(file.size_bytes for file in self._files[:-1]) + self._head.offset_bytes

    def run(self) -> None:
        storage, target = self._storage, self._target
        for file, sealed in zip(self._files, sealed_segments(self._files), strict=False):
            self._place(FilePrefix(file.path, sealed.size_bytes, sealed.sha256), link=self._link)
        self._place(
            _durable_prefix(storage, self._files[-1], self._head, self._throttle), link=False
        )
        with copying.as_copy_failed(target.head):
            replace_file(storage, target.head, encode_slots(self._head._replace(closed=True)))
        with copying.as_copy_failed(target.manifest):
            write_manifest(
                storage, target, ledger_id=self._head.ledger_id,
                sealed=sealed_segments(self._files),
            )  # fmt: skip

    def report(self, before: Head | None, seconds: float) -> BackupReport:
        head = self._head
        return BackupReport(
            ledger_id=head.ledger_id,
            position=head.position,
            timestamp=head.timestamp,
            frame_sha256=head.frame_sha256,
            segments=len(self._files),
            segments_copied=self._copied,
            segments_linked=self._linked,
            size_bytes=self._total,
            bytes_copied=self._bytes_copied,
            position_before=None if before is None else before.position,
            seconds=seconds,
        )

    def _place(self, prefix: FilePrefix, *, link: bool) -> None:
        """Make sure that the destination holds ``prefix`` under its own name."""
        path = self._target.segments / prefix.path.name
        start = self._done
        with copying.as_copy_failed(path):
            if copying.holds(self._storage, path, prefix, self._count):
                return
        self._done = start  # the file that was read is a different one
        self._copied += 1
        if link:
            copying.link(self._storage, prefix, path, self._count)
            self._linked += 1
        else:
            copying.copy(self._storage, prefix, path, self._count)
            self._bytes_copied += prefix.size_bytes

    def _count(self, count: int) -> None:
        self._done += count
        if count and self._progress is not None:
            self._progress(self._done, self._total)
        self._throttle.pause()


def _durable_prefix(
    storage: Storage, file: SegmentFile, head: Head, throttle: Throttle
) -> FilePrefix:
    """What HEAD vouches for of the segment it names, each frame checked."""
    with reading_frames(storage, file.path) as fd:
        place = segment_start(file.header)
        digest = hashlib.sha256(storage.read(fd, place.offset_bytes, 0))
        for chunk in scan_chunks(
            storage, fd, place, end_bytes=head.offset_bytes, ledger_id=head.ledger_id
        ):
            digest.update(chunk.data)
            place = chunk.next_place
            throttle.pause()
    if place != Place(head.offset_bytes, head.position + 1, head.frame_sha256):
        raise CorruptFrame(
            file.path, place.offset_bytes, "HEAD names another frame as the last", place.position
        )
    return FilePrefix(file.path, head.offset_bytes, digest.digest())


# --- the earlier backup ---


def _survey(
    storage: Storage,
    origin: Directory,
    target: Directory,
    head: Head,
    files: list[SegmentFile],
) -> Head | None:
    """The HEAD of the earlier backup; None for a first backup. Changes nothing.

    Raises:
        DestinationTaken, OtherLedger, OtherHistory: the destination holds something else.
    """
    if not storage.exists(target.path):
        return None
    check_directory(target.path)
    known = {target.lock, target.head, target.manifest, *target.folders}
    _check_names(storage, target.path, {path.name for path in known})
    if not storage.exists(target.segments):
        return None
    check_directory(target.segments)
    if not storage.exists(target.head):
        _check_begun(storage, target, files)
        return None
    before = read_head(storage, target)
    if before.ledger_id != head.ledger_id:
        raise OtherLedger(target.path, before.ledger_id, head.ledger_id)
    if before.position > head.position:
        raise OtherHistory(
            target.path, before.position, f"{origin.path} ends at position {head.position}"
        )
    if before.position and not _has_frame(storage, origin, before):
        raise OtherHistory(
            target.path, before.position, f"{origin.path} has another frame at its end"
        )
    if not before.closed:
        raise DestinationTaken(target.path, "it was opened for writing, and not closed properly")
    _check_names(storage, target.segments, {file.path.name for file in files})
    return before


def _check_begun(storage: Storage, target: Directory, files: list[SegmentFile]) -> None:
    """Without HEAD it must be an interrupted first backup, with some of these segments."""
    if storage.exists(target.manifest) or any(
        storage.exists(folder) and storage.names(folder)
        for folder in target.folders
        if folder != target.segments
    ):
        raise DestinationTaken(target.path, "it is a ledger that has lost its HEAD")
    _check_names(storage, target.segments, {file.path.name for file in files})
    ours = {file.path.name: file for file in files}
    for name in storage.names(target.segments):
        if name in ours:
            begun = read_segment_header(storage, target.segments / name)
            if begun.header != ours[name].header or begun.size_bytes > ours[name].size_bytes:
                raise DestinationTaken(begun.path, "it is not a segment of this ledger")


def _check_names(storage: Storage, folder: Path, known: set[str]) -> None:
    for name in storage.names(folder):
        if name not in known and name.removesuffix(".tmp") not in known:
            raise DestinationTaken(folder, f"it holds {name!r}, which is not part of a backup")


def _has_frame(storage: Storage, origin: Directory, before: Head) -> bool:
    """Whether the source has the last frame of the backup at the same place."""
    record = Reader(origin.path, storage=storage).record_at(before.position)
    return (
        record is not None
        and record.position_last == before.position
        and record.sha256 == before.frame_sha256
    )
