"""Requests to a cluster in rows, over one session, each with a timeout and no retry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final, Self

import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ACCOUNT, CREATE_RESULT, TRANSFER, Rows
from nostro.journal.rows import u128_words
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX, ClusterConfiguration
from nostro.projections.tigerbeetle.operations import BY_TIME, EVENT_KINDS, Operation
from nostro.projections.tigerbeetle.rows.change_events import CHANGE_EVENT, changes_between
from nostro.projections.tigerbeetle.session.session import Connect, Reply, Session

ID: Final = np.dtype(("<u8", (2,)))
_USER_DATA: Final = [
    (name, ACCOUNT[name]) for name in ("user_data_128", "user_data_64", "user_data_32")
]
QUERY_FILTER: Final = np.dtype(
    [*_USER_DATA, ("ledger", "<u4"), ("code", "<u2"), ("reserved", "u1", (6,)), *BY_TIME,
     ("flags", "<u4")]
)  # fmt: skip
"""TigerBeetle's filter of queries, 64 bytes."""
ACCOUNT_FILTER: Final = np.dtype(
    [("account_id", ACCOUNT["id"]), *_USER_DATA, ("code", "<u2"), ("reserved", "u1", (58,)),
     *BY_TIME, ("flags", "<u4")]
)  # fmt: skip
"""TigerBeetle's filter of one account's transfers, 128 bytes."""
if QUERY_FILTER.itemsize != 64 or ACCOUNT_FILTER.itemsize != 128:
    raise AssertionError("a filter's layout does not have TigerBeetle's size")
_DEBITS_AND_CREDITS: Final = 3
REVERSED: Final = 1


class Cluster:
    """One session and its configuration. Not thread-safe.

    Every call raises ConnectionFailed when there is no answer in time.
    """

    def __init__(self, configuration: ClusterConfiguration, connect: Connect) -> None:
        self.configuration = configuration
        self._session = connect()

    def create(self, kind: RecordKind, rows: Rows) -> Future[Reply]:
        """Begin to create ``ACCOUNT[n]`` or ``TRANSFER[n]``, n up to 8,189; see :meth:`results`."""
        return self._session.submit(EVENT_KINDS[kind].create, rows)

    def results(self, future: Future[Reply]) -> tuple[Rows, int]:
        """``CREATE_RESULT[n]`` of what was begun, and the cluster's clock then, ns."""
        reply = self._wait(future)
        return np.frombuffer(reply.data, CREATE_RESULT), reply.timestamp

    def look_up(self, kind: RecordKind, ids: Sequence[int]) -> Rows:
        """The rows that exist, in the order asked for."""
        its, count_max = EVENT_KINDS[kind], self.configuration.batch_events_max
        parts = [
            self._rows(its.look_up, id_words(ids[at : at + count_max]), its.dtype)
            for at in range(0, len(ids), count_max)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, its.dtype)

    def query(self, kind: RecordKind, query: Rows) -> Rows:
        """The rows that a ``QUERY_FILTER[1]`` selects, one message of them at most."""
        return self._rows(EVENT_KINDS[kind].query, query, EVENT_KINDS[kind].dtype)

    def newest(self, kind: RecordKind) -> Rows:
        """The newest row by timestamp; none if the cluster has none."""
        return self.query(kind, by_time(limit=1, is_reversed=True))

    def pages(
        self, kind: RecordKind, *, after: int = 0, until: int | None = None
    ) -> Iterator[Rows]:
        """Yield pages of rows by timestamp; the next is requested while the caller works on one.

        Args:
            after: the rows are later than this, ns.
            until: the last time, ns; None for no bound.
        """
        its, count_max = EVENT_KINDS[kind], self.configuration.batch_events_max
        if until is not None and after >= until:
            return

        def request(after: int) -> Future[Reply]:
            query = by_time(timestamp_min=after + 1, timestamp_max=until or 0, limit=count_max)
            return self._session.submit(its.query, query)

        future = request(after)
        while True:
            page = np.frombuffer(self._wait(future).data, its.dtype)
            if not len(page):  # a short page need not be the last: a server may hold smaller ones
                return
            after = int(page["timestamp"][-1])
            more = until is None or after < until
            if more:
                future = request(after)
            yield page
            if not more:
                return

    def has_transfers(self, account_id: int) -> bool:
        """Whether any transfer names the account."""
        query = np.zeros(1, ACCOUNT_FILTER)
        query["account_id"] = id_words([account_id])
        query["limit"] = 1
        query["flags"] = _DEBITS_AND_CREDITS
        return len(self._rows(Operation.GET_ACCOUNT_TRANSFERS, query, TRANSFER)) > 0

    def change_events(self, timestamp_min: int, timestamp_max: int) -> Iterator[Rows]:
        """Pages of ``CHANGE_EVENT[m]`` by timestamp, both ends included, ns."""
        while timestamp_min <= timestamp_max:
            query = changes_between(timestamp_min, timestamp_max)
            page = self._rows(Operation.GET_CHANGE_EVENTS, query, CHANGE_EVENT)
            if not len(page):
                return
            yield page
            timestamp_min = int(page["timestamp"][-1]) + 1

    def now(self) -> int:
        """The cluster's clock, ns: every event it creates from here on is later."""
        query = id_words([1])
        return self._wait(self._session.submit(Operation.LOOKUP_ACCOUNTS, query)).timestamp

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, operation: Operation, body: Rows, dtype: np.dtype[np.void]) -> Rows:
        return np.frombuffer(self._wait(self._session.submit(operation, body)).data, dtype)

    def _wait(self, future: Future[Reply]) -> Reply:
        try:
            return future.result(self.configuration.timeout_seconds)
        except FutureTimeout:
            raise self.configuration.unreachable() from None


def native_connect(configuration: ClusterConfiguration) -> Connect:
    """A function that opens sessions with the cluster through TigerBeetle's client library.

    The first session loads the library, and raises ClientMissing if it is not installed.
    """

    def connect() -> Session:
        from nostro.projections.tigerbeetle.session.native import NativeSession  # noqa: PLC0415  # an extra

        return NativeSession(configuration)

    return connect


def by_time(
    *,
    timestamp_min: int = 0,
    timestamp_max: int = 0,
    limit: int = BATCH_EVENTS_MAX,
    is_reversed: bool = False,
) -> Rows:
    """``QUERY_FILTER[1]`` that selects by time alone; 0 does not filter."""
    query = np.zeros(1, QUERY_FILTER)
    query["timestamp_min"] = timestamp_min
    query["timestamp_max"] = timestamp_max
    query["limit"] = limit
    query["flags"] = REVERSED if is_reversed else 0
    return query


def id_words(ids: Iterable[int]) -> Rows:
    """``u64[n, 2]``, low word first."""
    return np.array([u128_words(id_) for id_ in ids], "<u8").reshape(-1, 2)
