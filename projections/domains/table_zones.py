"""Which parts of an index hold anything of a past moment.

An index has the versions of all moments side by side. A query about the newest entities of last
year would read every entry of this year first. So an index is divided into zones of 256 entries,
and memory holds from when until when each entry is valid. A query then reads only the zones that
have an entry of its moment.

Zones are made when they are first needed, as of a position, and are right for every moment up to
it: what happens later changes nothing before. They are in memory, 16 bytes an entry.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from nostro.projections.domains.sort_keys import AFTER_ALL

ZONE_ENTRIES: Final = 256
NEVER: Final = 2**63 - 1

IndexPlace = tuple[bytes, ...]
"""The columns of an entry of an index, the key last."""
Range = tuple[IndexPlace, IndexPlace]
"""The first and the last place of a part of an index; both belong to it."""


class Zones:
    """The zones of one index, as of ``position``."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        statement: str,
        position: int,
        *,
        zone_entries: int = ZONE_ENTRIES,
    ) -> None:
        """Read the whole index.

        Args:
            statement: gives its columns, position_from and position_to, in its order.
        """
        self.position = position
        self._places: list[IndexPlace] = []
        since: list[npt.NDArray[np.int64]] = []
        until: list[npt.NDArray[np.int64]] = []
        last: IndexPlace = ()
        entries = connection.execute(statement)
        while rows := entries.fetchmany(zone_entries):
            self._places.append(rows[0][:-2])
            last = rows[-1][:-2]
            since.append(_column(rows, -2, zone_entries))
            until.append(_column(rows, -1, zone_entries))
        if self._places:
            self._places.append(last)
        self._since = np.array(since, np.int64).reshape(-1, zone_entries)
        self._until = np.array(until, np.int64).reshape(-1, zone_entries)

    def ranges(
        self,
        position: int,
        first: IndexPlace,
        last: IndexPlace,
        *,
        descending: bool,
    ) -> Iterator[Range]:
        """The parts between two places with an entry of that moment, in order.

        Args:
            first: may be cut short, and is then below everything that begins with it.
        """
        begin = max(bisect_left(self._places, first) - 1, 0)
        end = min(bisect_right(self._places, (*last, AFTER_ALL)), len(self._since))
        since, until = self._since[begin:end], self._until[begin:end]
        holds = ((since <= position) & (until > position)).any(axis=1)
        edges = np.flatnonzero(np.diff(holds, prepend=False, append=False)) + begin
        runs = [(self._places[a], self._places[b]) for a, b in edges.reshape(-1, 2).tolist()]
        yield from _joined(reversed(runs) if descending else runs, descending)


def _joined(runs: Iterator[Range] | Sequence[Range], descending: bool) -> Iterator[Range]:
    """Runs that share a place are one: many versions of an entity have the same."""
    low: IndexPlace | None = None
    high: IndexPlace = ()
    for start, end in runs:
        if low is not None and (end >= low if descending else start <= high):
            low, high = min(low, start), max(high, end)
            continue
        if low is not None:
            yield low, high
        low, high = start, end
    if low is not None:
        yield low, high


def _column(rows: Sequence[tuple[int, ...]], at: int, count: int) -> npt.NDArray[np.int64]:
    """That column, filled up with entries that never hold."""
    column = np.full(count, NEVER if at == -2 else 0, np.int64)
    column[: len(rows)] = [row[at] for row in rows]
    return column
