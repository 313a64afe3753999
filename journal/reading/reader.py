"""Reading a journal, by its writer's process or any other: a cursor, and following as it grows.

A reader takes no lock and writes nothing. It shows nothing after the end that HEAD names, so no
crash can take back what it has shown.
"""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_right
from collections.abc import Generator, Iterator
from functools import cached_property
from itertools import dropwhile
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import (
    CorruptFrame,
    CorruptSegment,
    DecodeError,
    ForeignSegment,
    InvalidField,
    MissingSegment,
    SplitHistory,
)
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import Event, events_of
from nostro.journal.format.frame import FrameHeader
from nostro.journal.format.head import Head
from nostro.journal.format.parts import Places, Positions, parts_of, positions_of
from nostro.journal.format.segment import (
    SEGMENT_HEADER_BYTES,
    SUFFIX,
    SegmentHeader,
    decode_segment_header,
    segment_name,
)
from nostro.journal.model import Rows
from nostro.journal.reading.scan import (
    OTHER,
    Place,
    check_follows,
    reading_frames,
    scan,
    segment_start,
)
from nostro.journal.reading.segment_index import SegmentIndex
from nostro.journal.storage.directory import Directory, durable_end, read_head, require_ledger
from nostro.journal.storage.files import Storage
from nostro.journal.storage.watch import HeadWatcher


@attrs.frozen
class Cursor:
    """A place to read from; without arguments, the beginning.

    Args:
        position: read from the record that holds this event.
        timestamp: read from the first record that reaches this time, ns.
    """

    position: int | None = None
    timestamp: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.position is not None and self.timestamp is not None:
            raise InvalidField("cursor", self, "names a position and a timestamp; give one")
        for field in ("position", "timestamp"):
            value = getattr(self, field)
            if value is not None and value < 0:
                raise InvalidField(field, value, "cannot be negative")

    def is_reached_by(self, header: FrameHeader) -> bool:
        """Whether reading begins with this record, if not before."""
        if self.position is not None:
            return header.position_last >= self.position
        return self.timestamp is None or header.timestamp_max >= self.timestamp


@attrs.frozen(eq=False)
class Record:
    """One request's events, as they lie in the journal. The payload is decoded on demand."""

    header: FrameHeader
    sha256: bytes
    segment: Path
    offset_bytes: int
    encoded: bytes

    @property
    def position_first(self) -> int:
        return self.header.position_first

    @property
    def position_last(self) -> int:
        return self.header.position_last

    @property
    def event_count(self) -> int:
        return self.header.event_count

    @property
    def timestamp_min(self) -> int:
        return self.header.timestamp_min

    @property
    def timestamp_max(self) -> int:
        return self.header.timestamp_max

    @cached_property
    def payload(self) -> codec.Payload:
        """The decoded payload.

        Raises:
            CorruptFrame: the frame is sound, but its payload is not one this program writes.
        """
        try:
            payload = codec.decode_payload(self.encoded)
        except DecodeError as error:
            raise self.damage(error.reason) from None
        if payload.event_count != self.header.event_count:
            raise self.damage("the payload holds another number of events than its frame says")
        if self.header.kind not in (0, payload.kind):
            raise self.damage("the payload is of another kind than its frame says")
        return payload

    @property
    def kind(self) -> RecordKind:
        """Known without decoding the payload, but for segments of version 1."""
        return RecordKind(self.header.kind) if self.header.kind else self.payload.kind

    @cached_property
    def parts(self) -> tuple[RecordPart, ...]:
        """The events by kind; one part unless these are commands."""
        return tuple(RecordPart(self, part.payload, part.places) for part in parts_of(self.payload))

    def part(self, kind: RecordKind) -> RecordPart | None:
        """The events of that kind."""
        return next((part for part in self.parts if part.kind is kind), None)

    def part_at(self, position: int) -> tuple[RecordPart, int]:
        """The part that holds an event of this record, and its number there, from 0."""
        for part in self.parts:
            positions = part.positions
            if isinstance(positions, range):  # the only part
                return part, positions.index(position)
            number = int(np.searchsorted(positions, position))
            if number < len(positions) and positions[number] == position:
                return part, number
        raise AssertionError("the record does not hold this position")

    def events(self) -> Iterator[Event]:
        """The events one by one, by position."""
        if len(self.parts) == 1:
            yield from self.parts[0].events()
        else:
            every = [event for part in self.parts for event in part.events()]
            yield from sorted(every, key=lambda event: event.position)

    def damage(self, cause: str) -> CorruptFrame:
        """The error to raise if the frame is sound and its events are not."""
        return CorruptFrame(self.segment, self.offset_bytes, cause, self.position_first)


@attrs.frozen(eq=False)
class RecordPart:
    """The events of one kind in a record: accounts, transfers or domain events."""

    record: Record
    payload: codec.Payload
    places: Places
    """Of the events, from 0, among all of the record."""

    @property
    def kind(self) -> RecordKind:
        return self.payload.kind

    @cached_property
    def positions(self) -> Positions:
        """Of the events, rising: ``range`` or ``u64[n]``."""
        return positions_of(self.places, self.record.position_first)

    @cached_property
    def rows(self) -> Rows:
        """``ACCOUNT[n]`` or ``TRANSFER[n]``; refused transfers included."""
        try:
            return self.payload.rows()
        except DecodeError as error:
            raise self.record.damage(error.reason) from None

    @property
    def statuses(self) -> npt.NDArray[np.uint32] | None:
        """``u32[n]``, CREATED where the transfer took effect; None when all did."""
        return self.payload.statuses()

    def events(self) -> Iterator[Event]:
        """The events one by one."""
        try:
            yield from events_of(self.payload, self.positions)
        except DecodeError as error:
            raise self.record.damage(error.reason) from None


class Reader:
    """Reads the journal at ``path``. Not thread-safe; any number may be open at once.

    Raises:
        NotALedger, NotOwner: the path is not a ledger of this user.
    """

    def __init__(self, path: Path | str, *, storage: Storage | None = None) -> None:
        self.directory = Directory(Path(path))
        self._storage = storage or Storage()
        require_ledger(self.directory)
        self._names: list[int] = []
        self._indexes: dict[int, SegmentIndex] = {}

    def head(self) -> Head:
        """How far the journal is durable at this moment.

        Raises:
            CorruptHead: HEAD is missing or damaged.
        """
        return read_head(self._storage, self.directory)

    def records(self, cursor: Cursor | None = None) -> Iterator[Record]:
        """The records from ``cursor`` to the end that HEAD names when the iteration begins.

        Raises:
            Damage: a segment is missing, foreign or damaged; what came before was sound.
        """
        head = self.head()
        cursor = cursor or Cursor()
        start = self._start(cursor, head)
        if start is None:
            return
        yield from dropwhile(
            lambda record: not cursor.is_reached_by(record.header), self._records_from(*start, head)
        )

    def parts(self, cursor: Cursor | None = None) -> Iterator[RecordPart]:
        """The parts of :meth:`records`, each with the events of one kind."""
        for record in self.records(cursor):
            yield from record.parts

    def record_at(self, position: int) -> Record | None:
        """The record that holds ``position``; None when it is not durable."""
        for record in self.records(Cursor(position=position)):
            return record
        return None

    def place_before(self, position: int, head: Head) -> tuple[Path, Place, int]:
        """The segment of a durable ``position``, a frame just before its own, the segment's end.

        Raises:
            Damage: a segment is missing, foreign or damaged.
        """
        if not self._names or self._names[-1] < head.segment_position:
            self._list_segments(head)
        number = bisect_right(self._names, position) - 1
        if number < 0:
            raise self._missing(1)
        name = self._names[number]
        index = self._indexes.get(name)
        if index is None or index.position_end <= position:
            index = self._index(name, head)
        return self.directory.segment(name), index.before_position(position), index.end_bytes

    def follow(
        self,
        cursor: Cursor | None = None,
        *,
        stop: threading.Event | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[Record]:
        """The records from ``cursor`` on, and then each new one as it becomes durable.

        Ends when ``stop`` is set, or when nothing new came for ``timeout_seconds``.

        Raises:
            Damage: as :meth:`records`.
            SplitHistory: the journal no longer holds the last record that this yielded.
        """
        stop = stop or threading.Event()
        watcher = HeadWatcher(self.directory.head, stop=stop)
        heard_at = time.monotonic()
        last: Record | None = None
        try:
            while not stop.is_set():
                if last is not None and self.head().position < last.position_last:
                    raise self._split(last)
                for record in self.records(cursor):
                    if last is not None and record.header.previous_sha256 != last.sha256:
                        raise self._split(last)
                    yield record
                    last = record
                    cursor = Cursor(position=record.position_last + 1)
                    heard_at = time.monotonic()
                    if stop.is_set():
                        return
                if timeout_seconds is not None and time.monotonic() - heard_at > timeout_seconds:
                    return
                watcher.wait()
        finally:
            watcher.close()

    def _split(self, last: Record) -> SplitHistory:
        """What to raise when another directory was put in place of the one that was followed."""
        cause = f"the record that was read last, up to position {last.position_last}, {OTHER}"
        return SplitHistory(self.directory.head, 0, cause, last.position_first)

    # --- where to start ---

    def _start(self, cursor: Cursor, head: Head) -> tuple[int, Place | None] | None:
        """The number of the segment to begin in and the frame to begin from."""
        if not self._names or self._names[-1] < head.segment_position:
            self._list_segments(head)
        if cursor.timestamp is not None:
            return self._start_at_timestamp(cursor.timestamp, head)
        position = max(cursor.position or 1, 1)
        if position > head.position:
            return None
        number = bisect_right(self._names, position) - 1
        if number < 0:
            raise self._missing(1)
        if self._names[number] == position:
            return number, None
        return number, self._index(self._names[number], head).before_position(position)

    def _start_at_timestamp(self, timestamp: int, head: Head) -> tuple[int, Place | None] | None:
        if timestamp > head.timestamp:
            return None
        for number, name in enumerate(self._names):
            index = self._index(name, head)
            if index.timestamp_max >= timestamp:
                return number, index.before_timestamp(timestamp)
            if name == head.segment_position:
                break
        return None

    def _list_segments(self, head: Head) -> None:
        self._names = [
            self._position_of(name)
            for name in self._storage.names(self.directory.segments)
            if name.endswith(SUFFIX)
        ]
        if head.segment_position not in self._names:
            raise self._missing(head.segment_position)

    def _position_of(self, name: str) -> int:
        digits = name.removesuffix(SUFFIX)
        if not (digits.isascii() and digits.isdecimal() and segment_name(int(digits)) == name):
            raise CorruptSegment(
                self.directory.segments / name, 0, "no segment has a name like this"
            )
        return int(digits)

    def _index(self, position_first: int, head: Head) -> SegmentIndex:
        path = self.directory.segment(position_first)
        with self._reading(path) as fd:
            index = self._indexes.get(position_first)
            if index is None:
                index = SegmentIndex(self._header(fd, path, head))
                self._indexes[position_first] = index
            end = durable_end(path, position_first, self._storage.size(fd), head)
            index.extend(self._storage, fd, end_bytes=end)
            return index

    # --- segment by segment ---

    def _records_from(self, number: int, place: Place | None, head: Head) -> Iterator[Record]:
        before: tuple[Path, Place] | None = None
        while True:
            before = yield from self._segment_records(number, place, before, head)
            if self._names[number] == head.segment_position:
                return
            number += 1
            if number == len(self._names):
                raise self._missing(head.segment_position)
            place = None

    def _segment_records(
        self, number: int, place: Place | None, before: tuple[Path, Place] | None, head: Head
    ) -> Generator[Record, None, tuple[Path, Place]]:
        """The records of one segment; returns where it ended, as ``before`` for the next."""
        path = self.directory.segment(self._names[number])
        with self._reading(path) as fd:
            if place is None:
                header = self._header(fd, path, head)
                if before is not None:
                    self._check_follows(*before, header, path, number)
                place = segment_start(header)
            end = durable_end(path, self._names[number], self._storage.size(fd), head)
            for scanned in scan(self._storage, fd, place, end_bytes=end, ledger_id=head.ledger_id):
                yield Record(
                    scanned.header,
                    scanned.sha256,
                    path,
                    scanned.place.offset_bytes,
                    bytes(scanned.payload),
                )
                place = scanned.next_place
            return path, place

    def _check_follows(
        self, before: Path, end: Place, header: SegmentHeader, path: Path, number: int
    ) -> None:
        """Nothing may be left out between the end of a segment and the next one."""
        if header.number != number:
            raise self._missing(end.position)
        if header.position_first != end.position:
            raise CorruptSegment(
                before, end.offset_bytes, f"it ends short of {path.name}", end.position
            )
        check_follows(path, header, end)

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[int]:
        try:
            with reading_frames(self._storage, path) as fd:
                yield fd
        except FileNotFoundError:
            raise self._missing(int(path.stem)) from None

    def _header(self, fd: int, path: Path, head: Head) -> SegmentHeader:
        header = decode_segment_header(self._storage.read(fd, SEGMENT_HEADER_BYTES, 0), path=path)
        if header.ledger_id != head.ledger_id:
            raise ForeignSegment(
                path, 16, f"it belongs to ledger {header.ledger_id.hex()}", header.position_first
            )
        return header

    def _missing(self, position_first: int) -> MissingSegment:
        return MissingSegment(
            self.directory.segment(position_first), 0, "the file is missing", position_first
        )
