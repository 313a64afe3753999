"""A ledger's directory: the place of each file, and the lock that admits one writer.

::

    LOCK                     flock'ed by the writer; holds nothing
    HEAD                     journal/format/head.py
    MANIFEST                 journal/writing/manifest.py (derived)
    segments/…….segment      journal/format/segment.py, the journal itself
    checkpoints/             projections/checkpoints/checkpoint.py (derived)
    indexes/                 projections/indexes/ (derived)
    tables/                  projections/domains/table_store.py (derived), where there are domains
    tree/                    journal/evidence/tree_file.py (derived)
    mirror/                  projections/tigerbeetle/ (derived), where there is one
    quarantine/              torn tails, kept for inspection
"""

from __future__ import annotations

import errno
import time
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import (
    CorruptHead,
    CorruptSegment,
    ForeignSegment,
    JournalTruncated,
    LedgerLocked,
    MissingSegment,
    NotALedger,
)
from nostro.journal.format import segment
from nostro.journal.format.head import HEAD_BYTES, SLOT_BYTES, Head, decode_slots, newest
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader, decode_segment_header
from nostro.journal.storage.file_lock import FileLock
from nostro.journal.storage.files import Storage, check_directory, read_file, reading

_HEAD_READS_MAX: Final = 5
_CANNOT_LOCK_ERRNOS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP})


def _inside(name: str) -> cached_property[Path]:
    """The path of that name in a :class:`Directory`, joined once: joining paths is slow."""

    def join(directory: Directory) -> Path:
        return directory.path / name

    return cached_property(join)


@attrs.frozen
class Directory:
    """The paths of a ledger's files."""

    path: Path

    lock = _inside("LOCK")
    head = _inside("HEAD")
    manifest = _inside("MANIFEST")
    segments = _inside("segments")
    checkpoints = _inside("checkpoints")
    indexes = _inside("indexes")
    tables = _inside("tables")
    tree = _inside("tree")
    subtrees = _inside("tree/subtrees")
    quarantine = _inside("quarantine")
    mirror = _inside("mirror")

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        return self.segments, self.checkpoints, self.indexes, self.tree, self.quarantine

    def segment(self, position_first: int) -> Path:
        return self.segments / segment.segment_name(position_first)


@attrs.frozen
class SegmentFile:
    """A segment as found on disk."""

    path: Path
    header: SegmentHeader
    size_bytes: int


def require_ledger(directory: Directory) -> None:
    """Refuse a path that holds no ledger of this user's.

    Raises:
        NotALedger: no such directory, or it lacks ``segments``.
        NotOwner: it belongs to another user.
    """
    check_directory(directory.path)
    if not directory.segments.is_dir():
        raise NotALedger(path=directory.path, reason="it has no segments")
    check_directory(directory.segments)


def make_folders(storage: Storage, directory: Directory) -> None:
    """Make the folders that are missing; the caller syncs the directory."""
    for folder in directory.folders:
        if not storage.exists(folder):
            storage.make_directory(folder)


def read_head(storage: Storage, directory: Directory, *, both_slots: bool = False) -> Head:
    """The newest whole slot of HEAD.

    A reader takes no lock, so a slot that the writer is just overwriting is read again.

    Args:
        both_slots: demand that the other slot is whole, too.

    Raises:
        CorruptHead: the file is missing, of the wrong size, or has no whole slot.
    """
    for _ in range(_HEAD_READS_MAX - 1):
        try:
            return _read_head(storage, directory, both_slots)
        except CorruptHead:
            time.sleep(0.001)
    return _read_head(storage, directory, both_slots)


def _read_head(storage: Storage, directory: Directory, both_slots: bool) -> Head:
    try:
        data = read_file(storage, directory.head)
    except FileNotFoundError:
        raise CorruptHead(directory.head, 0, "the file is missing") from None
    if len(data) != HEAD_BYTES:
        raise CorruptHead(
            directory.head, len(data), f"the file has {len(data)} bytes, not {HEAD_BYTES}"
        )
    for number, slot in enumerate(decode_slots(data, path=directory.head) if both_slots else ()):
        if slot is None:
            raise CorruptHead(
                directory.head, number * SLOT_BYTES, "this slot is damaged; the other one is used"
            )
    return newest(data, path=directory.head)


def list_segments(storage: Storage, directory: Directory, *, ledger_id: bytes) -> list[SegmentFile]:
    """The segments in order, each checked against its neighbours.

    Raises:
        MissingSegment: the first segment of the journal or one between others is missing.
        ForeignSegment: one belongs to another ledger.
        CorruptSegment: a header is damaged, or a sealed segment has another size than it had.
    """
    files = [
        read_segment_header(storage, directory.segments / name)
        for name in storage.names(directory.segments)
        if name.endswith(segment.SUFFIX)
    ]
    if not files:
        raise MissingSegment(directory.segments, 0, "every segment is missing", 1)
    for file in files:
        if file.header.ledger_id != ledger_id:
            raise ForeignSegment(
                file.path,
                16,
                f"it belongs to ledger {file.header.ledger_id.hex()}, not {ledger_id.hex()}",
                file.header.position_first,
            )
    first = files[0]
    if first.header.number != 0:
        raise MissingSegment(first.path, 0, f"{first.header.number} segments before it", 1)
    for before, after in pairwise(files):
        _check_neighbours(before, after)
    return files


def read_segment_header(storage: Storage, path: Path) -> SegmentFile:
    """The segment at ``path``, its header checked.

    Raises:
        UnsupportedFormat, CorruptSegment: see :func:`decode_segment_header`.
    """
    with reading(storage, path) as fd:
        header = decode_segment_header(storage.read(fd, SEGMENT_HEADER_BYTES, 0), path=path)
        return SegmentFile(path, header, storage.size(fd))


def vouched_for(directory: Directory, files: list[SegmentFile], head: Head) -> list[SegmentFile]:
    """The segments up to the one that HEAD names, which is the last.

    Raises:
        JournalTruncated: that one is missing.
    """
    first = head.segment_position
    found = [file for file in files if file.header.position_first <= first]
    if not found or found[-1].header.position_first != first:
        raise JournalTruncated(
            directory.segment(first), 0, "HEAD names it, but it is missing", first
        )
    return found


def durable_end(path: Path, position_first: int, size_bytes: int, head: Head) -> int:
    """Where the durable frames of a segment end, in bytes.

    Raises:
        JournalTruncated: the file is shorter than HEAD says.
    """
    if position_first != head.segment_position:
        return size_bytes
    if size_bytes < head.offset_bytes:
        raise JournalTruncated(
            path, size_bytes, f"HEAD says that {head.offset_bytes:,} bytes were acknowledged"
        )
    return head.offset_bytes


def _check_neighbours(before: SegmentFile, after: SegmentFile) -> None:
    if after.header.number != before.header.number + 1:
        missing = after.header.number - before.header.number - 1
        raise MissingSegment(
            after.path, 0, f"{missing} missing between {before.path.name} and this one"
        )
    if before.size_bytes != after.header.previous_file_bytes:
        raise CorruptSegment(
            before.path,
            min(before.size_bytes, after.header.previous_file_bytes),
            f"it was sealed with {after.header.previous_file_bytes:,} bytes"
            f" and now has {before.size_bytes:,}",
        )


class Lock:
    """The right to write to a ledger, held while this object is open.

    It is two locks: one on LOCK, and one on the folder of the segments, which keeps a second writer
    out even if LOCK was removed or replaced. Some network file systems cannot lock a folder; there
    LOCK stands alone.

    Raises:
        LedgerLocked: another writer holds it; nothing was written.
    """

    def __init__(self, storage: Storage, directory: Directory) -> None:
        self._storage = storage
        self._directory = directory
        self._refusal = LedgerLocked(path=directory.path)
        self._file = FileLock(storage, directory.lock, self._refusal)
        self._folder: FileLock | None = None
        self.lock_segments()

    @property
    def fd(self) -> int:
        """Of LOCK."""
        return self._file.fd

    @property
    def is_abandoned(self) -> bool:
        """Whether this is a forked child's copy of it: the lock is the parent's."""
        return self._file.is_abandoned

    def lock_segments(self) -> None:
        """Lock the folder of the segments too, if it exists by now and is not locked yet."""
        if self._folder is not None or not self._storage.exists(self._directory.segments):
            return
        try:
            self._folder = FileLock(
                self._storage, self._directory.segments, self._refusal, is_directory=True
            )
        except OSError as failure:
            if failure.errno not in _CANNOT_LOCK_ERRNOS:
                self.release()
                raise
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """May be repeated; in a forked child it does nothing."""
        try:
            if self._folder is not None:
                self._folder.release()
        finally:
            self._file.release()
