"""Timeouts of a cluster's pending transfers: which of them ended, and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.rules.values import NS_PER_SECOND, PENDING, RESOLVING
from nostro.projections.state.ledger_state import LedgerState
from nostro.projections.state.pending_transfers import OPEN
from nostro.projections.tigerbeetle.rows.change_events import expired
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.session.cluster import Cluster

GRACE_NS: Final = 10 * NS_PER_SECOND
"""A running cluster expires due transfers within this time."""


class _Timed(NamedTuple):
    created_at: int
    """ns"""
    expires_at: int
    """ns"""


class PendingTimeouts:
    """The open pending transfers with a timeout, among the transfers noted so far."""

    def __init__(self) -> None:
        self._open: dict[int, _Timed] = {}

    @classmethod
    def of(cls, cluster: Cluster, pending: Iterable[int]) -> PendingTimeouts:
        """The timeouts of open pending transfers, given by id: an import does not keep timeouts."""
        timeouts = cls()
        timeouts.note(cluster.look_up(RecordKind.TRANSFERS, list(pending)))
        return timeouts

    def note(self, rows: Rows) -> None:
        """Note the next ``TRANSFER[n]`` of the cluster, in order of time."""
        flags = rows["flags"]
        timed = rows[(flags & PENDING != 0) & (rows["timeout"] != 0)]
        for id_, created_at, seconds in zip(
            ids_of(timed), timed["timestamp"].tolist(), timed["timeout"].tolist(), strict=True
        ):
            self._open[id_] = _Timed(created_at, created_at + seconds * NS_PER_SECOND)
        if self._open:
            self.forget(ids_of(rows[flags & RESOLVING != 0], "pending_id"))

    def forget(self, ids: Iterable[int]) -> None:
        """These are no longer open."""
        for id_ in ids:
            self._open.pop(id_, None)

    def ended(
        self, cluster: Cluster, until: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The timeouts that ended up to a time, as (id, time of expiry in ns).

        The first list has the times of the cluster's change events. The second list holds old
        transfers for which the cluster keeps no change events, with the times their timeouts ended.

        Args:
            until: ns; every transfer up to then must have been noted.
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
