"""Queries: filters -> positions -> rows. What is asked and answered is TigerBeetle's.

A query takes the parts of the index (:mod:`posting_index`) one by one in the
order of its answer, and stops at the limit. In a run it walks the rarest value asked for, a few
positions at a time, leaves out what the other values' groups do not name, reads the rows that are
left, and keeps those that match. The index only says where to look: every row is held against the
filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import InvalidField
from nostro.journal.model import (
    AMOUNT_MAX,
    BATCH_EVENTS_MAX,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    TRANSFER,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    QueryFilter,
    QueryFilterFlags,
    Rows,
)
from nostro.journal.rows import u128_words
from nostro.projections.indexes.group_run import GroupRun
from nostro.projections.indexes.posting_index import (
    COARSE,
    RANGE_POSITIONS,
    SIDES,
    USER_DATA,
    Chunk,
    PostingView,
    end_of_time,
    fold,
    positions_of,
)
from nostro.projections.indexes.reservation_index import ReservationView
from nostro.projections.queries.past_balances import balances_at

RESULTS_MAX: Final = BATCH_EVENTS_MAX
"""The most results of one query; a greater limit is answered with so many. TigerBeetle's is 8,189.
"""

Positions = npt.NDArray[np.int64]
Fetch = Callable[[Positions], tuple[Rows, npt.NDArray[np.bool_]]]
"""``TRANSFER[n]`` at positions that rise, and which of them are transfers with effect."""
Found = tuple[Rows, Positions]
"""``TRANSFER[n]``, and where they stand."""
_STEP_MIN: Final = 64
_STEP_MAX: Final = 8_192
_WIDTHS: Final = {
    "account_id": 128, "user_data_128": 128, "user_data_64": 64, "user_data_32": 32, "ledger": 32,
    "code": 16, "timestamp_min": 64, "timestamp_max": 64, "limit": 32, "flags": 32,
}  # fmt: skip
_ACCOUNT_FLAGS: Final = int(
    AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS | AccountFilterFlags.REVERSED
)
_SIDES: Final = dict(
    zip((AccountFilterFlags.DEBITS, AccountFilterFlags.CREDITS), SIDES, strict=True)
)


@attrs.frozen
class Selection:
    """A sound filter: fields and the values they must have, times, and how much is wanted."""

    sides: tuple[str, ...]
    """In one of these fields the account must stand; none, if any account will do."""
    account_id: int
    values: dict[str, int]
    timestamp_min: int
    timestamp_max: int
    limit: int
    is_reversed: bool
    slot: int = -1
    """The account's, once it is known: ``sides`` are grouped by it."""

    def matches(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows, of accounts or of transfers, are asked for."""
        times = rows["timestamp"]
        mask: npt.NDArray[np.bool_] = (times >= np.uint64(self.timestamp_min)) & (
            times <= np.uint64(self.timestamp_max)
        )
        if self.sides:
            either = np.zeros(len(rows), np.bool_)
            for field in self.sides:
                either |= _equals(rows[field], self.account_id)
            mask &= either
        for field, value in self.values.items():
            mask &= _equals(rows[field], value)
        return mask


def account_selection(filter: AccountFilter) -> Selection | None:
    """What an account filter asks for; None if it is invalid, so that nothing is the answer.

    Raises:
        InvalidField: a field is no integer or does not fit.
    """
    _check(filter, AccountFilter)
    flags = int(filter.flags)
    sides = tuple(field for flag, field in _SIDES.items() if flags & flag)
    if not sides or flags & ~_ACCOUNT_FLAGS or filter.account_id in (0, AMOUNT_MAX):
        return None
    return _selection(filter, sides, filter.account_id, bool(flags & AccountFilterFlags.REVERSED))


def query_selection(filter: QueryFilter) -> Selection | None:
    """What a query filter asks for; None if it is invalid, so that nothing is the answer.

    Raises:
        InvalidField: a field is no integer or does not fit.
    """
    _check(filter, QueryFilter)
    if int(filter.flags) & ~int(QueryFilterFlags.REVERSED):
        return None
    return _selection(filter, (), 0, bool(filter.flags & QueryFilterFlags.REVERSED))


def select_transfers(selection: Selection, view: PostingView, fetch: Fetch) -> Rows:
    """``TRANSFER[n]``, n up to the limit: the transfers asked for, by time."""
    return _select(selection, view, fetch)[0]


def select_accounts(selection: Selection, rows: Rows) -> Positions:
    """The numbers of the accounts asked for among ``ACCOUNT[n]`` in order of time."""
    matching = np.flatnonzero(selection.matches(rows))
    return (matching[::-1] if selection.is_reversed else matching)[: selection.limit]


def select_balances(
    selection: Selection, postings: PostingView, reservations: ReservationView, fetch: Fetch
) -> list[AccountBalance]:
    """The balances after each transfer asked for of the account, by time."""
    rows, positions = _select(selection, postings, fetch)
    if not len(rows):
        return []
    step = -1 if selection.is_reversed else 1
    found = balances_at(selection.slot, positions[::step], postings, reservations)
    columns = [totals.integers()[::step] for totals in found[:-1]]
    return [
        AccountBalance(
            timestamp=timestamp,
            debits_pending=debits_pending,
            debits_posted=debits_posted,
            credits_pending=credits_pending,
            credits_posted=credits_posted,
        )
        for timestamp, debits_pending, debits_posted, credits_pending, credits_posted in zip(
            rows["timestamp"].tolist(), *columns, strict=True
        )
    ]


def _select(selection: Selection, view: PostingView, fetch: Fetch) -> Found:
    parts: Sequence[GroupRun | Chunk] = (*view.runs, *view.chunks)
    found: list[Found] = [(np.zeros(0, TRANSFER), np.zeros(0, np.int64))]
    wanted = selection.limit
    for part in reversed(parts) if selection.is_reversed else parts:
        if isinstance(part, Chunk):
            batches = iter([_chunk_matches(part, selection)])
        else:
            batches = _run_matches(part, selection, fetch, wanted)
        for rows, positions in batches:
            found.append((rows[:wanted], positions[:wanted]))
            wanted -= len(found[-1][0])
            if not wanted:
                break
        if not wanted:
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


def _run_matches(run: GroupRun, selection: Selection, fetch: Fetch, wanted: int) -> Iterator[Found]:
    """The matching rows of a run in order, batch by batch."""
    step = max(_STEP_MIN, min(wanted, _STEP_MAX))
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
    """Positions, from the run's first, where rows asked for may stand; in the answer's order."""
    low = end_of_time(run, selection.timestamp_min - 1)
    high = end_of_time(run, selection.timestamp_max)
    conditions = [
        [_within(positions_of(run.groups[field], key), low, high) for field in fields]
        for key, fields in _indexed(selection)
    ]
    conditions.sort(key=lambda lists: sum(map(len, lists)))
    coarse = [
        _stretches(run, field, selection.values[field])
        for field in COARSE if field in selection.values
    ]  # fmt: skip
    if conditions:
        steps = _walk(conditions[0], selection.is_reversed, step)
    elif coarse:
        stretches = min(coarse, key=len)
        steps = _stretch_positions(run, stretches, low, high, selection.is_reversed)
    else:
        steps = _range_positions(low, high, selection.is_reversed)
    for positions in steps:
        kept = np.ones(len(positions), np.bool_)
        for lists in conditions[1:]:
            either = np.zeros(len(positions), np.bool_)
            for numbers in lists:
                either |= _is_in(positions, numbers)
            kept &= either
        for stretches in coarse:
            kept &= _is_in((positions + run.span.position_first) // RANGE_POSITIONS, stretches)
        if (left := positions[kept]).size:
            yield left


def _indexed(selection: Selection) -> list[tuple[int, tuple[str, ...]]]:
    """The keys that positions are grouped by, each with the fields it may stand in."""
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
    """The union of rising lists, in pieces that hold ``step`` positions or more, then more."""
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


def _stretches(run: GroupRun, field: str, value: int) -> Positions:
    """The stretches of positions, numbered from position 0, that hold ``value``."""
    numbers = positions_of(run.groups[field], fold(value)).astype(np.int64)
    return np.unique((numbers + run.span.position_first) // RANGE_POSITIONS)


def _stretch_positions(
    run: GroupRun, stretches: Positions, low: int, high: int, is_reversed: bool
) -> Iterator[Positions]:
    first = run.span.position_first
    for stretch in (stretches[::-1] if is_reversed else stretches).tolist():
        start, end = (
            max(low, stretch * RANGE_POSITIONS - first),
            min(high, (stretch + 1) * RANGE_POSITIONS - first),
        )
        if start < end:
            positions = np.arange(start, end)
            yield positions[::-1] if is_reversed else positions


def _range_positions(low: int, high: int, is_reversed: bool) -> Iterator[Positions]:
    while low < high:
        if is_reversed:
            positions = np.arange(max(low, high - _STEP_MAX), high)[::-1]
            high -= len(positions)
        else:
            positions = np.arange(low, min(high, low + _STEP_MAX))
            low += len(positions)
        yield positions


def _is_in(positions: Positions, numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of ``positions`` stand in rising ``numbers``."""
    if not len(numbers):
        return np.zeros(len(positions), np.bool_)
    wanted = positions.astype(numbers.dtype)
    at = np.searchsorted(numbers, wanted)
    found: npt.NDArray[np.bool_] = numbers[np.minimum(at, len(numbers) - 1)] == wanted
    return found


# --- filters ---


def _selection(
    filter: AccountFilter | QueryFilter, sides: tuple[str, ...], account_id: int, is_reversed: bool
) -> Selection | None:
    first, last = filter.timestamp_min, filter.timestamp_max
    if max(first, last) > TIMESTAMP_MAX or not filter.limit or 0 < last < first:
        return None
    values = {
        field: getattr(filter, field)
        for field in ("user_data_128", "user_data_64", "user_data_32", *COARSE)
        if getattr(filter, field, 0)
    }
    return Selection(
        sides,
        account_id,
        values,
        first or TIMESTAMP_MIN,
        last or TIMESTAMP_MAX,
        min(filter.limit, RESULTS_MAX),
        is_reversed,
    )


def _check(filter: object, wanted: type) -> None:
    if not isinstance(filter, wanted):
        raise InvalidField("filter", filter, f"is no journal.{wanted.__name__}")
    for field, bits in _WIDTHS.items():
        value = getattr(filter, field, 0)
        if not isinstance(value, int):
            raise InvalidField(field, value, "must be an integer")
        if value < 0:
            raise InvalidField(field, value, "cannot be negative")
        if value >= 1 << bits:
            raise InvalidField(field, value, f"does not fit in {bits} bits")


def _equals(column: npt.NDArray[Any], value: int) -> npt.NDArray[np.bool_]:
    if column.ndim == 1:
        same: npt.NDArray[np.bool_] = column == column.dtype.type(value)
        return same
    low, high = u128_words(value)
    same = column[:, 0] == np.uint64(low)
    same &= column[:, 1] == np.uint64(high)
    return same
