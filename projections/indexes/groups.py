"""Values grouped by a key, as columns: how every run but that of the ids is laid out.

``keys`` are distinct and rise; the values of ``keys[i]`` are those from ``ends[i - 1]`` up to
``ends[i]`` of each column. Within a group they keep the order they came in, which is the journal's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from projections.indexes.run_file import Column

PIECE: Final = 1 << 18
"""How many values are merged at a time."""


@attrs.frozen(eq=False)
class Groups:
    keys: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.uint32]
    values: tuple[Column, ...]

    def bounds(self, key: int) -> tuple[int, int]:
        """Where the values of ``key`` begin and end; equal if it has none."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        if at == len(self.keys) or int(self.keys[at]) != key:
            return 0, 0
        return (int(self.ends[at - 1]) if at else 0), int(self.ends[at])


def group(keys: npt.NDArray[np.uint64], values: tuple[Column, ...]) -> Groups:
    """Group ``values``, one for each of ``keys``."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, np.bool_)
    ends = np.flatnonzero(last) + 1
    return Groups(keys[last], ends.astype(np.uint32), tuple(value[order] for value in values))


def merged_count(parts: Sequence[Groups]) -> int:
    """How many different keys ``parts`` have together."""
    count = 0
    at = [0] * len(parts)
    while any(start < len(part.keys) for start, part in zip(at, parts, strict=True)):
        stopped = stops([part.keys for part in parts], at, [start + PIECE for start in at])
        count += len(np.unique(np.concatenate(
            [part.keys[a:b] for part, a, b in zip(parts, at, stopped, strict=True)]
        )))  # fmt: skip
        at = stopped
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
            for number in chosen:
                yield from _slices(parts[number], at[number], shifts[number])
                at[number] += 1
            total += size
            yield Groups(
                np.array([least], np.uint64),
                np.array([total], np.uint32),
                tuple(value[:0] for value in parts[0].values),
            )
            continue
        stopped = stops([part.keys for part in parts], at, [
            int(np.searchsorted(part.ends, np.uint32(_start(part, a) + PIECE), "right"))
            for part, a in zip(parts, at, strict=True)
        ])  # fmt: skip
        piece = _merge_piece(parts, shifts, at, stopped)
        piece_size = len(piece.values[0])
        yield Groups(piece.keys, (piece.ends + total).astype(np.uint32), piece.values)
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
    keys, counts, values = [], [], []
    for part, shift, a, b in zip(parts, shifts, at, stops, strict=True):
        keys.append(part.keys[a:b])
        counts.append(_counts(part, a, b))
        values.append(_values(part, _start(part, a), _start(part, b), shift))
    all_keys, all_counts = np.concatenate(keys), np.concatenate(counts)
    starts = np.cumsum(all_counts) - all_counts
    order = np.argsort(all_keys, kind="stable")
    all_keys, counts_there = all_keys[order], all_counts[order]
    ends = np.cumsum(counts_there)
    source = np.repeat(starts[order] - (ends - counts_there), counts_there)
    source += np.arange(len(source))
    last = np.append(all_keys[1:] != all_keys[:-1], True)
    joined = [np.concatenate(column) for column in zip(*values, strict=True)]
    return Groups(all_keys[last], ends[last], tuple(column[source] for column in joined))


def _counts(part: Groups, start: int, stop: int) -> npt.NDArray[np.int64]:
    ends = np.concatenate(([_start(part, start)], part.ends[start:stop]))
    return ends[1:] - ends[:-1]


def _slices(part: Groups, number: int, shift: int) -> Iterator[Groups]:
    """The values of one large group, without its key and its end."""
    none = part.keys[:0], part.ends[:0]
    end = int(part.ends[number])
    for start in range(_start(part, number), end, PIECE):
        yield Groups(*none, _values(part, start, min(start + PIECE, end), shift))


def _values(part: Groups, start: int, end: int, shift: int) -> tuple[Column, ...]:
    first, *rest = (value[start:end] for value in part.values)
    return (first + first.dtype.type(shift), *rest)


def _start(part: Groups, number: int) -> int:
    return int(part.ends[number - 1]) if number else 0


def _size(part: Groups, start: int, stop: int) -> int:
    return _start(part, stop) - _start(part, start)
