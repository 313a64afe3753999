"""The parts of a payload: events of one kind each, and their places among all its events.

A payload of one kind is its only part. One of commands has up to three: the accounts, the transfers
and the domain events of all its commands.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import Payload, RecordKind, block_count

Places = range | npt.NDArray[np.int64]
"""Places of events in their record, from 0, rising."""
Positions = range | npt.NDArray[np.uint64]
"""Positions of events, rising."""

_KINDS = (RecordKind.ACCOUNTS, RecordKind.TRANSFERS, RecordKind.EVENTS)


@attrs.frozen(eq=False)
class PayloadPart:
    """Events of one kind: never of kind COMMANDS."""

    payload: Payload
    places: Places
    block_first: int
    """The first of its blocks in the whole payload."""

    @property
    def kind(self) -> RecordKind:
        return self.payload.kind


def parts_of(payload: Payload) -> Iterator[PayloadPart]:
    """The parts of ``payload``, in the order accounts, transfers, domain events."""
    if payload.kind is not RecordKind.COMMANDS:
        yield PayloadPart(payload, range(payload.event_count), 0)
        return
    counts = np.array(payload.counts, np.int64)
    kinds = np.repeat(np.tile(np.arange(len(_KINDS)), len(counts) // len(_KINDS)), counts)
    block = 0
    for number, kind in enumerate(_KINDS):
        places = np.flatnonzero(kinds == number)
        if not len(places):
            continue
        is_rows = kind is not RecordKind.EVENTS
        end = block + block_count(len(places)) if is_rows else block
        part = Payload(
            kind, len(places), payload.blocks[block:end], payload.refusals,
            [] if is_rows else payload.domain_events,
        )  # fmt: skip
        yield PayloadPart(part, places, block)
        block = end


def positions_of(places: Places, position_first: int) -> Positions:
    """The positions of events at ``places`` of a record that begins at ``position_first``."""
    if isinstance(places, range):
        return range(position_first + places.start, position_first + places.stop)
    return places.astype(np.uint64) + np.uint64(position_first)


def as_array(positions: Positions) -> npt.NDArray[np.uint64]:
    """``u64[n]``."""
    if isinstance(positions, range):
        return np.arange(positions.start, positions.stop, dtype=np.uint64)
    return positions
