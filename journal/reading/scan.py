"""Walking the frames of one segment, checking each against the one before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import CorruptFrame, CorruptSegment, Damage, SplitHistory
from nostro.journal.format import frame
from nostro.journal.format.frame import BadFrame, FrameHeader, frame_sha256
from nostro.journal.format.head import Head
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from nostro.journal.storage.directory import SegmentFile
from nostro.journal.storage.files import Storage, reading

OTHER: Final = (
    "is not in the journal: either two copies of this ledger were both written to and their files"
    " mixed, or a file was rewritten"
)
SPLIT: Final = f"names a predecessor that {OTHER}"

_CHUNK_BYTES: Final = 1024 * 1024
_LAST_FRAME_BYTES: Final = (64 * 1024, 1024 * 1024, 2 * frame.PAYLOAD_BYTES_MAX)
"""How far before the end of the last frame its beginning is looked for: most are small."""


@attrs.frozen
class Place:
    """Where a frame begins, and what it must follow on.

    ``previous_sha256`` is None when scanning starts in the middle, at a frame whose predecessor
    was not read.
    """

    offset_bytes: int
    position: int
    previous_sha256: bytes | None


@attrs.frozen(eq=False)
class ScannedFrame:
    header: FrameHeader
    frame: memoryview
    payload: memoryview
    place: Place
    sha256: bytes

    @property
    def next_place(self) -> Place:
        return Place(
            self.place.offset_bytes + self.header.frame_bytes,
            self.header.position_last + 1,
            self.sha256,
        )


class FrameBreak(Exception):
    """No sound frame at ``place``. ``frame_bytes`` is its size if at least its header is sound."""

    def __init__(
        self, place: Place, cause: str, frame_bytes: int | None, *, is_split: bool = False
    ) -> None:
        super().__init__(cause)
        self.place = place
        self.cause = cause
        self.frame_bytes = frame_bytes
        self.is_split = is_split

    def damage(self, path: Path) -> Damage:
        kind = SplitHistory if self.is_split else CorruptFrame
        return kind(path, self.place.offset_bytes, self.cause, self.place.position)


@contextlib.contextmanager
def reading_frames(storage: Storage, path: Path) -> Iterator[int]:
    """A segment to scan, closed at the end; a FrameBreak in it is raised as damage of the file."""
    try:
        with reading(storage, path) as fd:
            yield fd
    except FrameBreak as broken:
        raise broken.damage(path) from None


def segment_start(header: SegmentHeader) -> Place:
    return Place(SEGMENT_HEADER_BYTES, header.position_first, header.previous_frame_sha256)


def check_last_frame(storage: Storage, fd: int, file: SegmentFile, head: Head) -> None:
    """Check that the frame which HEAD names as the last one ends where HEAD says.

    Raises:
        SplitHistory: another sound frame ends there.
        CorruptFrame: no sound frame does.
    """
    end = head.offset_bytes
    found = file.header.previous_frame_sha256 if end == SEGMENT_HEADER_BYTES else None
    for size_bytes in _LAST_FRAME_BYTES if found is None else ():
        start = max(SEGMENT_HEADER_BYTES, end - size_bytes)
        for at, header in headers_between(storage, fd, start, end):
            if at + header.frame_bytes == end and header.position_last == head.position:
                data = storage.read(fd, end - at, at)
                with contextlib.suppress(BadFrame):
                    frame.decode_payload(memoryview(data), header)
                    found = frame_sha256(data)
        if found is not None or start == SEGMENT_HEADER_BYTES:
            break
    if found is None:
        raise CorruptFrame(file.path, end, "no sound frame ends where HEAD says", head.position)
    if found != head.frame_sha256:
        raise SplitHistory(file.path, end, f"the frame that HEAD names {OTHER}", head.position)


def check_follows(path: Path, header: SegmentHeader, place: Place) -> None:
    """Check that a segment goes on at ``place``, where the one before it ends.

    Raises:
        CorruptSegment: it begins at another position.
        SplitHistory: it follows on another frame.
    """
    if header.position_first != place.position:
        cause = f"it starts at position {header.position_first}, not {place.position}"
        raise CorruptSegment(path, 0, cause, place.position)
    if place.previous_sha256 not in (None, header.previous_frame_sha256):
        raise SplitHistory(path, 0, f"the segment {SPLIT}", place.position)


def scan(
    storage: Storage, fd: int, start: Place, *, end_bytes: int, ledger_id: bytes
) -> Iterator[ScannedFrame]:
    """The frames from ``start`` up to ``end_bytes``.

    Raises:
        FrameBreak: the bytes there are not the frame that must follow.
    """
    window = Window(storage, fd, end_bytes)
    place = start
    while place.offset_bytes < end_bytes:
        size: int | None = None
        try:
            header = frame.decode_header(window.view(place.offset_bytes, frame.HEADER_BYTES))
            size = header.frame_bytes
            _check_succession(header, place, ledger_id)
            data = window.view(place.offset_bytes, size)
            payload = frame.decode_payload(data, header)
        except BadFrame as bad:
            raise FrameBreak(place, bad.cause, size, is_split=bad.is_split) from None
        scanned = ScannedFrame(header, data, payload, place, frame_sha256(data))
        yield scanned
        place = scanned.next_place


def headers_between(
    storage: Storage, fd: int, start: int, end: int
) -> Iterator[tuple[int, FrameHeader]]:
    """The sound frame headers in a part of a file, each with its offset."""
    for offset in range(start, end, _CHUNK_BYTES):
        data = storage.read(fd, min(_CHUNK_BYTES + frame.HEADER_BYTES, end - offset), offset)
        yield from frame.find_headers(data, offset_bytes=offset)


def written_end(storage: Storage, fd: int, place: Place, size_bytes: int) -> int:
    """Where the reserved zeros at the end of the active segment begin, at 16 bytes' precision."""
    end = last_written(storage, fd, place.offset_bytes, size_bytes)
    return min(-(-end // frame.ALIGNMENT_BYTES) * frame.ALIGNMENT_BYTES, size_bytes)


def last_written(storage: Storage, fd: int, start: int, end: int) -> int:
    """Where a part of a file ends without the zeros at its end."""
    while end > start:
        offset = max(start, end - _CHUNK_BYTES)
        written = len(storage.read(fd, end - offset, offset).rstrip(b"\0"))
        if written:
            return offset + written
        end = offset
    return start


def _check_succession(header: FrameHeader, place: Place, ledger_id: bytes) -> None:
    if header.ledger_id != ledger_id:
        raise BadFrame(f"the frame belongs to ledger {header.ledger_id.hex()}")
    if header.position_first != place.position:
        raise BadFrame(
            f"the frame starts at position {header.position_first}, not {place.position}"
        )
    if place.previous_sha256 is not None and header.previous_sha256 != place.previous_sha256:
        raise BadFrame(f"the frame {SPLIT}", is_split=True)
    if header.position_durable >= header.position_first:
        raise BadFrame("the frame claims to be durable before it was written")


class Window:
    """Views into a file, read ahead in chunks."""

    def __init__(
        self, storage: Storage, fd: int, end_bytes: int, *, chunk_bytes: int = _CHUNK_BYTES
    ) -> None:
        self._storage = storage
        self._fd = fd
        self._end = end_bytes
        self._chunk = chunk_bytes
        self._start = 0
        self._data = memoryview(b"")

    def view(self, offset_bytes: int, count: int) -> memoryview:
        """``count`` bytes, or fewer if the file or the window's end comes first."""
        count = min(count, self._end - offset_bytes)
        start = offset_bytes - self._start
        if start < 0 or start + count > len(self._data):
            wanted = min(max(count, self._chunk), self._end - offset_bytes)
            self._data = memoryview(self._storage.read(self._fd, wanted, offset_bytes))
            self._start = offset_bytes
            start = 0
        return self._data[start : start + count]
