"""Pairing the rows of journal and cluster, both in order of time: a merge join by columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.journal.model import ROW_BYTES, Rows
from nostro.projections.state.u128 import Words

_WORDS: Final = ROW_BYTES // 8


class Chunk(NamedTuple):
    """Rows of the journal as the cluster should hold them, by timestamp."""

    rows: Rows
    position: int
    """The chunks up to here hold every event up to this position."""
    frame_sha256: bytes = b""
    """The hash of the frame that ends there; empty if none does."""


class Paired(NamedTuple):
    """The rows that both sides have, and the rows that only one has."""

    equal: int
    """The number of rows that are the same on both sides, to the last bit."""
    journal: Rows
    """Rows on both sides with the same id and time that differ in another field …"""
    cluster: Rows
    """… as the cluster has them, in the same order."""
    only_journal: Rows
    only_cluster: Rows

    @property
    def journal_count(self) -> int:
        """The number of the journal's rows that were compared."""
        return self.equal + len(self.journal) + len(self.only_journal)


def pair(journal: Rows, cluster: Rows) -> Paired:
    """Pair rows of one kind by time and id.

    Args:
        journal: in any order.
        cluster: by timestamp.
    """
    ours, theirs = _words(journal), _words(cluster)
    if len(ours) == len(theirs) and np.array_equal(ours, theirs):
        return Paired(len(ours), journal[:0], cluster[:0], journal[:0], cluster[:0])
    if not len(journal) or not len(cluster):
        return Paired(0, journal[:0], cluster[:0], journal, cluster)
    places, found = pair_places(journal, cluster)
    matched = np.zeros(len(cluster), np.bool_)
    matched[places[found]] = True
    different = found.copy()
    different[found] = (ours[found] != theirs[places[found]]).any(1)
    return Paired(
        int(found.sum() - different.sum()),
        journal[different],
        cluster[places[different]],
        journal[~found],
        cluster[~matched],
    )


def pair_places(
    journal: Rows, cluster: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The index of each row of the journal in the cluster's, and whether it is there.

    Args:
        journal: ``n`` rows in any order.
        cluster: one row or more, by timestamp.
    """
    times = cluster["timestamp"]
    places = np.searchsorted(times, journal["timestamp"]).clip(max=len(times) - 1)
    same_id = (journal["id"] == cluster["id"][places]).all(1)
    return places, (times[places] == journal["timestamp"]) & same_id


def joined(parts: list[Rows], dtype: np.dtype[np.void]) -> Rows:
    """The rows of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.zeros(0, dtype)
    # As bytes: numpy would join rows of fields field by field.
    return np.concatenate([np.ascontiguousarray(part).view(np.uint8) for part in parts]).view(dtype)


def pair_streams(
    chunks: Iterable[Chunk],
    pages: Iterator[Rows],
    dtype: np.dtype[np.void],
    take: Callable[[Paired], None],
) -> Iterator[Chunk]:
    """Pair two sides, both by timestamp; yield each chunk once ``take`` got every row up to it."""
    held: Rows = np.zeros(0, dtype)
    for chunk in chunks:
        rest = chunk.rows
        while len(rest):
            if not len(held):
                held = next(pages, held)
            if not len(held):
                take(pair(rest, held))
                break
            bound = min(rest["timestamp"][-1], held["timestamp"][-1])
            ours = int(np.searchsorted(rest["timestamp"], bound, "right"))
            theirs = int(np.searchsorted(held["timestamp"], bound, "right"))
            take(pair(rest[:ours], held[:theirs]))
            rest, held = rest[ours:], held[theirs:]
        yield chunk
    if len(held):
        take(pair(held[:0], held))
    for page in pages:
        take(pair(page[:0], page))


def sorted_by_time(rows: Rows) -> Rows:
    """The rows by timestamp."""
    times = rows["timestamp"]
    return rows if (times[1:] > times[:-1]).all() else rows[np.argsort(times, kind="stable")]


def _words(rows: Rows) -> Words:
    words: Words = np.ascontiguousarray(rows).view(np.uint64).reshape(-1, _WORDS)
    return words
