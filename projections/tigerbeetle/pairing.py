"""Pairing the rows of two sides that are in order of time, a stretch at a time, by columns."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from journal.codec import Rows
from journal.model import ROW_BYTES
from projections.u128 import Words

_WORDS: Final = ROW_BYTES // 8


class Paired(NamedTuple):
    """What two sides have in common, and what they have not."""

    equal: int
    """So many rows are the same on both sides, to the last bit."""
    journal: Rows
    """Those that are on both sides, with the same id and time, and differ otherwise …"""
    cluster: Rows
    """… as the cluster has them, in the same order."""
    only_journal: Rows
    only_cluster: Rows

    @property
    def journal_count(self) -> int:
        """So many of the journal's were held against the cluster."""
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
    """For each row of the journal its place in the cluster, and whether it is there.

    Args:
        journal: ``n`` rows in any order.
        cluster: one row or more, by timestamp.
    """
    times = cluster["timestamp"]
    places = np.searchsorted(times, journal["timestamp"]).clip(max=len(times) - 1)
    same_id = (journal["id"] == cluster["id"][places]).all(1)
    return places, (times[places] == journal["timestamp"]) & same_id


def _words(rows: Rows) -> Words:
    words: Words = np.ascontiguousarray(rows).view(np.uint64).reshape(-1, _WORDS)
    return words
