"""Requests to a cluster in rows, each with a time after which it counts as unanswered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final, Self

import numpy as np

from nostro.journal.model import ACCOUNT, CREATE_RESULT, TRANSFER, Rows
from nostro.journal.rows import u128_words
from nostro.projections.tigerbeetle.configuration import (
    BATCH_EVENTS_MAX,
    ClusterConfiguration,
)
from nostro.projections.tigerbeetle.errors import ClusterUnreachable
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.rows.change_events import CHANGE_EVENT, changes_between
from nostro.projections.tigerbeetle.session.session import Connect, Reply, Session

ID: Final = np.dtype(("<u8", (2,)))
QUERY_FILTER: Final = np.dtype(
    [
        ("user_data_128", "<u8", (2,)),
        ("user_data_64", "<u8"),
        ("user_data_32", "<u4"),
        ("ledger", "<u4"),
        ("code", "<u2"),
        ("reserved", "u1", (6,)),
        ("timestamp_min", "<u8"),
        ("timestamp_max", "<u8"),
        ("limit", "<u4"),
        ("flags", "<u4"),
    ]
)
"""TigerBeetle's filter of queries, 64 bytes."""
ACCOUNT_FILTER: Final = np.dtype(
    [
        ("account_id", "<u8", (2,)),
        ("user_data_128", "<u8", (2,)),
        ("user_data_64", "<u8"),
        ("user_data_32", "<u4"),
        ("code", "<u2"),
        ("reserved", "u1", (58,)),
        ("timestamp_min", "<u8"),
        ("timestamp_max", "<u8"),
        ("limit", "<u4"),
        ("flags", "<u4"),
    ]
)
"""TigerBeetle's filter of one account's transfers, 128 bytes."""
_DEBITS_AND_CREDITS: Final = 3
REVERSED: Final = 1


class Cluster:
    """A session and its configuration. Not thread-safe.

    Every call raises ConnectionFailed when there is no answer in time.
    """

    def __init__(self, configuration: ClusterConfiguration, connect: Connect) -> None:
        self.configuration = configuration
        self._session = connect()

    def create_accounts(self, rows: Rows) -> Future[Reply]:
        """Begin to create ``ACCOUNT[n]``, n up to 8,189; see :meth:`results`."""
        return self._session.submit(Operation.CREATE_ACCOUNTS, rows)

    def create_transfers(self, rows: Rows) -> Future[Reply]:
        """Begin to create ``TRANSFER[n]``, n up to 8,189; see :meth:`results`."""
        return self._session.submit(Operation.CREATE_TRANSFERS, rows)

    def results(self, future: Future[Reply]) -> tuple[Rows, int]:
        """``CREATE_RESULT[n]`` of what was begun, and the cluster's clock then, ns."""
        reply = self._wait(future)
        return np.frombuffer(reply.data, CREATE_RESULT), reply.timestamp

    def lookup_accounts(self, ids: Sequence[int]) -> Rows:
        """``ACCOUNT[m]`` of those that are there."""
        return self._lookup(Operation.LOOKUP_ACCOUNTS, ids, ACCOUNT)

    def lookup_transfers(self, ids: Sequence[int]) -> Rows:
        """``TRANSFER[m]`` of those that are there."""
        return self._lookup(Operation.LOOKUP_TRANSFERS, ids, TRANSFER)

    def query_accounts(self, query: Rows) -> Rows:
        """``ACCOUNT[m]``, of a ``QUERY_FILTER[1]``."""
        return self._rows(Operation.QUERY_ACCOUNTS, query, ACCOUNT)

    def query_transfers(self, query: Rows) -> Rows:
        """``TRANSFER[m]``, of a ``QUERY_FILTER[1]``."""
        return self._rows(Operation.QUERY_TRANSFERS, query, TRANSFER)

    def newest_account(self) -> Rows:
        """``ACCOUNT[1]``, by timestamp; ``ACCOUNT[0]`` when there is none."""
        return self.query_accounts(by_time(limit=1, is_reversed=True))

    def newest_transfer(self) -> Rows:
        """``TRANSFER[1]``, by timestamp; ``TRANSFER[0]`` when there is none."""
        return self.query_transfers(by_time(limit=1, is_reversed=True))

    def accounts(self, *, timestamp_min: int = 0, timestamp_max: int = 0) -> Iterator[Rows]:
        """Pages of ``ACCOUNT[m]`` by timestamp; the next is asked for while one is worked on."""
        return self._pages(Operation.QUERY_ACCOUNTS, ACCOUNT, timestamp_min, timestamp_max)

    def transfers(self, *, timestamp_min: int = 0, timestamp_max: int = 0) -> Iterator[Rows]:
        """Pages of ``TRANSFER[m]`` by timestamp; the next is asked for while one is worked on."""
        return self._pages(Operation.QUERY_TRANSFERS, TRANSFER, timestamp_min, timestamp_max)

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
        """The cluster's clock, ns: whatever it carries out from here on is later."""
        query = id_words([1])
        return self._wait(self._session.submit(Operation.LOOKUP_ACCOUNTS, query)).timestamp

    def probe(self) -> None:
        """Return once the cluster has answered a look-up of nothing that is there."""
        self.now()

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lookup(self, operation: Operation, ids: Sequence[int], dtype: np.dtype[np.void]) -> Rows:
        count_max = self.configuration.batch_events_max
        parts = [
            self._rows(operation, id_words(ids[at : at + count_max]), dtype)
            for at in range(0, len(ids), count_max)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    def _pages(
        self, operation: Operation, dtype: np.dtype[np.void], timestamp_min: int, timestamp_max: int
    ) -> Iterator[Rows]:
        count_max = self.configuration.batch_events_max

        def ask(timestamp_min: int) -> Future[Reply]:
            query = by_time(
                timestamp_min=timestamp_min, timestamp_max=timestamp_max, limit=count_max
            )
            return self._session.submit(operation, query)

        future = ask(timestamp_min)
        while True:
            page = np.frombuffer(self._wait(future).data, dtype)
            if not len(page):  # a short page need not be the last: a server may hold smaller ones
                return
            following = int(page["timestamp"][-1]) + 1
            more = not timestamp_max or following <= timestamp_max
            if more:
                future = ask(following)
            yield page
            if not more:
                return

    def _rows(self, operation: Operation, body: Rows, dtype: np.dtype[np.void]) -> Rows:
        return np.frombuffer(self._wait(self._session.submit(operation, body)).data, dtype)

    def _wait(self, future: Future[Reply]) -> Reply:
        seconds = self.configuration.timeout_seconds
        try:
            return future.result(seconds)
        except FutureTimeout:
            replicas = ",".join(self.configuration.replicas)
            raise ClusterUnreachable(self.configuration.cluster_id, replicas, seconds) from None


def native_connect(configuration: ClusterConfiguration) -> Connect:
    """What opens sessions with the cluster itself, by TigerBeetle's client library.

    The library is loaded with the first of them; ClientMissing is raised then if it is not there.
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
