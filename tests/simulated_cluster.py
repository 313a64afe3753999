"""A cluster behind the seam of a session that is a ledger of our own, and fails when it is told to.

What it answers are our rules, which `tests/differential` holds against TigerBeetle's. A mirror,
whose answers must not come from the rules it mirrors, has `tests/tigerbeetle/simulated.py`: there
the rules share no code with ours, and faults are drawn from a seed. Here a test says what goes
wrong, threads and tasks wait, and every operation is answered.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from nostro import (
    AccountFilter,
    AccountFilterFlags,
    Ledger,
    QueryFilter,
    QueryFilterFlags,
)
from nostro.journal.model import CREATE_RESULT, Rows
from nostro.journal.rows import account_rows, field_ints, transfer_rows, u128_words
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ClusterError,
    HostUnknown,
    RequestRefused,
    SessionClosed,
    SessionEvicted,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.paged_queries import ACCOUNT_BALANCE
from nostro.projections.tigerbeetle.session.session import Reply
from tests.changes import change_rows

BATCH_EVENTS_MAX: Final = 8_189
CHANGES_MAX: Final = 1_000
"""Fewer than TigerBeetle's, so that readers ask again."""


class Fault(enum.Enum):
    """What becomes of the next request."""

    NONE = enum.auto()
    LOSE_REQUEST = enum.auto()
    LOSE_REPLY = enum.auto()
    ARRIVE_LATE = enum.auto()
    """Nobody is told, and it is carried out after the next request."""
    EVICT_BEFORE = enum.auto()
    EVICT_AFTER = enum.auto()
    REFUSE = enum.auto()


class Impatient(Breaker):
    """Does not wait between attempts."""

    def failed(self) -> float:
        super().failed()
        return 0.0


def configuration(**changes: Any) -> ClusterConfiguration:  # noqa: ANN401
    """With so long a timeout that only what gets no answer at all meets it."""
    return ClusterConfiguration(0, ("127.0.0.1:3001",), **changes)


class SimulatedCluster:
    """Give :meth:`connect` to a ClusterLedger."""

    def __init__(
        self, path: Path, *,
        batch_events_max: int = BATCH_EVENTS_MAX, changes_max: int = CHANGES_MAX,
    ) -> None:  # fmt: skip
        self.ledger = Ledger.open(path, checkpoint_seconds=3_600)
        self.batch_events_max = batch_events_max
        self.changes_max = changes_max
        """So many change events are in a reply."""
        self.faults: deque[Fault | ClusterError] = deque()
        """Of the requests to come, in order; a ClusterError is raised by connecting instead."""
        self.requests: list[tuple[Operation, int]] = []
        """What came, and of how many rows."""
        self.sessions: list[SimulatedSession] = []
        self.late: list[tuple[Operation, Rows]] = []
        self.before_reply: Callable[[], object] = lambda: None

    @property
    def sessions_open(self) -> int:
        return sum(not session.is_closed for session in self.sessions)

    @property
    def has_lost(self) -> bool:
        """Whether somebody waits in vain."""
        return any(session.lost for session in self.sessions)

    def connect(self) -> SimulatedSession:
        if self.faults and isinstance(self.faults[0], HostUnknown):
            raise self.faults.popleft()  # type: ignore[misc]
        session = SimulatedSession(self)
        self.sessions.append(session)
        return session

    def carry_out(self, operation: Operation, body: Rows) -> Reply:
        if len(body) > self.batch_events_max:
            raise RequestRefused(operation.name.lower(), "too much data")
        if operation is Operation.GET_CHANGE_EVENTS:
            body = body.copy()
            body["limit"] = np.minimum(body["limit"], self.changes_max)
        data = _CARRIED_OUT[operation](self.ledger, body)
        reply = Reply(self.ledger.timestamp, data)
        arriving, self.late = self.late, []
        for late, rows in arriving:
            _CARRIED_OUT[late](self.ledger, rows)
        return reply

    def close(self) -> None:
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimulatedSession:
    """Answers while a request is submitted, or never, until it is closed."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.is_closed = False
        self.lost: list[Future[Reply]] = []

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        assert body.flags.c_contiguous
        future: Future[Reply] = Future()
        if self.is_closed:
            future.set_exception(SessionClosed())
            return future
        cluster = self.cluster
        cluster.requests.append((operation, len(body)))
        fault = cluster.faults.popleft() if cluster.faults else Fault.NONE
        if fault is Fault.ARRIVE_LATE:
            cluster.late.append((operation, body.copy()))
        if fault in {Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.ARRIVE_LATE}:
            self.lost.append(future)
        if fault in {Fault.EVICT_BEFORE, Fault.EVICT_AFTER}:
            future.set_exception(SessionEvicted())
        if fault is Fault.REFUSE:
            future.set_exception(RequestRefused(operation.name.lower(), "invalid data size"))
        if fault in {Fault.NONE, Fault.LOSE_REPLY, Fault.EVICT_AFTER}:
            try:
                reply = cluster.carry_out(operation, body)
            except RequestRefused as error:
                future.set_exception(error)
            else:
                cluster.before_reply()
                if fault is Fault.NONE:
                    future.set_result(reply)
        return future

    def close(self) -> None:
        self.is_closed = True
        for future in self.lost:
            if not future.done():
                future.set_exception(SessionClosed())


# --- requests and replies as bytes ---


def _create(ledger: Ledger, body: Rows, *, accounts: bool) -> bytes:
    answered = ledger.create_accounts(body) if accounts else ledger.create_transfers(body)
    assert answered.dtype == CREATE_RESULT
    return answered.tobytes()


def _ids(body: Rows) -> list[int]:
    return field_ints(body)


def _account_filter(body: Rows) -> AccountFilter:
    fields = _fields(body, "account_id", "code")
    return AccountFilter(**fields, flags=AccountFilterFlags(int(body["flags"][0])))


def _query_filter(body: Rows) -> QueryFilter:
    fields = _fields(body, "ledger", "code")
    return QueryFilter(**fields, flags=QueryFilterFlags(int(body["flags"][0])))


def _fields(body: Rows, *more: str) -> dict[str, int]:
    names: Iterable[str] = (
        "user_data_128", "user_data_64", "user_data_32", "timestamp_min", "timestamp_max", *more,
    )  # fmt: skip
    fields = {name: field_ints(body[name])[0] for name in names}
    return {**fields, "limit": min(int(body["limit"][0]), BATCH_EVENTS_MAX)}


def _balances(ledger: Ledger, body: Rows) -> bytes:
    found = ledger.get_account_balances(_account_filter(body))
    rows = np.zeros(len(found), ACCOUNT_BALANCE)
    for row, balance in zip(rows, found, strict=True):
        for name in ("debits_pending", "debits_posted", "credits_pending", "credits_posted"):
            row[name] = u128_words(getattr(balance, name))
        row["timestamp"] = balance.timestamp
    return rows.tobytes()


def _changes(ledger: Ledger, body: Rows) -> bytes:
    first, last, limit, _ = body[0].tolist()
    events = [it for it in ledger.get_change_events(timestamp_min=first) if it.timestamp <= last]
    events.sort(key=lambda event: event.timestamp)
    return change_rows(events[:limit]).tobytes()


_CARRIED_OUT: Final[dict[Operation, Callable[[Ledger, Rows], bytes]]] = {
    Operation.CREATE_ACCOUNTS: lambda ledger, body: _create(ledger, body, accounts=True),
    Operation.CREATE_TRANSFERS: lambda ledger, body: _create(ledger, body, accounts=False),
    Operation.LOOKUP_ACCOUNTS: lambda ledger, body: account_rows(
        ledger.lookup_accounts(_ids(body))
    ).tobytes(),
    Operation.LOOKUP_TRANSFERS: lambda ledger, body: transfer_rows(
        ledger.lookup_transfers(_ids(body))
    ).tobytes(),
    Operation.GET_ACCOUNT_TRANSFERS: lambda ledger, body: transfer_rows(
        ledger.get_account_transfers(_account_filter(body))
    ).tobytes(),
    Operation.GET_ACCOUNT_BALANCES: _balances,
    Operation.QUERY_ACCOUNTS: lambda ledger, body: account_rows(
        ledger.query_accounts(_query_filter(body))
    ).tobytes(),
    Operation.QUERY_TRANSFERS: lambda ledger, body: transfer_rows(
        ledger.query_transfers(_query_filter(body))
    ).tobytes(),
    Operation.GET_CHANGE_EVENTS: _changes,
}
