"""Rows by position: reads the blocks that hold them and nothing else.

A reader walks frame by frame, and checks the hash chain. A look-up jumps. It reads a frame whole
the first time, checks its header and its payload's CRC, and keeps where each block begins and its
CRC. From then on it reads only the blocks that it needs, and checks those.
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

from nostro.journal.errors import CorruptFrame, DecodeError, JournalTruncated, MissingSegment
from nostro.journal.format import codec, frame
from nostro.journal.format.codec import BLOCK_ROWS, OpenBlock, Payload, RecordKind
from nostro.journal.format.frame import HEADER_BYTES, BadFrame, FrameHeader
from nostro.journal.format.head import Head
from nostro.journal.format.parts import parts_of
from nostro.journal.model import ROW_BYTES, TRANSFER, Rows
from nostro.journal.reading.reader import Reader
from nostro.journal.reading.scan import Place, Window
from nostro.journal.storage.files import Storage

Positions = npt.NDArray[np.int64]

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Holds about 10,000 frames of 8,189 transfers, and more of small ones."""
_FRAME_BYTES: Final = 700
"""Memory that one takes besides its blocks and refusals, about."""
_CHUNK_BYTES: Final = 8 * 1024


class TransferLookup:
    """Transfers by position. Thread-safe.

    Args:
        cache_bytes_max: memory for frames that were read; the last one used always stays.
    """

    def __init__(
        self, path: Path, storage: Storage, *, cache_bytes_max: int = CACHE_BYTES_MAX
    ) -> None:
        self._reader = Reader(path, storage=storage)
        self._storage = storage
        self._lock = threading.Lock()
        self._head: Head | None = None
        self._cache: OrderedDict[int, _CachedFrame] = OrderedDict()
        """By first position; the frame used last comes last."""
        self._cached_positions: list[int] = []
        """The same positions, in order."""
        self._cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max
        self._last_block: tuple[_CachedFrame, int, OpenBlock] | None = None
        """The block opened last, with its frame and its number there."""

    def row(self, position: int) -> tuple[Rows, bool]:
        """``TRANSFER[1]``, the transfer at a durable ``position``, and whether it took effect.

        Raises:
            Damage: the journal cannot be read there.
        """
        with self._lock, self._segments() as segments:
            cached = self._frame(position, segments)
            numbers = [position - cached.position_first]
            if cached.transfers is not None:
                numbers, _ = cached.mixed_numbers([position])
            if not numbers:
                cause = f"an index names position {position}, which holds no transfer"
                raise cached.damage(cause)
            number, within = divmod(numbers[0], BLOCK_ROWS)
            fd = self._segment(cached.path, segments)
            row = self._block(cached, number, fd).rows([within])
            return np.frombuffer(row, TRANSFER), not cached.refused([position]).any()

    def rows(self, positions: Positions) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """``TRANSFER[n]`` of durable positions that rise, and which of them took effect.

        A position that holds no transfer gets a row of zeros, and False.

        Raises:
            Damage: the journal cannot be read there.
        """
        wanted: list[int] = positions.tolist()
        took_effect = np.ones(len(wanted), np.bool_)
        found: list[bytes] = []
        done = 0
        with self._lock, self._segments() as segments:
            while done < len(wanted):
                cached = self._frame(wanted[done], segments)
                end = bisect_right(wanted, cached.position_last, done)
                fd = self._segment(cached.path, segments)
                if cached.transfers is None:
                    first = cached.position_first
                    numbers = [position - first for position in wanted[done:end]]
                    found += self._rows(cached, numbers, fd)
                    if len(cached.refusals):
                        took_effect[done:end] = ~cached.refused(wanted[done:end])
                else:
                    numbers, there = cached.mixed_numbers(wanted[done:end])
                    rows = np.zeros((end - done, ROW_BYTES), np.uint8)
                    data = b"".join(self._rows(cached, numbers, fd))
                    rows[there] = np.frombuffer(data, np.uint8).reshape(-1, ROW_BYTES)
                    found.append(rows.tobytes())
                    took_effect[done:end] = there
                done = end
        return np.frombuffer(b"".join(found), TRANSFER), took_effect

    def _rows(self, cached: _CachedFrame, wanted: Sequence[int], fd: int) -> Iterator[bytes]:
        """The transfers with these numbers, which rise from 0, block by block."""
        done = 0
        while done < len(wanted):
            number = wanted[done] // BLOCK_ROWS
            first = number * BLOCK_ROWS
            end = bisect_left(wanted, first + BLOCK_ROWS, done)
            block = self._block(cached, number, fd)
            yield block.rows([row - first for row in wanted[done:end]])
            done = end

    @contextmanager
    def _segments(self) -> Iterator[dict[Path, int]]:
        """The segments that a look-up opens, by path; closed at its end."""
        opened: dict[Path, int] = {}
        try:
            yield opened
        finally:
            failure: OSError | None = None
            for fd in opened.values():  # each is closed, whatever the others report
                try:
                    self._storage.close(fd)
                except OSError as error:
                    failure = failure or error
            if failure is not None:
                raise failure

    def _segment(self, path: Path, segments: dict[Path, int]) -> int:
        fd = segments.get(path)
        if fd is None:
            try:
                fd = segments[path] = self._storage.open_read(path)
            except FileNotFoundError:
                raise MissingSegment(path, 0, "the file is missing", int(path.stem)) from None
        return fd

    def _block(self, cached: _CachedFrame, number: int, fd: int) -> OpenBlock:
        if self._last_block is not None and self._last_block[:2] == (cached, number):
            return self._last_block[2]
        data = self._storage.read(fd, cached.sizes[number], cached.starts[number])
        if zlib.crc32(data) != cached.crcs[number]:
            raise cached.damage("a block fails its CRC: it changed since it was first read")
        try:
            block = codec.open_block(data, cached.row_count(number))
        except DecodeError as error:
            raise cached.damage(error.reason) from None
        self._last_block = cached, number, block
        return block

    def _frame(self, position: int, segments: dict[Path, int]) -> _CachedFrame:
        at = bisect_right(self._cached_positions, position) - 1
        if at >= 0:
            cached = self._cache[self._cached_positions[at]]
            if position <= cached.position_last:
                self._cache.move_to_end(cached.position_first)
                return cached
        if self._head is None or self._head.position < position:
            self._head = self._reader.head()
        if self._head.position < position:
            cause = f"an index holds position {position}, which the journal does not reach"
            raise JournalTruncated(self._reader.directory.head, 0, cause, position)
        path, place, end_bytes = self._reader.place_before(position, self._head)
        fd = self._segment(path, segments)
        window = Window(self._storage, fd, end_bytes, chunk_bytes=_CHUNK_BYTES)
        cached = _read_frame(window, path, place, position)
        self._add_to_cache(cached)
        return cached

    def _add_to_cache(self, cached: _CachedFrame) -> None:
        self._cache[cached.position_first] = cached
        self._cached_positions.insert(
            bisect_left(self._cached_positions, cached.position_first), cached.position_first
        )
        self._cache_bytes += cached.memory_bytes
        while self._cache_bytes > self._cache_bytes_max and len(self._cache) > 1:
            first, forgotten = self._cache.popitem(last=False)
            self._cached_positions.pop(bisect_left(self._cached_positions, first))
            self._cache_bytes -= forgotten.memory_bytes


@attrs.frozen(eq=False)
class _CachedFrame:
    """A frame that was sound when it was read."""

    path: Path
    offset_bytes: int
    position_first: int
    position_last: int
    transfers: npt.NDArray[np.int64] | None
    """The positions of its transfers, rising. None: there is one at each position."""
    starts: array[int]
    """Where in the segment each of its blocks begins, in bytes."""
    sizes: array[int]
    crcs: array[int]
    refusals: npt.NDArray[np.int64]
    """The positions of transfers that took no effect, rising."""

    @property
    def memory_bytes(self) -> int:
        known = 0 if self.transfers is None else self.transfers.nbytes
        return _FRAME_BYTES + 16 * len(self.starts) + self.refusals.nbytes + known

    def mixed_numbers(self, positions: Sequence[int]) -> tuple[list[int], npt.NDArray[np.bool_]]:
        """The numbers, from 0, of the transfers at some positions, and which of these hold one."""
        transfers = np.zeros(0, np.int64) if self.transfers is None else self.transfers
        there = np.isin(positions, transfers)
        numbers = np.searchsorted(transfers, np.asarray(positions, np.int64)[there])
        return numbers.tolist(), there

    def row_count(self, number: int) -> int:
        """How many rows a block holds."""
        rows = self.position_last - self.position_first + 1
        if self.transfers is not None:
            rows = len(self.transfers)
        return min(BLOCK_ROWS, rows - number * BLOCK_ROWS)

    def refused(self, positions: Sequence[int]) -> npt.NDArray[np.bool_]:
        """``bool[n]``: which of these took no effect."""
        return np.isin(np.asarray(positions, np.int64), self.refusals)

    def damage(self, cause: str) -> CorruptFrame:
        return CorruptFrame(self.path, self.offset_bytes, cause, self.position_first)


def _read_frame(window: Window, path: Path, place: Place, position: int) -> _CachedFrame:
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
        return _cached_frame(path, at, header, *codec.view_payload(payload))
    except BadFrame as bad:
        raise CorruptFrame(path, at, bad.cause, first) from None
    except DecodeError as error:
        raise CorruptFrame(path, at, error.reason, first) from None


def _cached_frame(
    path: Path, offset_bytes: int, header: FrameHeader, payload: Payload, starts: Sequence[int]
) -> _CachedFrame:
    if payload.event_count != header.event_count:
        raise DecodeError("the payload holds another number of events than its frame says")
    part = next((it for it in parts_of(payload) if it.kind is RecordKind.TRANSFERS), None)
    transfers: npt.NDArray[np.int64] | None = np.zeros(0, np.int64)
    blocks: Sequence[bytes | memoryview] = ()
    if part is not None:
        blocks = part.payload.blocks
        starts = starts[part.block_first : part.block_first + len(blocks)]
        transfers = None
        if not isinstance(part.places, range):
            transfers = part.places + header.position_first
    return _CachedFrame(
        path,
        offset_bytes,
        header.position_first,
        header.position_last,
        transfers,
        array("Q", [offset_bytes + HEADER_BYTES + start for start in starts[: len(blocks)]]),
        array("I", map(len, blocks)),
        array("I", map(zlib.crc32, blocks)),
        payload.refusals["index"].astype(np.int64) + header.position_first,
    )
