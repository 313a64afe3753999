"""Which events are exported, request by request, so that memory is bounded by one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal import TRANSFER, Cursor, Event, Reader, RecordKind, RecordPart, Rows
from nostro.journal.format.parts import as_array

Progress = Callable[[int, int], None]
"""Called with the position that is reached and the last one."""

CREATED = 0xFFFFFFFF


@attrs.frozen
class Selection:
    """Bounds, all included; None is no bound."""

    position_min: int | None = None
    position_max: int | None = None
    timestamp_min: int | None = None
    timestamp_max: int | None = None

    @property
    def is_prefix(self) -> bool:
        """Whether it begins with the first event and leaves none out on the way."""
        no_times = self.timestamp_min is None and self.timestamp_max is None
        return no_times and (self.position_min or 0) <= 1

    def holds(self, event: Event) -> bool:
        return (
            (self.position_min is None or event.position >= self.position_min)
            and (self.position_max is None or event.position <= self.position_max)
            and (self.timestamp_min is None or event.timestamp >= self.timestamp_min)
            and (self.timestamp_max is None or event.timestamp <= self.timestamp_max)
        )


@attrs.frozen
class Exported:
    """What was written."""

    ledger_id: bytes
    position: int
    """The last event that was durable when it began, or the last asked for."""
    accounts: int
    transfers: int
    """Refused ones included."""
    others: int

    @property
    def events(self) -> int:
        return self.accounts + self.transfers + self.others


@attrs.frozen(eq=False)
class Chosen:
    """The chosen events of one kind in one request."""

    part: RecordPart
    positions: npt.NDArray[np.uint64]
    rows: Rows
    """Empty for domain events."""
    statuses: npt.NDArray[np.uint32] | None
    """``u32[n]``, CREATED where the transfer took effect; None when all did."""
    events: list[Event]
    """The domain events."""

    @property
    def kind(self) -> RecordKind:
        return self.part.kind

    def __len__(self) -> int:
        return len(self.events) if self.kind is RecordKind.EVENTS else len(self.rows)


def choose(
    reader: Reader, selection: Selection, position_last: int, progress: Progress | None
) -> Iterator[tuple[Chosen, ...]]:
    """The chosen events up to ``position_last``, a request at a time, by kind.

    Raises:
        Damage: the journal cannot be read up to there.
    """
    cursor = Cursor(position=selection.position_min)
    if selection.position_min is None and selection.timestamp_min is not None:
        cursor = Cursor(timestamp=selection.timestamp_min)
    for record in reader.records(cursor):
        if record.position_first > position_last:
            return
        every = [_choose(part, selection) for part in record.parts]
        if chosen := tuple(one for one in every if len(one)):
            yield chosen
        if progress is not None:
            progress(min(record.position_last, position_last), position_last)


def _choose(part: RecordPart, selection: Selection) -> Chosen:
    if part.kind is RecordKind.EVENTS:
        events = [event for event in part.events() if selection.holds(event)]
        positions = np.array([event.position for event in events], np.uint64)
        return Chosen(part, positions, np.zeros(0, TRANSFER), None, events)
    rows, statuses = part.rows, part.statuses
    positions = as_array(part.positions)
    kept = np.ones(len(rows), bool)
    for column, least, most in (
        (positions, selection.position_min, selection.position_max),
        (rows["timestamp"], selection.timestamp_min, selection.timestamp_max),
    ):
        if least is not None:
            kept &= column >= np.uint64(least)
        if most is not None:
            kept &= column <= np.uint64(most)
    if not kept.all():
        rows, positions = rows[kept], positions[kept]
        statuses = None if statuses is None else statuses[kept]
    return Chosen(part, positions, rows, statuses, [])
