"""The active segment's file: room reserved ahead, a write and its sync, sealing.

A full disk shows in :class:`NoRoom` before anything was promised, and the file can be put back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nostro.journal.format.segment import (
    FORMAT_VERSION,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    encode_segment_header,
)
from nostro.journal.storage.files import NO_SPACE_ERRNOS, Storage
from nostro.journal.writing.manifest import SealedSegment
from nostro.journal.writing.recovery import Recovered

ALLOCATION_BYTES: Final = 4 * 1024 * 1024
"""Room reserved ahead of the writer: an fdatasync that need not grow the file takes 0.10 ms here
instead of 0.17, and a full disk is noticed before anything is written."""

_HASH_CHUNK_BYTES: Final = 1024 * 1024


class NoRoom(OSError):
    """The disk is full, and nothing was promised about what did not fit."""


class ActiveFile:
    """The active segment's file: where it ends, how much room is reserved, its running hash."""

    def __init__(self, storage: Storage, recovered: Recovered) -> None:
        active = recovered.files[-1]
        self._storage = storage
        self.path = active.path
        self.header = active.header
        self.operation = "opening"
        """What was last asked of the system: names the culprit when it fails."""
        self.fd = storage.open_write(active.path)
        try:
            self._allocated_bytes = storage.size(self.fd)
        except BaseException:
            storage.close(self.fd)
            raise
        self.end_bytes = self._written_bytes = recovered.place.offset_bytes
        self._begun: bytes | None = None
        self._failure: OSError | None = None
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0

    def is_full(self, queued_bytes: int, frame_bytes: int, size_bytes_max: int) -> bool:
        """Whether the frame must go into the next segment. A segment holds at least one.

        A segment of an older version gets no more frames.
        """
        if self.header.version < FORMAT_VERSION:
            return True
        used = self.end_bytes + queued_bytes
        return used > SEGMENT_HEADER_BYTES and used + frame_bytes > size_bytes_max

    def begin(self, frame: bytes, size_bytes_max: int) -> None:
        """Write the frame that the next :meth:`write` begins with, and let the disk begin.

        A failure is for that :meth:`write` to report.
        """
        self._begun = frame
        try:
            self._write(frame, 0, size_bytes_max)
        except OSError as failure:
            self._failure = failure

    def write(self, frames: Sequence[bytes], size_bytes_max: int) -> int:
        """Write frames, and let the disk begin; where they end, once :meth:`sync` has returned."""
        begun, self._begun = self._begun, None
        failure, self._failure = self._failure, None
        if begun is not frames[0]:
            self._write(b"".join(frames), 0, size_bytes_max)
        elif failure is not None:
            raise failure
        elif len(frames) > 1:
            self._write(b"".join(frames[1:]), len(begun), size_bytes_max)
        self._written_bytes = self.end_bytes + sum(map(len, frames))
        if self._hashed_bytes == self.end_bytes:
            for frame in frames:
                self._hash.update(frame)
            self._hashed_bytes = self._written_bytes
        return self._written_bytes

    def sync(self) -> None:
        """Return once what was written is on disk. Only now does ``end_bytes`` move."""
        self.operation = "fdatasync"
        self._storage.sync_data(self.fd)
        self.end_bytes = self._written_bytes

    def _write(self, data: bytes, ahead_bytes: int, size_bytes_max: int) -> None:
        """Write so far behind the end, where there must be room, and let the disk begin."""
        start = self.end_bytes + ahead_bytes
        if start + len(data) > self._allocated_bytes:
            self._reserve(start + len(data), size_bytes_max)
        self.operation = "write"
        try:
            self._storage.write(self.fd, data, start)
        except OSError as failure:
            raise _no_room_or(failure) from None
        self._storage.begin_sync(self.fd, start, len(data))

    def _reserve(self, end_bytes: int, size_bytes_max: int) -> None:
        """Reserve room up to ``end_bytes``, and ahead of it if the disk has that much."""
        self.operation = "fallocate"
        ahead = min(self._allocated_bytes + ALLOCATION_BYTES, size_bytes_max)
        if ahead > end_bytes:
            try:
                self._allocate(ahead)
            except NoRoom:
                pass  # little room is enough room for this one
            else:
                return
        self._allocate(end_bytes)

    def _allocate(self, size_bytes: int) -> None:
        start = self._allocated_bytes
        try:
            self._storage.allocate(self.fd, start, size_bytes - start)
        except OSError as failure:
            raise _no_room_or(failure) from None
        self._allocated_bytes = size_bytes

    def put_back(self) -> bool:
        """Undo a write that found no room; False if that fails as well."""
        try:
            self.cut()
        except OSError:
            return False
        return True

    def cut(self) -> None:
        """Cut off the reserved room."""
        self.operation = "truncate"
        self._storage.truncate(self.fd, self.end_bytes)
        self._allocated_bytes = self.end_bytes
        self.operation = "fsync"
        self._storage.sync(self.fd)

    def seal(self) -> SealedSegment:
        """Cut, sync and hash the file, which never changes again."""
        self.cut()
        self.operation = "read"
        while self._hashed_bytes < self.end_bytes:
            chunk = self._storage.read(
                self.fd, min(_HASH_CHUNK_BYTES, self.end_bytes - self._hashed_bytes),
                self._hashed_bytes,
            )  # fmt: skip
            self._hash.update(chunk)
            self._hashed_bytes += len(chunk)
        return SealedSegment(self.header.position_first, self.end_bytes, self._hash.digest())

    def replace(self, path: Path, header: SegmentHeader) -> None:
        """Go on in the segment at ``path``, which holds only its header."""
        sealed, self.fd = self.fd, self._storage.open_write(path)
        self.path, self.header = path, header
        self.end_bytes = self._allocated_bytes = SEGMENT_HEADER_BYTES
        self._hash = hashlib.sha256(encode_segment_header(header))
        self._hashed_bytes = SEGMENT_HEADER_BYTES
        self._storage.close(sealed)

    def close(self) -> None:
        self._storage.close(self.fd)


def _no_room_or(failure: OSError) -> OSError:
    if failure.errno in NO_SPACE_ERRNOS:
        return NoRoom(failure.errno, failure.strerror)
    return failure
