"""A sparse index of one segment: which frame to start from. In memory, made by hopping headers."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import Final

from nostro.journal.format import frame
from nostro.journal.format.frame import BadFrame
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from nostro.journal.reading.scan import FrameBreak, Place, Window
from nostro.journal.storage.files import Storage

SPACING_BYTES: Final = 8 * 1024
"""The index has one entry of 24 bytes per this many bytes of segment: a look-up hops that far."""

_CHUNK_BYTES: Final = 16 * 1024
"""Of large frames only the headers are of interest."""


class SegmentIndex:
    """Positions, offsets and times of some of a segment's frames, in order."""

    def __init__(self, header: SegmentHeader) -> None:
        self._ledger_id = header.ledger_id
        self._end = Place(SEGMENT_HEADER_BYTES, header.position_first, None)
        self._timestamp = 0
        self._positions = array("Q")
        self._offsets = array("Q")
        self._timestamps_before = array("Q")  # highest in the segment before the entry

    def extend(self, storage: Storage, fd: int, *, end_bytes: int) -> None:
        """Take in the frames up to ``end_bytes``.

        Raises:
            FrameBreak: a header is damaged, or does not follow on the one before.
        """
        window = Window(storage, fd, end_bytes, chunk_bytes=_CHUNK_BYTES)
        while self._end.offset_bytes < end_bytes:
            place = self._end
            try:
                header = frame.decode_header(window.view(place.offset_bytes, frame.HEADER_BYTES))
            except BadFrame as bad:
                raise FrameBreak(place, bad.cause, None) from None
            if header.position_first != place.position or header.ledger_id != self._ledger_id:
                raise FrameBreak(place, "the frame does not follow on the one before it", None)
            if not self._offsets or place.offset_bytes - self._offsets[-1] >= SPACING_BYTES:
                self._positions.append(place.position)
                self._offsets.append(place.offset_bytes)
                self._timestamps_before.append(self._timestamp)
            self._timestamp = max(self._timestamp, header.timestamp_max)
            self._end = Place(
                place.offset_bytes + header.frame_bytes, header.position_last + 1, None
            )

    @property
    def timestamp_max(self) -> int:
        """The highest timestamp taken in so far, ns."""
        return self._timestamp

    @property
    def position_end(self) -> int:
        """The position after the last one taken in so far."""
        return self._end.position

    @property
    def end_bytes(self) -> int:
        """Where the last frame taken in so far ends."""
        return self._end.offset_bytes

    def before_position(self, position: int) -> Place:
        """A frame at or before the one that holds ``position``."""
        return self._entry(bisect_right(self._positions, position) - 1)

    def before_timestamp(self, timestamp: int) -> Place:
        """A frame at or before the first that reaches ``timestamp``."""
        return self._entry(bisect_left(self._timestamps_before, timestamp) - 1)

    def _entry(self, number: int) -> Place:
        if not self._offsets:
            return self._end
        number = max(number, 0)
        return Place(self._offsets[number], self._positions[number], None)
