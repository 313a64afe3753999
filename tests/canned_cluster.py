"""A cluster that only answers: rows in memory, served as TigerBeetle serves them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import attrs
import numpy as np

from nostro import ACCOUNT, TRANSFER
from nostro.journal.model import Rows
from nostro.journal.rows import field_ints
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.rows.change_events import CHANGE_EVENT
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.session.cluster import QUERY_FILTER, REVERSED
from nostro.projections.tigerbeetle.session.session import Reply

CONFIGURATION = ClusterConfiguration(cluster_id=7, replicas=("127.0.0.1:1",), timeout_seconds=0.2)


def nothing(_operation: Operation, _body: Rows) -> None:
    """Happens before a request."""


@attrs.define
class CannedCluster:
    """Both in order of time. It has no rules, so a test can make it hold anything."""

    accounts: Rows = attrs.field(factory=lambda: np.zeros(0, ACCOUNT))
    transfers: Rows = attrs.field(factory=lambda: np.zeros(0, TRANSFER))
    changes: Rows = attrs.field(factory=lambda: np.zeros(0, CHANGE_EVENT))
    page_rows: int = 8_189
    """No answer holds more."""
    before: Callable[[Operation, Rows], None] = nothing
    """Called with each request, before it is answered."""
    asked: list[tuple[Operation, Rows]] = attrs.field(factory=list)

    @property
    def now(self) -> int:
        """Just after the last that happened, ns."""
        parts = (self.accounts, self.transfers, self.changes)
        return max(int(rows["timestamp"].max(initial=0)) for rows in parts) + 1

    def connect(self) -> CannedCluster:
        return self

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        future: Future[Reply] = Future()
        self.asked.append((operation, body.copy()))
        try:
            self.before(operation, body)
            answer = self._answer(operation, body)
            future.set_result(Reply(self.now, answer.tobytes()))
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            future.set_exception(error)
        return future

    def close(self) -> None:
        pass

    def _answer(self, operation: Operation, body: Rows) -> Rows:
        if operation in {Operation.LOOKUP_ACCOUNTS, Operation.LOOKUP_TRANSFERS}:
            rows = self.accounts if operation is Operation.LOOKUP_ACCOUNTS else self.transfers
            places = {id_: place for place, id_ in enumerate(ids_of(rows))}
            return rows[[places[id_] for id_ in field_ints(body) if id_ in places]]
        if operation in {Operation.QUERY_ACCOUNTS, Operation.QUERY_TRANSFERS}:
            rows = self.accounts if operation is Operation.QUERY_ACCOUNTS else self.transfers
            return self._page(rows, body)
        if operation is Operation.GET_ACCOUNT_TRANSFERS:
            sides = (self.transfers[f"{side}_account_id"] for side in ("debit", "credit"))
            named = [(side == body["account_id"]).all(1) for side in sides]
            return self._page(self.transfers[named[0] | named[1]], body)
        if operation is Operation.GET_CHANGE_EVENTS:
            return self._page(self.changes, body)
        raise AssertionError(f"{operation.name} was not expected")

    def _page(self, rows: Rows, query: Rows) -> Rows:
        first, last = int(query["timestamp_min"][0]), int(query["timestamp_max"][0])
        rows = rows[rows["timestamp"] >= first]
        if last:
            rows = rows[rows["timestamp"] <= last]
        if query.dtype == QUERY_FILTER and query["flags"][0] & REVERSED:
            rows = rows[::-1]
        return rows[: min(int(query["limit"][0]), self.page_rows)]


def without(rows: Rows, *ids: int) -> Rows:
    """The rows but for those ids."""
    return rows[[id_ not in ids for id_ in ids_of(rows)]]
