"""Pending transfers of a cluster that have a timeout: which of them expired, and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from nostro.journal.model import Rows
from nostro.projections.rules.values import NS_PER_SECOND, PENDING, RESOLVING
from nostro.projections.state.ledger_state import LedgerState
from nostro.projections.state.pending_transfers import OPEN
from nostro.projections.tigerbeetle.rows.change_events import expired
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.session.cluster import Cluster

GRACE_NS: Final = 10 * NS_PER_SECOND
"""A cluster lets expire what is due within so long, unless it was away."""


class _Timed(NamedTuple):
    created_at: int
    """ns"""
    expires_at: int
    """ns"""


class Timeouts:
    """Those that are still open, as far as transfers have been noted."""

    def __init__(self) -> None:
        self._open: dict[int, _Timed] = {}

    @classmethod
    def of(cls, cluster: Cluster, pending: Iterable[int]) -> Timeouts:
        """Those among open pending transfers, by id: an import does not keep timeouts."""
        timeouts = cls()
        timeouts.note(cluster.lookup_transfers(list(pending)))
        return timeouts

    def note(self, rows: Rows) -> None:
        """``TRANSFER[n]`` of the cluster have come, in order of time."""
        flags = rows["flags"]
        timed = rows[(flags & PENDING != 0) & (rows["timeout"] != 0)]
        for id_, created_at, seconds in zip(
            ids_of(timed), timed["timestamp"].tolist(), timed["timeout"].tolist(), strict=True
        ):
            self._open[id_] = _Timed(created_at, created_at + seconds * NS_PER_SECOND)
        if self._open:
            self.forget(ids_of(rows[flags & RESOLVING != 0], "pending_id"))

    def forget(self, ids: Iterable[int]) -> None:
        """They are open no more."""
        for id_ in ids:
            self._open.pop(id_, None)

    def ended(
        self, cluster: Cluster, until: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """What expired up to a time at which no transfer before is to come, as (id, when in ns).

        The cluster tells when. The second list is of those of which it knows no events at all, as
        it may be of old ones: they expired when their time had run out, or soon after.
        """
        due = {id_: it for id_, it in self._open.items() if it.expires_at <= until}
        if not due:
            return [], []
        first = min(it.expires_at for it in due.values())
        found = {
            id_: timestamp
            for page in cluster.change_events(first, until)
            for id_, timestamp in expired(page)
            if id_ in due
        }
        unknown = [
            (id_, it.expires_at)
            for id_, it in sorted(due.items(), key=lambda item: item[1].expires_at)
            if id_ not in found
            and it.expires_at + GRACE_NS <= until
            and next(cluster.change_events(it.created_at, it.created_at), None) is None
        ]
        return list(found.items()), unknown


def open_pendings(state: LedgerState) -> list[int]:
    """The ids of the open pending transfers."""
    opened = np.frombuffer(state.pending_transfers.dump()["open"], OPEN)
    return ids_of(opened["row"])
