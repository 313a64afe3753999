"""Which transfers name an account, a user datum, a ledger or a code: value -> positions.

A run groups the positions of the transfers that took effect, eight times over: by debit account, by
credit account, by each user datum that is not zero, by ledger, by code, and by time. 128-bit values
are folded into 64 bits: a group may hold a few positions too many, never one too few, and a reader
of the rows checks them. Ledgers and codes are few, so their groups hold one position of each
stretch of 512 only. Transfers of one request are 1 ns apart, so times hold only the transfers that
are not 1 ns and one position after the one before them.

Accounts are named by their slots, so their groups are exact. Beside each position stands what the
account was debited, or credited, within the run so far: past balances are read off, not added up
again. What pending transfers reserve is in :mod:`nostro.projections.indexes.reservation_index`.

Transfers are in order of time, so positions are too.

What is newer than the last run is kept as rows, in chunks. A chunk that was searched some times is
given a run of its own in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.format import codec
from nostro.journal.format.parts import Positions, as_array
from nostro.journal.model import TRANSFER, Rows
from nostro.projections.indexes.group_run import Columns, GroupFormat, GroupRun
from nostro.projections.indexes.groups import Groups, group
from nostro.projections.indexes.run_file import Column, Span
from nostro.projections.indexes.run_stack import RunStack
from nostro.projections.indexes.running_totals import EMPTY, Totals, join, running_totals, zeros
from nostro.projections.rules.posting import AccountSlots
from nostro.projections.rules.values import PENDING, VOID
from nostro.projections.state.u128 import Words

SIDES: Final = ("debit_account_id", "credit_account_id")
"""Grouped by slot, with running totals of what was posted."""
USER_DATA: Final = ("user_data_128", "user_data_64", "user_data_32")
COARSE: Final = ("ledger", "code")
"""Indexed by stretches of positions."""
TIMES: Final = "timestamp"
RANGE_POSITIONS: Final = 512
POSTINGS: Final = GroupFormat(
    ".postings",
    {
        **dict.fromkeys(SIDES, Columns((np.uint32,), totals=1)),
        **dict.fromkeys((*USER_DATA, *COARSE, TIMES), Columns((np.uint32,))),
    },
)
_NOT_POSTED: Final = PENDING | VOID
_Sides = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]
"""The slots of debit and of credit accounts."""
_Keyed = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]
"""Keys, and the number to find under each."""

_CHUNK_ROWS: Final = 2_048
_CHUNK_ROWS_MAX: Final = 8_192
_SEARCHES_PAY: Final = 8
"""After so many searches of a chunk a run of it costs less than the next ones would."""
_FOLD: Final = 0x9E3779B97F4A7C15
_MASK_64: Final = 2**64 - 1


def fold(value: int) -> int:
    """The key that a value is found under."""
    return ((value >> 64) * _FOLD & _MASK_64) ^ value & _MASK_64


def positions_of(groups: Groups, key: int) -> npt.NDArray[np.uint32]:
    """Where transfers of a key stand, rising: from a run's first position, or in a chunk; a view.

    ``key`` is a slot for one of :data:`SIDES`, else the folded value.
    """
    start, end = groups.bounds(key)
    return groups.values[0][start:end]


def end_of_time(run: GroupRun, timestamp: int) -> int:
    """How many positions of the run there are up to the last transfer at or before a time.

    What stands after that transfer and took no effect may be counted too.
    """
    times = run.groups[TIMES]
    count = int(np.searchsorted(times.keys, np.uint64(timestamp), "right"))
    if not count:
        return 0
    starts = times.values[0]
    end = int(starts[count]) if count < len(starts) else len(run.span)
    return min(int(starts[count - 1]) + timestamp - int(times.keys[count - 1]) + 1, end)


class Chunk:
    """The transfers with effect among some positions after the last run: rows, in memory."""

    def __init__(self, rows: Rows, positions: npt.NDArray[np.int64], slots: _Sides) -> None:
        self.rows = rows
        self.positions = positions
        self.slots = slots
        """Of the accounts that each row debits, and credits."""
        self._searches = 0
        self._groups: dict[str, Groups] | None = None

    def groups(self) -> dict[str, Groups] | None:
        """Its transfers grouped by row number, once that pays."""
        self._searches += 1
        if self._groups is None and self._searches > _SEARCHES_PAY:
            self._groups = _groups([self], np.arange(len(self.rows), dtype=np.uint32))
        return self._groups

    def posted_until(
        self, field: str, slot: int, positions: npt.NDArray[np.int64]
    ) -> Totals | None:
        """What an account was debited, or credited, in the chunk up to each of some positions."""
        groups = self.groups()
        if groups is None:
            chosen = np.flatnonzero(self.slots[SIDES.index(field)] == slot)
            found, at = slice(0, len(chosen)), self.positions[chosen]
            totals = running_totals(posted_amounts(self.rows[chosen]), np.array([len(chosen)]))
        else:
            found = slice(*groups[field].bounds(slot))
            at = self.positions[groups[field].values[0][found]]
            totals = groups[field].totals[0]
        if not len(at):
            return None
        return totals.after(found.start, np.searchsorted(at, positions, "right"))


@attrs.frozen(eq=False)
class PostingView:
    """The index as it was when it was asked for, oldest part first."""

    runs: tuple[GroupRun, ...]
    chunks: tuple[Chunk, ...]

    def posted(self, field: str, slot: int, positions: npt.NDArray[np.int64]) -> Totals:
        """What an account was debited, or credited, up to each of some positions.

        Args:
            field: one of :data:`SIDES`.
        """
        total = zeros(len(positions))
        for run in self.runs:
            groups = run.groups[field]
            start, end = groups.bounds(slot)
            if start < end and run.span.position_first <= positions[-1]:
                counts = groups.count_up_to(start, end, positions - run.span.position_first)
                total = total.plus(groups.totals[0].after(start, counts))
        for chunk in self.chunks:
            if len(chunk.positions) and chunk.positions[0] <= positions[-1]:
                found = chunk.posted_until(field, slot, positions)
                total = total if found is None else total.plus(found)
        return total

    def position_at(self, timestamp: int) -> int:
        """The position of the last transfer at or before a time, 0 if there is none.

        Or of something after it that took no effect.
        """
        for chunk in reversed(self.chunks):
            count = int(np.searchsorted(chunk.rows[TIMES], np.uint64(timestamp), "right"))
            if count:
                return int(chunk.positions[count - 1])
        for run in reversed(self.runs):
            if end := end_of_time(run, timestamp):
                return run.span.position_first + end - 1
        return 0


class _Taken(NamedTuple):
    """The transfers with effect of one request."""

    rows: Rows
    positions: Positions
    """A range as long as it can be: an array takes a microsecond to make."""
    slots: AccountSlots | None


class PostingIndex:
    """Runs, and what is newer. One thread adds and freezes; any thread may search a view."""

    def __init__(self, slots_of: Callable[[Words], npt.NDArray[np.int64]]) -> None:
        """``slots_of`` tells the slots of account ids, ``u64[n, 2]``."""
        self._slots_of = slots_of
        self._lock = threading.Lock()
        self.stack = RunStack(POSTINGS.kind, POSTINGS.read, POSTINGS.write)
        self._frozen: tuple[Chunk, ...] = ()
        self._chunks: list[Chunk] = []
        self._small: list[_Taken] = []
        self._small_rows = 0

    def add(
        self, positions: Positions, rows: Rows, statuses: Any, slots: AccountSlots | None = None
    ) -> None:
        """Take in one request's transfers, which nobody changes any more.

        Args:
            slots: those of all the rows' accounts, if they are known.
        """
        if statuses is not None:
            created = statuses == codec.CREATED
            rows, positions, slots = rows[created], as_array(positions)[created], None
        if not len(rows):
            return
        self._small.append(_Taken(rows, positions, slots))
        self._small_rows += len(rows)
        if self._small_rows >= _CHUNK_ROWS:
            self._make_chunk()

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
        chunk = self._chunk(taken)
        before = self._chunks[-1] if self._chunks else None
        if before is not None and len(before.rows) + len(chunk.rows) <= _CHUNK_ROWS_MAX:
            self._chunks[-1] = _join(before, chunk)
        else:
            self._chunks.append(chunk)

    def _chunk(self, taken: list[_Taken]) -> Chunk:
        rows, _, slots = taken[0]
        if len(taken) > 1:
            rows, slots = _join_rows([request.rows for request in taken]), None
        positions = np.concatenate([as_array(request.positions) for request in taken])
        positions = positions.astype(np.int64)
        if slots is None:
            slots = AccountSlots(*(self._slots_of(rows[field]) for field in SIDES))
        debits, credits = (side.astype(np.uint32) for side in slots)
        return Chunk(rows, positions, (debits, credits))


def run_of_chunks(span: Span, chunks: Sequence[Chunk]) -> GroupRun:
    relative = np.concatenate([
        np.zeros(0, np.uint32),
        *[(chunk.positions - span.position_first).astype(np.uint32) for chunk in chunks],
    ])  # fmt: skip
    groups = _groups(chunks, relative)
    stretches = (relative + np.int64(span.position_first)) // RANGE_POSITIONS
    for field in COARSE:
        groups[field] = _group_stretches(_column(chunks, field), stretches, relative)
    times = _column(chunks, TIMES)
    first = np.flatnonzero(_differs(times - relative))
    groups[TIMES] = group(times[first], (relative[first],))
    return GroupRun(span, groups)


def posted_amounts(rows: Rows) -> Totals:
    """What each transfer adds to the posted balances of its accounts."""
    amounts = rows["amount"]
    is_posted = (rows["flags"] & np.uint16(_NOT_POSTED)) == 0
    low, high = amounts[:, 0] * is_posted, amounts[:, 1] * is_posted
    return Totals(low, high if high.any() else EMPTY)


def _groups(chunks: Sequence[Chunk], numbers: npt.NDArray[np.uint32]) -> dict[str, Groups]:
    """The chunks' transfers by account and by user data; ``numbers`` are what to find there."""
    amounts = [Totals(EMPTY, EMPTY)]
    keyed: dict[str, list[_Keyed]] = {field: [(EMPTY, numbers[:0])] for field in USER_DATA}
    at = 0
    for chunk in chunks:  # one by one: a processor's cache holds a chunk, and not all rows
        mine = numbers[at : at + len(chunk.rows)]
        at += len(mine)
        amounts.append(posted_amounts(chunk.rows))
        for field, parts in keyed.items():
            parts.append(_keyed(chunk.rows, field, mine))
    groups = {}
    for side, field in enumerate(SIDES):
        slots = np.concatenate([EMPTY, *[chunk.slots[side].astype(np.uint64) for chunk in chunks]])
        groups[field] = group(slots, (numbers,), (join(amounts),))
    for field, parts in keyed.items():
        keys, places = (np.concatenate(column) for column in zip(*parts, strict=True))
        groups[field] = group(keys, (places,))
    return groups


def _keyed(rows: Rows, field: str, numbers: npt.NDArray[np.uint32]) -> _Keyed:
    """The keys that rows have by a user datum, and the numbers of those that have one."""
    values = rows[field]
    if values.ndim == 2:
        keys = values[:, 1] * np.uint64(_FOLD) ^ values[:, 0]
        kept = (values[:, 0] | values[:, 1]) != 0
    else:
        keys, kept = values.astype(np.uint64), values != 0
    return keys[kept], numbers[kept]


def _column(chunks: Sequence[Chunk], field: str) -> Words:
    return np.concatenate([EMPTY, *[chunk.rows[field].astype(np.uint64) for chunk in chunks]])


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


def _join(before: Chunk, after: Chunk) -> Chunk:
    debits, credits = (
        np.concatenate(sides) for sides in zip(before.slots, after.slots, strict=True)
    )
    return Chunk(
        _join_rows([before.rows, after.rows]),
        np.concatenate([before.positions, after.positions]),
        (debits, credits),
    )


def _join_rows(parts: Sequence[Rows]) -> Rows:
    """Joined as bytes: numpy would copy rows of fields field by field."""
    return np.frombuffer(b"".join([_bytes(rows) for rows in parts]), TRANSFER)


def _bytes(rows: Rows) -> bytes | memoryview:
    if rows.flags.c_contiguous:
        return rows.view(np.uint8).data
    return rows.tobytes()
