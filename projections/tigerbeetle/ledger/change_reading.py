"""Change events of a cluster, page by page: those of a time span, or new ones as they come.

A cluster does not notify its clients, so a follower polls. Events come in order of time, each has a
time of its own, and a new event is later than all before. (Imported transfers are the exception:
they keep their times, and are later only than other transfers.)
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from nostro.journal.errors import LedgerClosed
from nostro.journal.model import TIMESTAMP_MAX, Rows
from nostro.projections.pipeline.answers import Balances
from nostro.projections.queries.change_events import ChangeEvent
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.rows.change_events import (
    CHANGE_EVENT,
    balances_by_time,
    changes_between,
    events_from_rows,
)
from nostro.projections.tigerbeetle.session.effects import Effects
from nostro.projections.tigerbeetle.session.retrying_client import RetryingClient

PAUSE_SECONDS: Final = 0.5
"""Between two polls when nothing is new. The cluster keeps each request in its log; TigerBeetle's
own publisher polls once a second."""


class ChangeReading:
    """One reader's place in the change events. Not thread-safe."""

    def __init__(
        self, client: RetryingClient, *,
        timestamp_min: int, follow: bool, timeout_seconds: float | None,
    ) -> None:  # fmt: skip
        self._client = client
        self._next = max(timestamp_min, 1)
        self._last = TIMESTAMP_MAX
        self._follow = follow
        self._timeout_seconds = timeout_seconds
        self._has_ended = False
        self._is_idle = False
        self._newest_at = 0.0

    def page(self) -> Effects[list[ChangeEvent]]:
        """The next events; an empty list at the end, or if nothing is new.

        Raises:
            LedgerClosed, ClusterError: see :meth:`RetryingClient.read`; a follower ends instead
                when the ledger is closed.
        """
        try:
            rows = yield from _page(self._client, self._next, self._last)
        except LedgerClosed:
            if not self._follow:
                raise
            self._has_ended = True
            return []
        self._is_idle = not len(rows)
        if len(rows):
            self._next = int(rows["timestamp"][-1]) + 1
        if not self._follow:
            self._last = min(self._last, self._client.timestamp)  # later ones are not asked for
            self._has_ended = self._is_idle or self._next > self._last
        return events_from_rows(rows)

    def pause_seconds(self) -> float | None:
        """The time to wait before the next page; None after the last."""
        if self._has_ended:
            return None
        now = time.monotonic()
        if not self._is_idle:
            self._newest_at = now
            return 0.0
        if self._timeout_seconds is None:
            return PAUSE_SECONDS
        left = self._newest_at + self._timeout_seconds - now
        return min(left, PAUSE_SECONDS) if left > 0 else None


def balances_after(
    client: RetryingClient, timestamps: Sequence[int]
) -> Effects[list[tuple[Balances, ...]]]:
    """The balances of both accounts just after each of these transfers, given by rising times.

    Empty for a transfer whose event the cluster does not keep.
    """
    found: dict[int, tuple[Balances, ...]] = {}
    at = 0
    while at < len(timestamps):
        rows = yield from _page(client, timestamps[at], timestamps[-1])
        if not len(rows):
            break
        found.update(balances_by_time(rows))
        at = bisect_right(timestamps, int(rows["timestamp"][-1]))
    return [found.get(timestamp, ()) for timestamp in timestamps]


def _page(client: RetryingClient, first: int, last: int) -> Effects[Rows]:
    """``CHANGE_EVENT[m]``, by time; both ends are included, ns."""
    body = changes_between(first, last)
    data = yield from client.read(Operation.GET_CHANGE_EVENTS, body)
    return np.frombuffer(data, CHANGE_EVENT)
