"""Where each transfer id stands in the journal: id -> position, refused ids included.

New ids wait in the order they came, and go into a hash table once one is looked for. Now and then
they are frozen into a *run*: three sorted columns and a filter, which are written to a file of
their own and never change. Runs of similar size are merged, so there are about 3 log4(n) of them.
A run whose range of ids does not meet the batch's costs nothing: time-ordered ids hardly ever
touch an old run. Of other ids the filter tells nearly always that they are not in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format.parts import Positions, as_array
from nostro.journal.rows import u128_words
from nostro.projections.indexes import id_filter
from nostro.projections.indexes.groups import PIECE, stops
from nostro.projections.indexes.run_file import (
    Kind,
    Pieces,
    RunFiles,
    Span,
    open_run,
    write_run,
)
from nostro.projections.indexes.run_stack import RunStack
from nostro.projections.indexes.sort_order import order_of_pairs
from nostro.projections.state.id_map import MISSING, IdMap

Column = npt.NDArray[np.uint64]

IDS: Final = Kind(".ids", (np.dtype(np.uint64),) * 4)
_CAPACITY_MIN: Final = 1024


@attrs.frozen(eq=False)
class Run:
    """The ids of a span of positions, sorted.

    ``high``, ``low`` and ``positions`` are ``u64[n]``; positions without a transfer are left out.
    ``filter`` is of :mod:`nostro.projections.indexes.id_filter`.
    """

    span: Span
    high: Column
    low: Column
    positions: Column
    filter: Column
    bounds: tuple[int, int] = attrs.field(init=False)
    """The least and the greatest id; (1, 0) if there is none."""

    @bounds.default
    def _bounds(self) -> tuple[int, int]:
        if not len(self.high):
            return 1, 0
        first = int(self.high[0]) << 64 | int(self.low[0])
        return first, int(self.high[-1]) << 64 | int(self.low[-1])

    @property
    def size(self) -> int:
        return len(self.positions)

    def find(self, id_: int) -> int | None:
        low, high = u128_words(id_)
        start = int(np.searchsorted(self.high, np.uint64(high), "left"))
        end = int(np.searchsorted(self.high, np.uint64(high), "right"))
        at = start + int(np.searchsorted(self.low[start:end], np.uint64(low)))
        return int(self.positions[at]) if at < end and int(self.low[at]) == low else None

    def contains_any(self, low: Column, high: Column) -> bool:
        """Whether one of the ids given as two columns is in it. Quicker if they are sorted."""
        first, last = self.bounds
        near = (high >= np.uint64(first >> 64)) & (high <= np.uint64(last >> 64))
        if not near.any():
            return False
        low, high = low[near], high[near]
        maybe = id_filter.may_hold(self.filter, low, high)
        low, high = low[maybe], high[maybe]
        start = np.searchsorted(self.high, high, "left")
        end = np.searchsorted(self.high, high, "right")
        while len(start):  # where several share a high word: halve what is left of each stretch
            there = start < end
            start, end, low = start[there], end[there], low[there]
            middle = (start + end) // 2
            found = self.low[middle]
            if np.any(found == low):
                return True
            start, end = (
                np.where(found < low, middle + 1, start),
                np.where(found < low, end, middle),
            )
        return False


class _Recent:
    """Ids that no run holds yet, in a table with a map."""

    def __init__(self) -> None:
        self._table = np.zeros((_CAPACITY_MIN, 3), np.uint64)
        self._count = 0
        self._map = IdMap(lambda: self._table)

    def add(self, ids: Column, positions: Positions) -> None:
        end = self._count + len(ids)
        if end > len(self._table):
            grown = np.zeros((max(end, 2 * len(self._table)), 3), np.uint64)
            grown[: self._count] = self._table[: self._count]
            self._table = grown
        added = self._table[self._count : end]
        added[:, :2] = ids
        added[:, 2] = as_array(positions)
        self._count = end
        self._map.add(end)

    def find(self, id_: int) -> int | None:
        number = self._map.find_one(*u128_words(id_))
        return None if number == MISSING else int(self._table[number, 2])

    def contains_any(self, ids: Column) -> bool:
        return bool(np.any(self._map.find(ids) != MISSING))


class TransferIndex:
    """Thread-safe for one writer and any readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stack = RunStack(IDS, _read, _write)
        self._records: list[tuple[Positions, Column]] = []
        """Positions and ids of each request that no run holds yet, in order."""
        self._frozen = 0
        """How many of them, from the first, are to become a run."""
        self._learned = 0
        """How many of them are in ``_recent``: ids of time hardly ever have to be."""
        self._measured = 0
        """How many of them ``_id_max`` takes into account."""
        self._recent = _Recent()
        self._id_max = 0

    def __len__(self) -> int:
        with self._lock:
            recent = sum(len(ids) for _, ids in self._records)
            return recent + sum(run.size for run in self.stack.runs)

    @property
    def id_max(self) -> int:
        """The greatest id taken in. Cheaper than a look-up: no map of the recent ids is needed."""
        with self._lock:
            self._measure()
            return self._id_max

    def add(self, ids: Column, positions: Positions) -> None:
        """Take in transfers at positions that rise: ``u64[n, 2]``, low word first, at least one.

        Nobody changes ``ids`` any more.
        """
        with self._lock:
            self._records.append((positions, ids))

    def find(self, id_: int) -> int | None:
        """The position of the transfer, or of its refusal; None if the id is unused."""
        if id_ > self.id_max:
            return None
        recent = self._learn()
        position = recent.find(id_)  # first: what leaves it is in a run already
        if position is None:
            for run in self.stack.runs:
                first, last = run.bounds
                if first <= id_ <= last and (position := run.find(id_)) is not None:
                    break
        return position

    def contains_any(self, ids: Column) -> bool:
        """Whether one of ``u64[n, 2]`` was used before."""
        recent = self._learn()
        if recent.contains_any(ids):
            return True
        ids = ids[np.argsort(ids[:, 1])]
        low, high = np.ascontiguousarray(ids[:, 0]), np.ascontiguousarray(ids[:, 1])
        return any(run.contains_any(low, high) for run in self.stack.runs if run.size)

    def freeze(self) -> None:
        """Set the recent ids aside, to become a run. Call with the writer held off.

        What was set aside before and never finished becomes a part of the same run.
        """
        self._frozen = len(self._records)

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> None:
        """Make the frozen ids, which end at ``position_last``, a run."""
        if position_last > self.stack.position:
            span = Span(self.stack.position + 1, position_last, frame_sha256)
            self.stack.append(run_of_records(span, self._records[: self._frozen]))
        with self._lock:
            self.know_greatest()
            del self._records[: self._frozen]
            self._frozen = self._learned = self._measured = 0
            self._recent = _Recent()

    def know_greatest(self) -> None:
        """Take ``id_max`` from the runs, which may hold ids that never came by :meth:`add`."""
        self._id_max = max([self._id_max, *(run.bounds[1] for run in self.stack.runs)])

    def _learn(self) -> _Recent:
        """The recent ids, all of them; what leaves them later is in a run by then."""
        with self._lock:
            for positions, ids in self._records[self._learned :]:
                self._recent.add(ids, positions)
            self._learned = len(self._records)
            return self._recent

    def _measure(self) -> None:
        for _, ids in self._records[self._measured :]:
            self._id_max = max(self._id_max, _greatest(ids))
        self._measured = len(self._records)


def _greatest(ids: Column) -> int:
    high = ids[:, 1].max()
    return int(high) << 64 | int(ids[ids[:, 1] == high, 0].max())


def run_of_records(span: Span, records: Sequence[tuple[Positions, Column]]) -> Run:
    """The run of ids (``u64[n, 2]``, low word first), each of them with its positions."""
    ids = np.concatenate([np.empty((0, 2), np.uint64), *[ids for _, ids in records]])
    positions = np.concatenate(
        [
            np.empty(0, np.uint64),
            *[as_array(positions) for positions, _ in records],
        ]
    )
    order = order_of_pairs(ids[:, 1], ids[:, 0])
    low, high = ids[order, 0], ids[order, 1]
    filter_ = np.zeros(id_filter.words_for(len(ids)), np.uint64)
    id_filter.add(filter_, low, high)
    return Run(span, high, low, positions[order], filter_)


def _read(files: RunFiles, path: Path) -> Run:
    span, columns = open_run(files, path, IDS)
    high, low, positions, filter_ = columns
    is_sound = len(high) == len(low) == len(positions) and (
        len(filter_) == id_filter.words_for(len(high))
    )
    if not is_sound or not _lie_in(span, positions):
        raise CorruptCheckpoint(path, 0, "its columns do not fit one another")
    return Run(span, *columns)


def _lie_in(span: Span, positions: Column) -> bool:
    if not len(positions):
        return True
    return span.position_first <= int(positions.min()) <= int(positions.max()) <= span.position_last


def _write(files: RunFiles, path: Path, span: Span, runs: Sequence[Run]) -> None:
    size = sum(run.size for run in runs)
    is_one = len(runs) == 1
    filter_ = runs[0].filter if is_one else np.zeros(id_filter.words_for(size), np.uint64)

    def pieces() -> Pieces:
        for high, low, positions in _merged(runs):
            yield from enumerate((high, low, positions))
            if not is_one:
                id_filter.add(filter_, low, high)
        yield 3, filter_

    write_run(files, path, IDS, span, [size] * 3 + [len(filter_)], pieces())


def _merged(runs: Sequence[Run]) -> Iterator[tuple[Column, Column, Column]]:
    """High words, low words and positions of all, sorted, in pieces."""
    if _follow(runs):
        for run in runs:
            for start in range(0, run.size, PIECE):
                part = slice(start, start + PIECE)
                yield run.high[part], run.low[part], run.positions[part]
        return
    at = [0] * len(runs)
    while any(start < run.size for start, run in zip(at, runs, strict=True)):
        ends = stops([run.high for run in runs], at, [start + PIECE for start in at])
        parts = [slice(start, end) for start, end in zip(at, ends, strict=True)]
        high, low, positions = (
            np.concatenate([column[part] for column, part in zip(columns, parts, strict=True)])
            for columns in zip(*((run.high, run.low, run.positions) for run in runs), strict=True)
        )
        order = order_of_pairs(high, low)
        yield high[order], low[order], positions[order]
        at = ends


def _follow(runs: Sequence[Run]) -> bool:
    """Whether each run's ids are greater than those of the run before it, as ids of time are."""
    ranges = [run.bounds for run in runs if run.size]
    return all(before[1] < after[0] for before, after in pairwise(ranges))
