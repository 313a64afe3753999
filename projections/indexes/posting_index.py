"""Which transfers name an account, a user datum, a ledger or a code: value -> positions.

A run groups the positions of the transfers that took effect, eight times over: by debit account, by
credit account, by each user datum that is not zero, by ledger, by code, and by time. 128-bit values
are folded into 64 bits, so a group may hold a few positions too many, never one too few: whoever
reads the rows checks them. Ledgers and codes are few, so their groups hold one position of each
stretch of 512 only; times hold the first transfer of each stretch.

Transfers are in order of time, so positions are too.

What is newer than the last run is kept as rows, in chunks. A chunk that was searched some times is
given a run of its own in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from journal import codec
from journal.codec import RecordKind, Rows
from journal.model import TRANSFER
from journal.reader import Record
from journal.storage import replacing
from projections.indexes.groups import Groups, group, merge, merged_count
from projections.indexes.run_file import Column, Kind, RunWriter, Span, open_run, write_run
from projections.indexes.run_stack import RunFiles, RunStack

INDEXED: Final = (
    "debit_account_id",
    "credit_account_id",
    "user_data_128",
    "user_data_64",
    "user_data_32",
)
COARSE: Final = ("ledger", "code")
"""Indexed by stretches of positions."""
TIMES: Final = "timestamp"
STRETCH: Final = 512
POSTINGS: Final = Kind(
    ".postings",
    tuple(
        np.dtype(column)
        for _ in (*INDEXED, *COARSE, TIMES)
        for column in (np.uint64, np.uint32, np.uint32)
    ),
)

_CHUNK_ROWS: Final = 2_048
_CHUNK_ROWS_MAX: Final = 8_192
_RUN_ROWS: Final = 500_000
"""Of so many rows read back from the journal a run is made at once."""
_SEARCHES_PAY: Final = 8
"""After so many searches of a chunk a run of it costs less than the next ones would."""
_FOLD: Final = 0x9E3779B97F4A7C15
_MASK_64: Final = 2**64 - 1


def fold(value: int) -> int:
    """The key that a value is found under."""
    return ((value >> 64) * _FOLD & _MASK_64) ^ value & _MASK_64


@attrs.frozen(eq=False)
class PostingRun:
    """The groups of a span; positions count from its first."""

    span: Span
    groups: dict[str, Groups]

    @property
    def size(self) -> int:
        return len(self.groups["debit_account_id"].values[0])

    def positions(self, field: str, value: int) -> npt.NDArray[np.uint32]:
        """Where transfers with that value stand, rising; a view."""
        groups = self.groups[field]
        start, end = groups.bounds(fold(value))
        return groups.values[0][start:end]

    def bounds(self, timestamp_min: int, timestamp_max: int) -> tuple[int, int]:
        """Between which positions, the second excluded, transfers of that time stand at most."""
        times = self.groups[TIMES]
        if not len(times.keys):
            return 0, 0
        first = int(np.searchsorted(times.keys, np.uint64(timestamp_min), "right")) - 1
        last = int(np.searchsorted(times.keys, np.uint64(timestamp_max), "right"))
        starts = times.values[0]
        return (
            int(starts[first]) if first >= 0 else 0,
            (int(starts[last]) if last else 0) if last < len(starts) else len(self.span),
        )


class Chunk:
    """The transfers with effect among some positions after the last run: rows, in memory."""

    def __init__(self, rows: Rows, positions: npt.NDArray[np.int64], counted: int) -> None:
        self.rows = rows
        self.positions = positions
        self.counted = counted
        """How many rows were taken in, with and without effect."""
        self._searches = 0
        self._groups: dict[str, Groups] | None = None

    def groups(self) -> dict[str, Groups] | None:
        """Its transfers grouped by row number, once that pays."""
        self._searches += 1
        if self._groups is None and self._searches > _SEARCHES_PAY:
            self._groups = {
                field: _group_field(self.rows, field, np.arange(len(self.rows), dtype=np.uint32))
                for field in INDEXED
            }
        return self._groups


@attrs.frozen(eq=False)
class PostingView:
    """The index as it was when it was asked for, oldest part first."""

    runs: tuple[PostingRun, ...]
    chunks: tuple[Chunk, ...]


_Taken = tuple[int, Rows, Any]
"""First position, rows and statuses of one request."""


class PostingIndex:
    """Runs, and what is newer. One thread adds and freezes; any thread may search a view."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stack = RunStack(POSTINGS, _read, _write)
        self._frozen: tuple[Chunk, ...] = ()
        self._chunks: list[Chunk] = []
        self._small: list[_Taken] = []
        self._small_rows = 0

    def add(self, position_first: int, rows: Rows, statuses: Any) -> None:
        """Take in one request's transfers, which nobody changes any more."""
        self._small.append((position_first, rows, statuses))
        self._small_rows += len(rows)
        if self._small_rows >= _CHUNK_ROWS:
            self._make_chunk()

    def take(self, record: Record) -> None:
        """Take in a record that is read back from the journal, in order."""
        if record.position_first <= self.stack.position or record.kind is RecordKind.EVENTS:
            return
        if record.kind is RecordKind.TRANSFERS:
            self.add(record.position_first, record.rows, record.statuses)
        if sum(chunk.counted for chunk in self._chunks) >= _RUN_ROWS:
            self.freeze()
            self.finish_freeze(record.position_last, record.sha256)

    def view(self) -> PostingView:
        """Everything taken in so far. Call with the writer held off."""
        with self._lock:
            if self._small:
                self._make_chunk()
            return PostingView(self.stack.runs, (*self._frozen, *self._chunks))

    def freeze(self) -> None:
        """Set what is newer than the runs aside, to become one. Call with the writer held off.

        What was set aside before and never finished becomes a part of the same run.
        """
        if self._small:
            self._make_chunk()
        with self._lock:
            self._frozen, self._chunks = (*self._frozen, *self._chunks), []

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> None:
        """Make what was set aside, which ends at ``position_last``, a run."""
        run = None
        if position_last > self.stack.position:
            span = Span(self.stack.position + 1, position_last, frame_sha256)
            run = run_of_chunks(span, self._frozen)
        with self._lock:
            if run is not None:
                self.stack.append(run)
            self._frozen = ()

    def _make_chunk(self) -> None:
        taken, self._small, self._small_rows = self._small, [], 0
        chunk = _chunk(taken)
        before = self._chunks[-1] if self._chunks else None
        if before is not None and before.counted + chunk.counted <= _CHUNK_ROWS_MAX:
            self._chunks[-1] = _join(before, chunk)
        else:
            self._chunks.append(chunk)


def run_of_chunks(span: Span, chunks: Sequence[Chunk]) -> PostingRun:
    rows, positions = _joined(chunks)
    relative = (positions - span.position_first).astype(np.uint32)
    stretches = positions // STRETCH
    groups = {field: _group_field(rows, field, relative) for field in INDEXED}
    for field in COARSE:
        groups[field] = _group_stretches(rows[field].astype(np.uint64), stretches, relative)
    first = np.flatnonzero(_differs(stretches))
    groups[TIMES] = group(rows[TIMES][first], (relative[first],))
    return PostingRun(span, groups)


def _read(files: RunFiles, path: Path) -> PostingRun:
    span, columns = open_run(files.storage, path, POSTINGS, ledger_id=files.ledger_id)
    groups = {
        field: Groups(columns[3 * number], columns[3 * number + 1], (columns[3 * number + 2],))
        for number, field in enumerate((*INDEXED, *COARSE, TIMES))
    }
    return PostingRun(span, groups)


def _write(files: RunFiles, path: Path, span: Span, runs: Sequence[PostingRun]) -> None:
    if len(runs) > 1:
        _write_merged(files, path, span, runs)
        return
    columns: list[Column] = []
    for groups in runs[0].groups.values():
        columns += [groups.keys, groups.ends, groups.values[0]]
    write_run(files.storage, path, POSTINGS, span, columns, ledger_id=files.ledger_id)


def _write_merged(files: RunFiles, path: Path, span: Span, runs: Sequence[PostingRun]) -> None:
    fields = [[run.groups[field] for run in runs] for field in (*INDEXED, *COARSE, TIMES)]
    shifts = [run.span.position_first - span.position_first for run in runs]
    counts: list[int] = []
    for parts in fields:
        keys = merged_count(parts)
        counts += [keys, keys, sum(len(part.values[0]) for part in parts)]
    with replacing(files.storage, path) as fd:
        writer = RunWriter(files.storage, fd, POSTINGS, counts)
        for number, parts in enumerate(fields):
            for piece in merge(parts, shifts):
                writer.append(3 * number, piece.keys)
                writer.append(3 * number + 1, piece.ends)
                writer.append(3 * number + 2, piece.values[0])
        writer.finish(span, ledger_id=files.ledger_id)


def _group_field(rows: Rows, field: str, numbers: npt.NDArray[np.uint32]) -> Groups:
    values = rows[field]
    if values.ndim == 2:
        keys = values[:, 1] * np.uint64(_FOLD) ^ values[:, 0]
        kept = None if field in INDEXED[:2] else (values[:, 0] | values[:, 1]) != 0
    else:
        keys, kept = values.astype(np.uint64), values != 0
    if kept is not None:
        keys, numbers = keys[kept], numbers[kept]
    return group(keys, (numbers,))


def _group_stretches(
    keys: npt.NDArray[np.uint64],
    stretches: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.uint32],
) -> Groups:
    """The first position of each stretch that a key occurs in."""
    if len(keys) and (keys == keys[0]).all():
        kept = _differs(stretches)
    else:
        order = np.argsort(keys, kind="stable")
        keys, stretches, numbers = keys[order], stretches[order], numbers[order]
        kept = _differs(stretches) | _differs(keys)
    return group(keys[kept], (numbers[kept],))


def _differs(column: Column) -> npt.NDArray[np.bool_]:
    """Whether each entry differs from the one before; the first does."""
    return np.append(np.ones(min(1, len(column)), np.bool_), column[1:] != column[:-1])


def _chunk(taken: list[_Taken]) -> Chunk:
    counted = sum(len(rows) for _, rows, _ in taken)
    if len(taken) == 1:
        first, rows, statuses = taken[0]
        positions = np.arange(first, first + counted)
    else:
        # Joining the bytes: numpy would copy rows of fields field by field.
        joined = b"".join([_bytes(rows) for _, rows, _ in taken])
        rows = np.frombuffer(joined, TRANSFER)
        positions = np.concatenate([np.arange(p, p + len(part)) for p, part, _ in taken])
        statuses = _join_statuses(taken)
    if statuses is not None:
        created = statuses == codec.CREATED
        rows, positions = rows[created], positions[created]
    return Chunk(rows, positions, counted)


def _join_statuses(taken: list[_Taken]) -> Any:
    if all(statuses is None for _, _, statuses in taken):
        return None
    return np.concatenate([
        np.full(len(rows), codec.CREATED, np.uint32) if statuses is None else statuses
        for _, rows, statuses in taken
    ])  # fmt: skip


def _join(before: Chunk, after: Chunk) -> Chunk:
    return Chunk(*_joined([before, after]), before.counted + after.counted)


def _joined(chunks: Sequence[Chunk]) -> tuple[Rows, npt.NDArray[np.int64]]:
    if len(chunks) == 1:
        return chunks[0].rows, chunks[0].positions
    words = [np.frombuffer(_bytes(chunk.rows), np.uint8) for chunk in chunks if len(chunk.rows)]
    rows = np.concatenate(words) if words else np.zeros(0, np.uint8)
    positions = [chunk.positions for chunk in chunks]
    return rows.view(TRANSFER), np.concatenate([np.zeros(0, np.int64), *positions])


def _bytes(rows: Rows) -> bytes | memoryview:
    if rows.flags.c_contiguous:
        return rows.view(np.uint8).data
    return rows.tobytes()
