"""Where each transfer id stands in the journal: id -> position, refused ids included.

New ids go into a dictionary. Now and then they are frozen into a *run*: three sorted columns that
are written to a file of their own and never change. Runs of similar size are merged, so there are
only about log2(n) of them, and a run whose range of ids does not meet the batch's costs nothing:
time-ordered ids hardly ever touch an old run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from journal.rows import field_ints, u128_words
from journal.storage import replacing
from projections.indexes.groups import PIECE, stops
from projections.indexes.run_file import Kind, RunWriter, Span, open_run, write_run
from projections.indexes.run_stack import RunFiles, RunStack

Column = npt.NDArray[np.uint64]

IDS: Final = Kind(".ids", (np.dtype(np.uint64),) * 3)


@attrs.frozen(eq=False)
class Run:
    """The ids of a span of positions, sorted.

    ``high``, ``low`` and ``positions`` are ``u64[n]``; positions without a transfer are left out.
    """

    span: Span
    high: Column
    low: Column
    positions: Column
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


class TransferIndex:
    """Thread-safe for one writer and any readers."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._recent_columns: list[tuple[int, Column]] = []
        self._frozen: dict[int, int] = {}
        self._frozen_columns: list[tuple[int, Column]] = []
        self.stack = RunStack(IDS, _read, _write)
        self.id_max = 0
        """The greatest id taken in."""

    def __len__(self) -> int:
        runs = sum(run.size for run in self.stack.runs)
        return runs + len(self._frozen) + len(self._recent)

    def add(self, ids: Column, position_first: int) -> None:
        """Take in consecutive transfers: ``u64[n, 2]``, low word first, at least one.

        Nobody changes ``ids`` any more.
        """
        values = field_ints(ids)
        self._recent.update(zip(values, count(position_first)))
        self._recent_columns.append((position_first, ids))
        self.id_max = max(self.id_max, *values)

    def find(self, id_: int) -> int | None:
        """The position of the transfer, or of its refusal; None if the id is unused."""
        if id_ > self.id_max:
            return None
        position = self._recent.get(id_)
        if position is None:
            position = self._frozen.get(id_)
        if position is None:
            for run in self.stack.runs:
                first, last = run.bounds
                if first <= id_ <= last and (position := run.find(id_)) is not None:
                    break
        return position

    def freeze(self) -> None:
        """Set the recent ids aside, to become a run. Call with the writer held off.

        What was set aside before and never finished becomes a part of the same run.
        """
        self._frozen_columns, self._recent_columns = (
            self._frozen_columns + self._recent_columns,
            [],
        )
        # In this order: a reader looks in recent, then in frozen, then in the runs.
        self._frozen, self._recent = {**self._frozen, **self._recent}, {}

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> None:
        """Make the frozen ids, which end at ``position_last``, a run."""
        if position_last > self.stack.position:
            span = Span(self.stack.position + 1, position_last, frame_sha256)
            self.stack.append(run_of_records(span, self._frozen_columns))
        self._frozen, self._frozen_columns = {}, []

    def know_greatest(self) -> None:
        """Take ``id_max`` from the runs; on opening, when no id has come by :meth:`add`."""
        self.id_max = max((run.bounds[1] for run in self.stack.runs), default=0)


def run_of_records(span: Span, records: Sequence[tuple[int, Column]]) -> Run:
    """The run of consecutive ids (``u64[n, 2]``, low word first), each with its first position."""
    ids = np.concatenate([np.empty((0, 2), np.uint64), *[ids for _, ids in records]])
    positions = np.concatenate(
        [
            np.empty(0, np.uint64),
            *[np.arange(first, first + len(ids), dtype=np.uint64) for first, ids in records],
        ]
    )
    order = np.lexsort((ids[:, 0], ids[:, 1]))
    return Run(span, ids[order, 1], ids[order, 0], positions[order])


def _read(files: RunFiles, path: Path) -> Run:
    span, columns = open_run(files.storage, path, IDS, ledger_id=files.ledger_id)
    return Run(span, columns[0], columns[1], columns[2])


def _write(files: RunFiles, path: Path, span: Span, runs: Sequence[Run]) -> None:
    if len(runs) == 1:
        columns = [runs[0].high, runs[0].low, runs[0].positions]
        write_run(files.storage, path, IDS, span, columns, ledger_id=files.ledger_id)
        return
    size = sum(run.size for run in runs)
    with replacing(files.storage, path) as fd:
        writer = RunWriter(files.storage, fd, IDS, [size] * 3)
        if _follow(runs):
            for run in runs:
                _append(writer, run.high, run.low, run.positions)
        else:
            _append_merged(writer, runs)
        writer.finish(span, ledger_id=files.ledger_id)


def _follow(runs: Sequence[Run]) -> bool:
    """Whether each run's ids are greater than those of the run before it, as ids of time are."""
    ranges = [run.bounds for run in runs if run.size]
    return all(before[1] < after[0] for before, after in pairwise(ranges))


def _append_merged(writer: RunWriter, runs: Sequence[Run]) -> None:
    at = [0] * len(runs)
    while any(start < run.size for start, run in zip(at, runs, strict=True)):
        ends = stops([run.high for run in runs], at, [start + PIECE for start in at])
        parts = [slice(start, end) for start, end in zip(at, ends, strict=True)]
        high, low, positions = (
            np.concatenate([column[part] for column, part in zip(columns, parts, strict=True)])
            for columns in zip(*((run.high, run.low, run.positions) for run in runs), strict=True)
        )
        order = np.lexsort((low, high))
        _append(writer, high[order], low[order], positions[order])
        at = ends


def _append(writer: RunWriter, *columns: Column) -> None:
    for number, column in enumerate(columns):
        writer.append(number, column)
