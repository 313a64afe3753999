"""Search of the posting index: a selection -> positions -> rows. The answers are TigerBeetle's.

A query searches the parts of the index (:mod:`posting_index`) one by one, in the order of its
answer, and stops at the limit. In a run it walks the positions of the rarest value step by step,
drops those that the groups of the other values lack, and reads the rows. The index only says where
to look: the query compares every row with the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nostro.journal.model import TRANSFER, AccountBalance, Rows
from nostro.projections.indexes.group_run import GroupRun
from nostro.projections.indexes.posting_index import (
    COARSE,
    RANGE_POSITIONS,
    USER_DATA,
    Chunk,
    PostingView,
    end_of_time,
    fold,
    positions_of,
)
from nostro.projections.indexes.reservation_index import ReservationView
from nostro.projections.queries.filters import Selection
from nostro.projections.queries.past_balances import balances_at

Positions = npt.NDArray[np.int64]
Fetch = Callable[[Positions], tuple[Rows, npt.NDArray[np.bool_]]]
"""Returns ``TRANSFER[n]`` at rising positions, and which of them are transfers that took effect."""
Found = tuple[Rows, Positions]
"""``TRANSFER[n]``, and their positions."""
_STEP_MIN: Final = 64
_STEP_MAX: Final = 8_192


def select_transfers(selection: Selection, view: PostingView, fetch: Fetch) -> Rows:
    """``TRANSFER[n]``: the matching transfers in order of time, up to the limit."""
    return _select(selection, view, fetch)[0]


def select_accounts(selection: Selection, rows: Rows) -> Positions:
    """The slots of the matching accounts of ``ACCOUNT[n]`` in order of time, up to the limit."""
    matching = np.flatnonzero(selection.matches(rows))
    return (matching[::-1] if selection.is_reversed else matching)[: selection.limit]


def select_balances(
    selection: Selection, postings: PostingView, reservations: ReservationView, fetch: Fetch
) -> list[AccountBalance]:
    """The balances of the account after each matching transfer, in order of time."""
    rows, positions = _select(selection, postings, fetch)
    if not len(rows):
        return []
    step = -1 if selection.is_reversed else 1
    found = balances_at(selection.slot, positions[::step], postings, reservations)
    columns = [totals.integers()[::step] for totals in found[:-1]]
    times = rows["timestamp"].tolist()
    return [AccountBalance(*balances) for balances in zip(*columns, times, strict=True)]


def _select(selection: Selection, view: PostingView, fetch: Fetch) -> Found:
    parts: Sequence[GroupRun | Chunk] = (*view.runs, *view.chunks)
    found: list[Found] = [(np.zeros(0, TRANSFER), np.zeros(0, np.int64))]
    missing = selection.limit
    for part in reversed(parts) if selection.is_reversed else parts:
        if isinstance(part, Chunk):
            batches = iter([_chunk_matches(part, selection)])
        else:
            batches = _run_matches(part, selection, fetch, missing)
        for rows, positions in batches:
            found.append((rows[:missing], positions[:missing]))
            missing -= len(found[-1][0])
            if not missing:
                break
        if not missing:
            break
    return (
        np.concatenate([rows for rows, _ in found]),
        np.concatenate([positions for _, positions in found]),
    )


# --- one part of the index ---


def _chunk_matches(chunk: Chunk, selection: Selection) -> Found:
    rows, positions, times = chunk.rows, chunk.positions, chunk.rows["timestamp"]
    if not len(rows) or times[0] > selection.timestamp_max or times[-1] < selection.timestamp_min:
        return rows[:0], positions[:0]
    conditions = _indexed(selection)
    if conditions and (groups := chunk.groups()) is not None:
        lists = [
            [positions_of(groups[field], key) for field in fields] for key, fields in conditions
        ]
        rarest = min(lists, key=lambda alternatives: sum(map(len, alternatives)))
        chosen = np.unique(np.concatenate(rarest))
        rows, positions = rows[chosen], positions[chosen]
    kept = selection.matches(rows)
    step = -1 if selection.is_reversed else 1
    return rows[kept][::step], positions[kept][::step]


def _run_matches(
    run: GroupRun, selection: Selection, fetch: Fetch, missing: int
) -> Iterator[Found]:
    """Yield the matching rows of a run in the answer's order, batch by batch."""
    step = max(_STEP_MIN, min(missing, _STEP_MAX))
    for candidates in _candidates(run, selection, step):
        done = 0
        while done < len(candidates):
            batch = candidates[done : done + step]
            done += len(batch)
            ascending = batch[::-1] if selection.is_reversed else batch
            positions = ascending.astype(np.int64) + run.span.position_first
            rows, took_effect = fetch(positions)
            kept = took_effect & selection.matches(rows)
            rows, positions = rows[kept], positions[kept]
            if 2 * len(rows) < len(batch):
                step = min(2 * step, _STEP_MAX)
            yield (rows[::-1], positions[::-1]) if selection.is_reversed else (rows, positions)


def _candidates(run: GroupRun, selection: Selection, step: int) -> Iterator[Positions]:
    """Yield positions of rows that may match, from the run's first, in the answer's order."""
    low = end_of_time(run, selection.timestamp_min - 1)
    high = end_of_time(run, selection.timestamp_max)
    conditions = [
        [_within(positions_of(run.groups[field], key), low, high) for field in fields]
        for key, fields in _indexed(selection)
    ]
    conditions.sort(key=lambda lists: sum(map(len, lists)))
    coarse = [
        _ranges(run, field, selection.values[field])
        for field in COARSE if field in selection.values
    ]  # fmt: skip
    if conditions:
        steps = _walk(conditions[0], selection.is_reversed, step)
    elif coarse:
        ranges = min(coarse, key=len)
        steps = _positions_in_ranges(run, ranges, low, high, selection.is_reversed)
    else:
        steps = _all_positions(low, high, selection.is_reversed)
    for positions in steps:
        kept = np.ones(len(positions), np.bool_)
        for lists in conditions[1:]:
            either = np.zeros(len(positions), np.bool_)
            for numbers in lists:
                either |= _is_in(positions, numbers)
            kept &= either
        for ranges in coarse:
            kept &= _is_in((positions + run.span.position_first) // RANGE_POSITIONS, ranges)
        if (left := positions[kept]).size:
            yield left


def _indexed(selection: Selection) -> list[tuple[int, tuple[str, ...]]]:
    """The keys to look up in the index's groups, each with the fields that may hold it."""
    indexed: list[tuple[int, tuple[str, ...]]] = []
    if selection.sides:
        indexed.append((selection.slot, selection.sides))
    indexed += [
        (fold(value), (field,)) for field, value in selection.values.items() if field in USER_DATA
    ]
    return indexed


def _within(numbers: npt.NDArray[np.uint32], low: int, high: int) -> npt.NDArray[np.uint32]:
    start = int(np.searchsorted(numbers, np.uint32(low)))
    return numbers[start : int(np.searchsorted(numbers, np.uint32(high)))]


def _walk(lists: list[npt.NDArray[np.uint32]], is_reversed: bool, step: int) -> Iterator[Positions]:
    """Yield the union of rising lists in pieces of ``step`` positions or more; pieces grow."""
    starts, ends = [0] * len(lists), [len(numbers) for numbers in lists]
    while any(start < end for start, end in zip(starts, ends, strict=True)):
        pieces = []
        horizons = []
        for number, numbers in enumerate(lists):
            start, end = starts[number], ends[number]
            piece = numbers[max(start, end - step) : end] if is_reversed else numbers[
                start : min(end, start + step)
            ]  # fmt: skip
            pieces.append(piece)
            if len(piece) < end - start:
                horizons.append(piece[0] if is_reversed else piece[-1])
        if horizons:
            horizon = max(horizons) if is_reversed else min(horizons)
            for number, piece in enumerate(pieces):
                if is_reversed:
                    pieces[number] = piece[int(np.searchsorted(piece, horizon)) :]
                else:
                    pieces[number] = piece[: int(np.searchsorted(piece, horizon, "right"))]
        for number, piece in enumerate(pieces):
            if is_reversed:
                ends[number] -= len(piece)
            else:
                starts[number] += len(piece)
        union = np.unique(np.concatenate(pieces)).astype(np.int64)
        yield union[::-1] if is_reversed else union
        step = min(2 * step, max(step, _STEP_MAX))


def _ranges(run: GroupRun, field: str, value: int) -> Positions:
    """The numbers of the ranges of positions that hold ``value``, counted from position 0."""
    numbers = positions_of(run.groups[field], fold(value)).astype(np.int64)
    return np.unique((numbers + run.span.position_first) // RANGE_POSITIONS)


def _positions_in_ranges(
    run: GroupRun, ranges: Positions, low: int, high: int, is_reversed: bool
) -> Iterator[Positions]:
    first = run.span.position_first
    for number in (ranges[::-1] if is_reversed else ranges).tolist():
        start, end = (
            max(low, number * RANGE_POSITIONS - first),
            min(high, (number + 1) * RANGE_POSITIONS - first),
        )
        if start < end:
            positions = np.arange(start, end)
            yield positions[::-1] if is_reversed else positions


def _all_positions(low: int, high: int, is_reversed: bool) -> Iterator[Positions]:
    while low < high:
        if is_reversed:
            positions = np.arange(max(low, high - _STEP_MAX), high)[::-1]
            high -= len(positions)
        else:
            positions = np.arange(low, min(high, low + _STEP_MAX))
            low += len(positions)
        yield positions


def _is_in(positions: Positions, numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of ``positions`` are among the rising ``numbers``."""
    if not len(numbers):
        return np.zeros(len(positions), np.bool_)
    sought = positions.astype(numbers.dtype)
    at = np.searchsorted(numbers, sought)
    found: npt.NDArray[np.bool_] = numbers[np.minimum(at, len(numbers) - 1)] == sought
    return found
