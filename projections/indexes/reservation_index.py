"""What pending transfers reserve on each account, over time, and when those close and reopen it.

The ledger's state calls :meth:`ReservationIndex.record` with the *changes* that a pending transfer,
its post, its void or its expiry makes. A run groups them by account and quantity, with running
totals.

An expiry stands at the ledger's time, and a transfer may be imported after it with an earlier one.
Therefore transfers and expiries have groups of their own: in each, positions and times both rise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.projections.indexes.group_run import Columns, GroupFormat, GroupRun
from nostro.projections.indexes.groups import Groups, group
from nostro.projections.indexes.run_file import Span
from nostro.projections.indexes.run_stack import RunStack
from nostro.projections.indexes.running_totals import Totals, zeros
from nostro.projections.state.reservations import Quantity, change_group
from nostro.projections.state.u128 import Words

RESERVATIONS: Final = GroupFormat(".reservations", {"change": Columns((np.uint32, np.uint64), 1)})
_CHANGE_BYTES: Final = 40
_CHUNK: Final = 8_192


@attrs.frozen(eq=False)
class ReservationView:
    """The index as it was when it was asked for."""

    runs: tuple[GroupRun, ...]
    recent: tuple[Words, ...]

    def total(
        self,
        slot: int,
        quantity: Quantity,
        positions: npt.NDArray[np.int64],
        expiry_positions: npt.NDArray[np.int64],
        timestamp_max: int,
    ) -> Totals:
        """The quantity after each of some moments, one entry each.

        Args:
            positions: the last to count, of transfers.
            expiry_positions: the last to count, of expiries.
            timestamp_max: later expiries do not count, ns.
        """
        total = zeros(len(positions))
        for is_expiry, bounds in ((False, positions), (True, expiry_positions)):
            key = change_group(slot, quantity, is_expiry=is_expiry)
            for groups, first in self._parts(key):
                found = _before(groups, key, bounds - first, timestamp_max if is_expiry else None)
                if found is not None:
                    total = total.plus(found)
        return total

    def _parts(self, key: int) -> Iterator[tuple[Groups, int]]:
        """Groups that may hold ``key``, each with the position that its positions count from."""
        for run in self.runs:
            if run.size:
                yield run.groups["change"], run.span.position_first
        for recent in self.recent:
            chosen = np.flatnonzero(recent[0] == np.uint64(key))
            if len(chosen):
                changes = recent[:, chosen]
                first = int(changes[1, 0])
                yield _grouped(changes, first), first


class ReservationIndex:
    """One thread records and freezes; any thread may search a view."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stack = RunStack(RESERVATIONS.kind, RESERVATIONS.read, RESERVATIONS.write)
        self._frozen: tuple[Words, ...] = ()
        self._chunks: list[Words] = []
        self._open: list[tuple[int, ...]] = []

    def record(self, changes: Words | Sequence[tuple[int, ...]]) -> None:
        """Take in changes, by columns or one by one: those of events that follow on one another."""
        if isinstance(changes, np.ndarray):
            self._close()
            self._add_chunk(changes)
        else:
            self._open += changes

    @property
    def recent_bytes(self) -> int:
        """How much is kept that no run holds."""
        count: int = sum(changes.shape[1] for changes in self._chunks)
        return _CHANGE_BYTES * (count + len(self._open))

    def view(self) -> ReservationView:
        """Everything recorded so far. Call with the writer held off."""
        with self._lock:
            self._close()
            return ReservationView(self.stack.runs, (*self._frozen, *self._chunks))

    def freeze(self) -> None:
        """Set what is newer than the runs aside, to become one. Call with the writer held off.

        What was set aside before and never finished becomes a part of the same run.
        """
        with self._lock:
            self._close()
            self._frozen, self._chunks = (*self._frozen, *self._chunks), []

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> None:
        """Make what was set aside, which ends at ``position_last``, a run."""
        run = None
        if position_last > self.stack.position:
            span = Span(self.stack.position + 1, position_last, frame_sha256)
            changes = np.concatenate([np.zeros((5, 0), np.uint64), *self._frozen], axis=1)
            run = GroupRun(span, {"change": _grouped(changes, span.position_first)})
        with self._lock:
            if run is not None:
                self.stack.append(run)
            self._frozen = ()

    def _close(self) -> None:
        """Make columns of what was recorded one by one."""
        if self._open:
            changes, self._open = np.array(self._open, np.uint64).T, []
            self._add_chunk(changes)

    def _add_chunk(self, changes: Words) -> None:
        """Add columns, to those before if both are short."""
        if self._chunks and self._chunks[-1].shape[1] + changes.shape[1] <= _CHUNK:
            self._chunks[-1] = np.concatenate([self._chunks[-1], changes], axis=1)
        else:
            self._chunks.append(np.ascontiguousarray(changes))


def _grouped(changes: Words, position_first: int) -> Groups:
    keys, positions, times, low, high = changes
    numbers = (positions - np.uint64(position_first)).astype(np.uint32)
    return group(keys, (numbers, times), (Totals(low, high),))


def _before(
    groups: Groups, key: int, bounds: npt.NDArray[np.int64], timestamp_max: int | None
) -> Totals | None:
    """The totals up to each of ``bounds``, positions within the groups; None if there are none."""
    start, end = groups.bounds(key)
    if start == end:
        return None
    counts = groups.count_up_to(start, end, bounds)
    if timestamp_max is not None:
        times = groups.values[1][start:end]
        counts = np.minimum(counts, np.searchsorted(times, np.uint64(timestamp_max), "right"))
    return groups.totals[0].after(start, counts)
