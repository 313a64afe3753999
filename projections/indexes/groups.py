"""Values grouped by a key, as columns: how every run but that of the ids is laid out.

``keys`` are distinct and rise; the values of ``keys[i]`` are those from ``ends[i - 1]`` up to
``ends[i]`` of each column. Within a group they keep the order they came in, which is the journal's.
Beside its values a group may have running totals, which begin at zero with each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.projections.indexes.run_file import Column
from nostro.projections.indexes.running_totals import EMPTY, Totals, join, running_totals
from nostro.projections.indexes.sort_order import stable_order

PIECE: Final = 1 << 18
"""How many values are merged at a time."""
_POSITION_MAX: Final = 2**32 - 1


@attrs.frozen(eq=False)
class Groups:
    keys: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.uint32]
    values: tuple[Column, ...]
    totals: tuple[Totals, ...] = ()

    def bounds(self, key: int) -> tuple[int, int]:
        """Where the values of ``key`` begin and end; equal if it has none."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        if at == len(self.keys) or int(self.keys[at]) != key:
            return 0, 0
        return (int(self.ends[at - 1]) if at else 0), int(self.ends[at])

    def count_up_to(
        self, start: int, end: int, positions: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """How many of the group from ``start`` to ``end`` stand at or before each position.

        The first column of values holds positions, which rise.
        """
        numbers = self.values[0][start:end]
        bounds = np.clip(positions + 1, 0, _POSITION_MAX).astype(numbers.dtype)
        return np.searchsorted(numbers, bounds)


def are_sound(groups: Groups, *, position_max: int) -> bool:
    """Whether columns that were read are groups, of positions that are not greater."""
    keys, ends, (positions, *others) = groups.keys, groups.ends, groups.values
    size = len(positions)
    return (
        position_max <= _POSITION_MAX
        and len(ends) == len(keys)
        and (int(ends[-1]) if len(ends) else 0) == size
        and all(len(column) == size for column in others)
        and all(len(low) == size and len(high) in (0, size) for low, high in groups.totals)
        and (not len(ends) or int(ends[0]) > 0)
        and _rise(keys)
        and _rise(ends)
        and int(positions.max(initial=0)) <= position_max
    )


def group(
    keys: npt.NDArray[np.uint64], values: tuple[Column, ...], amounts: tuple[Totals, ...] = ()
) -> Groups:
    """Group ``values``, one for each of ``keys``, and add ``amounts`` up."""
    order = stable_order(keys)
    keys = keys[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, np.bool_)
    ends = np.flatnonzero(last) + 1
    return Groups(
        keys[last],
        ends.astype(np.uint32),
        tuple(value[order] for value in values),
        tuple(running_totals(amount.part(order), ends) for amount in amounts),
    )


def merged_count(parts: Sequence[Groups], *, pause: Callable[[], None]) -> int:
    """How many different keys ``parts`` have together; ``pause`` is called now and then."""
    count = 0
    at = [0] * len(parts)
    while any(start < len(part.keys) for start, part in zip(at, parts, strict=True)):
        stopped = stops([part.keys for part in parts], at, [start + PIECE for start in at])
        keys = np.concatenate(
            [part.keys[a:b] for part, a, b in zip(parts, at, stopped, strict=True)]
        )
        keys.sort(kind="stable")  # a few sorted stretches: linear, and np.unique is not
        count += 1 + int(np.count_nonzero(keys[1:] != keys[:-1]))
        at = stopped
        pause()
    return count


def merge(parts: Sequence[Groups], shifts: Sequence[int]) -> Iterator[Groups]:
    """The groups of ``parts``, whose values follow on one another, in pieces.

    The columns of all pieces, one after another, are those of the whole. ``shifts`` is what to add
    to the first value column of each part.
    """
    at = [0] * len(parts)
    total = 0
    while any(start < len(part.keys) for start, part in zip(at, parts, strict=True)):
        heads = [part.keys[a] for part, a in zip(parts, at, strict=True) if a < len(part.keys)]
        least = min(heads)
        chosen = [
            number for number, part in enumerate(parts)
            if at[number] < len(part.keys) and part.keys[at[number]] == least
        ]  # fmt: skip
        size = sum(_size(parts[number], at[number], at[number] + 1) for number in chosen)
        if size > PIECE:
            before = tuple(Totals(np.zeros(1, np.uint64), EMPTY) for _ in parts[0].totals)
            for number in chosen:
                for piece in _slices(parts[number], at[number], shifts[number], before):
                    yield piece
                before = tuple(totals.part(slice(-1, None)) for totals in piece.totals)
                at[number] += 1
            total += size
            yield attrs.evolve(
                _none(parts[0]),
                keys=np.array([least], np.uint64),
                ends=np.array([total], np.uint32),
            )
            continue
        stopped = stops([part.keys for part in parts], at, [
            int(np.searchsorted(part.ends, np.uint32(_start(part, a) + PIECE), "right"))
            for part, a in zip(parts, at, strict=True)
        ])  # fmt: skip
        piece = _merge_piece(parts, shifts, at, stopped)
        piece_size = len(piece.values[0])
        yield attrs.evolve(piece, ends=(piece.ends + total).astype(np.uint32))
        total += piece_size
        at = stopped


def stops(keys: list[npt.NDArray[np.uint64]], at: list[int], wanted: list[int]) -> list[int]:
    """Up to where to take of each part, so that no smaller key is left behind.

    ``wanted`` is how far each would go; one that cannot take its own next key stays where it is.
    """
    bounds = [
        int(part[stop - 1]) if stop > start else int(part[start]) - 1
        for part, start, stop in zip(keys, at, wanted, strict=True)
        if stop < len(part)
    ]
    if not bounds:
        return [len(part) for part in keys]
    bound = np.uint64(min(bounds))
    return [
        max(start, int(np.searchsorted(part, bound, "right")))
        for part, start in zip(keys, at, strict=True)
    ]


def _merge_piece(
    parts: Sequence[Groups], shifts: Sequence[int], at: list[int], stops: list[int]
) -> Groups:
    keys, counts, values, totals = [], [], [], []
    for part, shift, a, b in zip(parts, shifts, at, stops, strict=True):
        keys.append(part.keys[a:b])
        counts.append(_counts(part, a, b))
        values.append(_values(part, _start(part, a), _start(part, b), shift))
        within = slice(_start(part, a), _start(part, b))
        totals.append([column.part(within) for column in part.totals])
    all_keys, all_counts = np.concatenate(keys), np.concatenate(counts)
    starts = np.cumsum(all_counts) - all_counts
    order = np.argsort(all_keys, kind="stable")
    all_keys, starts, counts_there = all_keys[order], starts[order], all_counts[order]
    ends = np.cumsum(counts_there)
    source = np.repeat(starts - (ends - counts_there), counts_there)
    source += np.arange(len(source))
    last = np.append(all_keys[1:] != all_keys[:-1], True)
    joined = [np.concatenate(column) for column in zip(*values, strict=True)]
    return Groups(
        all_keys[last],
        ends[last],
        tuple(column[source] for column in joined),
        tuple(
            _carried_on(join(column), starts, counts_there, last, source)
            for column in zip(*totals, strict=True)
        ),
    )


def _carried_on(
    totals: Totals,
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    last: npt.NDArray[np.bool_],
    source: npt.NDArray[np.int64],
) -> Totals:
    """Totals of stretches that begin at zero, as those of the groups that the stretches make.

    Args:
        starts, counts: where the stretches begin among ``totals``, and how long they are.
        last: whether a stretch is its group's last.
        source: where each value of the groups stands among ``totals``.
    """
    ending = totals.part(starts + counts - 1)
    before = running_totals(ending, np.flatnonzero(last) + 1).minus(ending)
    return totals.part(source).plus(before.repeat(counts))


def _counts(part: Groups, start: int, stop: int) -> npt.NDArray[np.int64]:
    ends = np.concatenate(([_start(part, start)], part.ends[start:stop]))
    return ends[1:] - ends[:-1]


def _slices(part: Groups, number: int, shift: int, before: tuple[Totals, ...]) -> Iterator[Groups]:
    """The values of one large group, without its key and its end.

    ``before`` is what to add to each of its totals, one entry each.
    """
    end = int(part.ends[number])
    for start in range(_start(part, number), end, PIECE):
        stop = min(start + PIECE, end)
        yield attrs.evolve(
            _none(part),
            values=_values(part, start, stop, shift),
            totals=tuple(
                totals.part(slice(start, stop)).plus(added.repeat(np.array([stop - start])))
                for totals, added in zip(part.totals, before, strict=True)
            ),
        )


def _rise(column: Column) -> bool:
    """Whether each entry is greater than the one before; piece by piece, as little is in memory."""
    pieces = (column[start : start + PIECE + 1] for start in range(0, len(column), PIECE))
    return all(bool(np.all(piece[1:] > piece[:-1])) for piece in pieces)


def _none(part: Groups) -> Groups:
    """No group, with columns as those of ``part``."""
    return Groups(
        part.keys[:0],
        part.ends[:0],
        tuple(value[:0] for value in part.values),
        tuple(totals.part(slice(0, 0)) for totals in part.totals),
    )


def _values(part: Groups, start: int, end: int, shift: int) -> tuple[Column, ...]:
    first, *rest = (value[start:end] for value in part.values)
    return (first + first.dtype.type(shift), *rest)


def _start(part: Groups, number: int) -> int:
    return int(part.ends[number - 1]) if number else 0


def _size(part: Groups, start: int, stop: int) -> int:
    return _start(part, stop) - _start(part, start)
