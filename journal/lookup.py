"""Rows by position: reads the frames that hold them and nothing else, and opens only their blocks.

A reader walks, and so it checks the chain. A look-up jumps: it checks the header and the payload's
CRC of each frame it reads. The last few frames are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from journal import codec, frame
from journal.codec import RecordKind, Rows
from journal.errors import CorruptFrame, DecodeError, MissingSegment
from journal.frame import BadFrame, FrameHeader
from journal.head import Head
from journal.model import ROW_BYTES, TRANSFER
from journal.reader import Reader
from journal.scan import Place, Window
from journal.storage import Storage

Positions = npt.NDArray[np.int64]

_FRAMES_KEPT: Final = 32
_BYTES_KEPT: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 8 * 1024


class TransferLookup:
    """Transfers by position. Thread-safe."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._reader = Reader(path, storage=storage)
        self._storage = storage
        self._lock = threading.Lock()
        self._head: Head | None = None
        self._kept: OrderedDict[int, _OpenFrame] = OrderedDict()
        self._kept_bytes = 0

    def row(self, position: int) -> tuple[Rows, bool]:
        """``TRANSFER[1]``, what stands at a durable ``position``, and whether it took effect.

        Raises:
            Damage: the journal cannot be read there.
        """
        with self._lock, self._segments() as segments:
            return self._frame(position, segments).row(position)

    def rows(self, positions: Positions) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """``TRANSFER[n]`` of durable positions that rise, and which of them took effect.

        What is no transfer has a row of zeros, and took none.

        Raises:
            Damage: the journal cannot be read there.
        """
        rows = np.zeros(len(positions), TRANSFER)
        took_effect = np.zeros(len(positions), np.bool_)
        words = rows.view(np.uint64).reshape(len(rows), ROW_BYTES // 8)
        done = 0
        with self._lock, self._segments() as segments:
            while done < len(positions):
                opened = self._frame(int(positions[done]), segments)
                end = int(np.searchsorted(positions, opened.position_last, "right"))
                opened.copy(positions[done:end], words[done:end], took_effect[done:end])
                done = end
        return rows, took_effect

    @contextmanager
    def _segments(self) -> Iterator[dict[Path, int]]:
        """The segments that a look-up opens, by path; closed at its end."""
        opened: dict[Path, int] = {}
        try:
            yield opened
        finally:
            for fd in opened.values():
                self._storage.close(fd)

    def _frame(self, position: int, segments: dict[Path, int]) -> _OpenFrame:
        for first, kept in reversed(self._kept.items()):
            if first <= position <= kept.position_last:
                self._kept.move_to_end(first)
                return kept
        if self._head is None or self._head.position < position:
            self._head = self._reader.head()
        if self._head.position < position:
            raise AssertionError(f"position {position} is indexed, but not in the journal")
        path, place, end_bytes = self._reader.place_before(position, self._head)
        fd = segments.get(path)
        if fd is None:
            try:
                fd = segments[path] = self._storage.open_read(path)
            except FileNotFoundError:
                raise MissingSegment(path, 0, "the file is missing", int(path.stem)) from None
        window = Window(self._storage, fd, end_bytes, chunk_bytes=_CHUNK_BYTES)
        return self._keep(_read_frame(window, path, place, position))

    def _keep(self, opened: _OpenFrame) -> _OpenFrame:
        self._kept[opened.position_first] = opened
        self._kept_bytes += opened.size_bytes
        while len(self._kept) > 1 and (
            len(self._kept) > _FRAMES_KEPT or self._kept_bytes > _BYTES_KEPT
        ):
            self._kept_bytes -= self._kept.popitem(last=False)[1].size_bytes
        return opened


def _read_frame(window: Window, path: Path, place: Place, position: int) -> _OpenFrame:
    """Hop from ``place`` to the frame that holds ``position``."""
    at, first = place.offset_bytes, place.position
    try:
        while True:
            header = frame.decode_header(window.view(at, frame.HEADER_BYTES))
            if header.position_first != first:
                raise BadFrame("the frame does not follow on the one before it")
            if header.position_last >= position:
                break
            at, first = at + header.frame_bytes, header.position_last + 1
        payload = frame.decode_payload(window.view(at, header.frame_bytes), header)
        return _OpenFrame(header, codec.view_payload(payload))
    except BadFrame as bad:
        raise CorruptFrame(path, at, bad.cause, first) from None
    except DecodeError as error:
        raise CorruptFrame(path, at, error.reason, first) from None


class _OpenFrame:
    """A frame, and the block of it that was opened last."""

    def __init__(self, header: FrameHeader, payload: codec.Payload) -> None:
        if payload.event_count != header.event_count:
            raise DecodeError("the payload holds another number of events than its frame says")
        self.position_first = header.position_first
        self.position_last = header.position_last
        self.size_bytes = header.frame_bytes
        self._payload = payload
        self._statuses = payload.statuses()
        self._number = -1
        self._block = np.zeros(0, TRANSFER)

    def row(self, position: int) -> tuple[Rows, bool]:
        index = position - self.position_first
        number, within = divmod(index, codec.BLOCK_ROWS)
        if number != self._number:
            self._number, self._block = number, self._payload.block(number)
        took_effect = self._statuses is None or int(self._statuses[index]) == codec.CREATED
        return self._block[within : within + 1], took_effect

    def copy(
        self,
        positions: Positions,
        words: npt.NDArray[np.uint64],
        took_effect: npt.NDArray[np.bool_],
    ) -> None:
        """Put the rows at ``positions``, and which took effect, where they are wanted."""
        if self._payload.kind is not RecordKind.TRANSFERS:
            return
        index = positions - self.position_first
        took_effect[:] = True if self._statuses is None else self._statuses[index] == codec.CREATED
        numbers = index // codec.BLOCK_ROWS
        start = 0
        while start < len(index):
            number = int(numbers[start])
            end = int(np.searchsorted(numbers, number, "right"))
            picked = self._payload.pick(number, index[start:end] - number * codec.BLOCK_ROWS)
            words[start:end] = picked.view(np.uint64).reshape(end - start, ROW_BYTES // 8)
            start = end
