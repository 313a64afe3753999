"""Rows by position: reads the blocks that hold them and nothing else.

A reader walks, and so it checks the chain. A look-up jumps. It reads a frame whole the first time,
checks its header and its payload's CRC, and remembers where its blocks stand, with a CRC of each;
from then on it reads only the blocks that it needs, and checks those.
"""

from __future__ import annotations

import threading
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import CorruptFrame, DecodeError, MissingSegment
from nostro.journal.format import codec, frame
from nostro.journal.format.codec import BLOCK_ROWS, OpenBlock, Payload, RecordKind
from nostro.journal.format.frame import HEADER_BYTES, BadFrame, FrameHeader
from nostro.journal.format.head import Head
from nostro.journal.model import ROW_BYTES, TRANSFER, Rows
from nostro.journal.reading.reader import Reader
from nostro.journal.reading.scan import Place, Window
from nostro.journal.storage.files import Storage

Positions = npt.NDArray[np.int64]

_BYTES_KEPT: Final = 8 * 1024 * 1024
"""So much is remembered of frames: about 10,000 of 8,189 transfers, and more of small ones."""
_FRAME_BYTES: Final = 700
"""What one takes in memory besides its blocks and refusals, about."""
_CHUNK_BYTES: Final = 8 * 1024


class TransferLookup:
    """Transfers by position. Thread-safe."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._reader = Reader(path, storage=storage)
        self._storage = storage
        self._lock = threading.Lock()
        self._head: Head | None = None
        self._known: OrderedDict[int, _KnownFrame] = OrderedDict()
        """By the first position of each; the one that was used last is the last."""
        self._firsts: list[int] = []
        """The same positions, rising."""
        self._known_bytes = 0
        self._opened: tuple[_KnownFrame, int, OpenBlock] | None = None
        """The block that was opened last: its frame and its number there."""

    def row(self, position: int) -> tuple[Rows, bool]:
        """``TRANSFER[1]``, what stands at a durable ``position``, and whether it took effect.

        Raises:
            Damage: the journal cannot be read there.
        """
        with self._lock, self._segments() as segments:
            known = self._frame(position, segments)
            number, within = divmod(position - known.position_first, BLOCK_ROWS)
            fd = self._segment(known.path, segments)
            row = self._block(known, number, fd).rows([within])
            return np.frombuffer(row, TRANSFER), not known.refused([position]).any()

    def rows(self, positions: Positions) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """``TRANSFER[n]`` of durable positions that rise, and which of them took effect.

        What is no transfer has a row of zeros, and took none.

        Raises:
            Damage: the journal cannot be read there.
        """
        wanted: list[int] = positions.tolist()
        took_effect = np.ones(len(wanted), np.bool_)
        found: list[bytes] = []
        done = 0
        with self._lock, self._segments() as segments:
            while done < len(wanted):
                known = self._frame(wanted[done], segments)
                end = bisect_right(wanted, known.position_last, done)
                if not known.holds_transfers:
                    found.append(bytes((end - done) * ROW_BYTES))
                    took_effect[done:end] = False
                else:
                    fd = self._segment(known.path, segments)
                    found += self._rows(known, wanted[done:end], fd)
                    if len(known.refusals):
                        took_effect[done:end] = ~known.refused(wanted[done:end])
                done = end
        return np.frombuffer(b"".join(found), TRANSFER), took_effect

    def _rows(self, known: _KnownFrame, wanted: Sequence[int], fd: int) -> Iterator[bytes]:
        """The rows of positions that rise, block by block."""
        done = 0
        while done < len(wanted):
            number = (wanted[done] - known.position_first) // BLOCK_ROWS
            first = known.position_first + number * BLOCK_ROWS
            end = bisect_left(wanted, first + BLOCK_ROWS, done)
            block = self._block(known, number, fd)
            yield block.rows([position - first for position in wanted[done:end]])
            done = end

    @contextmanager
    def _segments(self) -> Iterator[dict[Path, int]]:
        """The segments that a look-up opens, by path; closed at its end."""
        opened: dict[Path, int] = {}
        try:
            yield opened
        finally:
            for fd in opened.values():
                self._storage.close(fd)

    def _segment(self, path: Path, segments: dict[Path, int]) -> int:
        fd = segments.get(path)
        if fd is None:
            try:
                fd = segments[path] = self._storage.open_read(path)
            except FileNotFoundError:
                raise MissingSegment(path, 0, "the file is missing", int(path.stem)) from None
        return fd

    def _block(self, known: _KnownFrame, number: int, fd: int) -> OpenBlock:
        if self._opened is not None and self._opened[:2] == (known, number):
            return self._opened[2]
        data = self._storage.read(fd, known.sizes[number], known.starts[number])
        if zlib.crc32(data) != known.crcs[number]:
            raise known.damage("a block is no longer what it was")
        try:
            block = codec.open_block(data, known.row_count(number))
        except DecodeError as error:
            raise known.damage(error.reason) from None
        self._opened = known, number, block
        return block

    def _frame(self, position: int, segments: dict[Path, int]) -> _KnownFrame:
        at = bisect_right(self._firsts, position) - 1
        if at >= 0:
            known = self._known[self._firsts[at]]
            if position <= known.position_last:
                self._known.move_to_end(known.position_first)
                return known
        if self._head is None or self._head.position < position:
            self._head = self._reader.head()
        if self._head.position < position:
            raise AssertionError(f"position {position} is indexed, but not in the journal")
        path, place, end_bytes = self._reader.place_before(position, self._head)
        fd = self._segment(path, segments)
        window = Window(self._storage, fd, end_bytes, chunk_bytes=_CHUNK_BYTES)
        known = _read_frame(window, path, place, position)
        self._remember(known)
        return known

    def _remember(self, known: _KnownFrame) -> None:
        self._known[known.position_first] = known
        self._firsts.insert(bisect_left(self._firsts, known.position_first), known.position_first)
        self._known_bytes += known.memory_bytes
        while self._known_bytes > _BYTES_KEPT and len(self._known) > 1:
            first, forgotten = self._known.popitem(last=False)
            self._firsts.pop(bisect_left(self._firsts, first))
            self._known_bytes -= forgotten.memory_bytes


@attrs.frozen(eq=False)
class _KnownFrame:
    """A frame that was sound when it was read."""

    path: Path
    offset_bytes: int
    position_first: int
    position_last: int
    holds_transfers: bool
    starts: array[int]
    """Where in the segment each of its blocks begins, in bytes."""
    sizes: array[int]
    crcs: array[int]
    refusals: npt.NDArray[np.int64]
    """The positions of transfers that took no effect, rising."""

    @property
    def memory_bytes(self) -> int:
        return _FRAME_BYTES + 16 * len(self.starts) + self.refusals.nbytes

    def row_count(self, number: int) -> int:
        """How many rows a block holds."""
        rows_before = number * BLOCK_ROWS
        return min(BLOCK_ROWS, self.position_last - self.position_first + 1 - rows_before)

    def refused(self, positions: Sequence[int]) -> npt.NDArray[np.bool_]:
        """``bool[n]``: which of these took no effect."""
        return np.isin(np.asarray(positions, np.int64), self.refusals)

    def damage(self, cause: str) -> CorruptFrame:
        return CorruptFrame(self.path, self.offset_bytes, cause, self.position_first)


def _read_frame(window: Window, path: Path, place: Place, position: int) -> _KnownFrame:
    """Hop from ``place`` to the frame that holds ``position``."""
    at, first = place.offset_bytes, place.position
    try:
        while True:
            header = frame.decode_header(window.view(at, HEADER_BYTES))
            if header.position_first != first:
                raise BadFrame("the frame does not follow on the one before it")
            if header.position_last >= position:
                break
            at, first = at + header.frame_bytes, header.position_last + 1
        payload = frame.decode_payload(window.view(at, header.frame_bytes), header)
        return _known_frame(path, at, header, *codec.view_payload(payload))
    except BadFrame as bad:
        raise CorruptFrame(path, at, bad.cause, first) from None
    except DecodeError as error:
        raise CorruptFrame(path, at, error.reason, first) from None


def _known_frame(
    path: Path, offset_bytes: int, header: FrameHeader, payload: Payload, starts: Sequence[int]
) -> _KnownFrame:
    if payload.event_count != header.event_count:
        raise DecodeError("the payload holds another number of events than its frame says")
    return _KnownFrame(
        path,
        offset_bytes,
        header.position_first,
        header.position_last,
        payload.kind is RecordKind.TRANSFERS,
        array("Q", [offset_bytes + HEADER_BYTES + start for start in starts]),
        array("I", map(len, payload.blocks)),
        array("I", map(zlib.crc32, payload.blocks)),
        payload.refusals["index"].astype(np.int64) + header.position_first,
    )
