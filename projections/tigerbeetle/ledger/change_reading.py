"""Change events of a cluster, page by page: all of a time, or more as they come.

A cluster tells nobody that something happened, so whoever follows asks again and again. Events come
in order of time, and each has a time of its own; what happens is later than what happened. (But for
imported transfers, which are as early as they say, and later only than other transfers.)
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
from nostro.projections.tigerbeetle.session.effects import Steps
from nostro.projections.tigerbeetle.session.exchange import Exchange

PAUSE_SECONDS: Final = 0.5
"""Between two questions when nothing is new. Each is a request that the cluster keeps in its log;
TigerBeetle's own publisher asks once a second."""


class ChangeReading:
    """How far somebody has read. Not thread-safe."""

    def __init__(
        self, exchange: Exchange, *,
        timestamp_min: int, follow: bool, timeout_seconds: float | None,
    ) -> None:  # fmt: skip
        self._exchange = exchange
        self._next = max(timestamp_min, 1)
        self._last = TIMESTAMP_MAX
        self._follow = follow
        self._timeout_seconds = timeout_seconds
        self._has_ended = False
        self._is_idle = False
        self._heard_at = 0.0

    def page(self) -> Steps[list[ChangeEvent]]:
        """The next events there are; none at the end, or as long as nothing happens.

        Raises:
            LedgerClosed, ClusterError: see :meth:`Exchange.read`; closing ends following instead.
        """
        try:
            rows = yield from _page(self._exchange, self._next, self._last)
        except LedgerClosed:
            if not self._follow:
                raise
            self._has_ended = True
            return []
        self._is_idle = not len(rows)
        if len(rows):
            self._next = int(rows["timestamp"][-1]) + 1
        if not self._follow:
            self._last = min(self._last, self._exchange.timestamp)  # later ones are not asked for
            self._has_ended = self._is_idle or self._next > self._last
        return events_from_rows(rows)

    def pause_seconds(self) -> float | None:
        """How long to wait before the next page; None after the last."""
        if self._has_ended:
            return None
        now = time.monotonic()
        if not self._is_idle:
            self._heard_at = now
            return 0.0
        if self._timeout_seconds is None:
            return PAUSE_SECONDS
        left = self._heard_at + self._timeout_seconds - now
        return min(left, PAUSE_SECONDS) if left > 0 else None


def balances_after(
    exchange: Exchange, timestamps: Sequence[int]
) -> Steps[list[tuple[Balances, ...]]]:
    """The balances of both accounts just after each of these transfers, given by rising times.

    Nothing for those of which the cluster keeps no event.
    """
    found: dict[int, tuple[Balances, ...]] = {}
    at = 0
    while at < len(timestamps):
        rows = yield from _page(exchange, timestamps[at], timestamps[-1])
        if not len(rows):
            break
        found.update(balances_by_time(rows))
        at = bisect_right(timestamps, int(rows["timestamp"][-1]))
    return [found.get(timestamp, ()) for timestamp in timestamps]


def _page(exchange: Exchange, first: int, last: int) -> Steps[Rows]:
    """``CHANGE_EVENT[m]``, by time; both ends are included, ns."""
    body = changes_between(first, last)
    data = yield from exchange.read(Operation.GET_CHANGE_EVENTS, body)
    return np.frombuffer(data, CHANGE_EVENT)
