"""A TigerBeetle cluster that is none: the naive model's rules behind the client's requests.

It answers in rows what TigerBeetle answers, from :class:`tests.property.model.Model`, which shares
no code with the rules of this project. Its sessions fail as real ones do, drawn from a seed:
requests and replies are lost, sessions are evicted, the cluster restarts, the clock is behind. And
what a session had sent before it was closed may be carried out much later: at most one request of
it, for a client sends the next one only when it has its answer.

No time passes: what has no answer has none at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from random import Random
from typing import Any, Final, TypeVar

import attrs
import numpy as np

from nostro import Account, Transfer
from nostro.journal.model import ACCOUNT, CREATE_RESULT, TRANSFER, Rows
from nostro.journal.rows import account_rows, accounts_from_rows, transfer_rows, transfers_from_rows
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    RequestRefused,
    SessionClosed,
    SessionEvicted,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.cluster import ID, QUERY_FILTER, REVERSED
from nostro.projections.tigerbeetle.session.session import Reply
from tests.property.model import Model

Event = TypeVar("Event", Account, Transfer)
CONFIGURATION: Final = ClusterConfiguration(
    7, ("10.0.0.1:3001",), timeout_seconds=1e-9, linger_seconds=0.0
)
"""For simulated clusters: nobody waits for an answer that is not there."""
_ROW_BYTES: Final = dict.fromkeys(Operation, 128) | {
    Operation.LOOKUP_ACCOUNTS: 16,
    Operation.LOOKUP_TRANSFERS: 16,
    Operation.QUERY_ACCOUNTS: 64,
    Operation.QUERY_TRANSFERS: 64,
}
CREATING: Final = frozenset({Operation.CREATE_ACCOUNTS, Operation.CREATE_TRANSFERS})


class _Rules(Model):
    """The model where all is imported: the newest is the last."""

    def _regresses(
        self,
        event: Account | Transfer,
        of_its_kind: Mapping[int, Account | Transfer],
        others: Mapping[int, Account | Transfer],
    ) -> bool:
        last = dict(list(of_its_kind.items())[-1:])
        # private: the model's rules but for this one
        return super()._regresses(event, last, others)


@attrs.define
class SimulatedCluster:
    """What a cluster holds; it outlives sessions. Carries out one request after the other."""

    clock: Callable[[], int]
    """ns; what is asked of it may be in its future."""
    batch_events_max: int = 8_189
    rules: Model = attrs.field(factory=_Rules)
    requests: list[tuple[Operation, int]] = attrs.field(factory=list)
    """What was carried out: operation and number of rows."""

    @property
    def accounts(self) -> list[Account]:
        """In the order in which they came."""
        return list(self.rules.accounts.values())

    @property
    def transfers(self) -> list[Transfer]:
        """In the order in which they came."""
        return list(self.rules.transfers.values())

    def connect(self) -> Session:
        """A session without faults."""
        return Session(self)

    def carry_out(self, operation: Operation, data: bytes) -> Reply:
        """Raises RequestRefused when it is more than a message holds."""
        now = max(self.clock(), self.rules.last + 1)
        reply = self._answer(operation, data, now)
        return Reply(now, reply.tobytes())

    def _answer(self, operation: Operation, data: bytes, now: int) -> Rows:
        if operation is Operation.CREATE_ACCOUNTS:
            accounts = accounts_from_rows(self._rows(operation, data, ACCOUNT))
            return _results(self.rules.create_accounts(accounts, now))
        if operation is Operation.CREATE_TRANSFERS:
            transfers = transfers_from_rows(self._rows(operation, data, TRANSFER))
            return _results(self.rules.create_transfers(transfers, now))
        if operation is Operation.LOOKUP_ACCOUNTS:
            ids = _ids(self._rows(operation, data, ID))
            known = self.rules.accounts
            return account_rows([known[id_] for id_ in ids if id_ in known])
        if operation is Operation.LOOKUP_TRANSFERS:
            ids = _ids(self._rows(operation, data, ID))
            sent = self.rules.transfers
            return transfer_rows([sent[id_] for id_ in ids if id_ in sent])
        [query] = self._rows(operation, data, QUERY_FILTER)
        if operation is Operation.QUERY_ACCOUNTS:
            return account_rows(self._selected(query, self.accounts))
        assert operation is Operation.QUERY_TRANSFERS
        return transfer_rows(self._selected(query, self.transfers))

    def _rows(self, operation: Operation, data: bytes, dtype: np.dtype[np.void]) -> Rows:
        self.requests.append((operation, len(data) // dtype.itemsize))
        if self.requests[-1][1] > self.batch_events_max:
            raise RequestRefused(operation.name.lower(), "too much data")
        if dtype == ID:
            return np.frombuffer(data, "<u8").reshape(-1, 2)
        return np.frombuffer(data, dtype)

    def _selected(self, query: np.void, events: list[Event]) -> list[Event]:
        """By time alone, which is all that a mirror asks for."""
        low, high = int(query["timestamp_min"]), int(query["timestamp_max"]) or 2**64 - 1
        events = [event for event in events if low <= event.timestamp <= high]
        if query["flags"] & REVERSED:
            events.reverse()
        return events[: min(int(query["limit"]), self.batch_events_max)]


class Lost(Future[Reply]):
    """An answer that comes when somebody waits for it, if it comes at all."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def result(self, timeout: float | None = None) -> Reply:
        self._session.work(until=self)
        return super().result(timeout)


@attrs.define
class _Request:
    operation: Operation
    data: bytes
    future: Lost
    joins: bool = False
    """Whether it is part of the message that the one before it begins."""

    @property
    def rows(self) -> int:
        return len(self.data) // _ROW_BYTES[self.operation]


class Session:
    """One client's session; its requests are carried out when their answers are waited for."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.waiting: list[_Request] = []
        """What was submitted and not carried out, in order."""
        self.is_closed = False
        self.in_flight_max = 0
        """So many requests that create were waiting for their answers at once."""

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        future = Lost(self)
        if self.is_closed:
            future.set_exception(SessionClosed())
            return future
        assert body.flags.c_contiguous
        self._take_in(_Request(operation, body.tobytes(), future))
        creating = sum(request.operation in CREATING for request in self.waiting)
        self.in_flight_max = max(self.in_flight_max, creating)
        return future

    def _take_in(self, request: _Request) -> None:
        """Where the client library puts it: with the first of its kind that waits and has room.

        The first of all is under way; what is put together is sent as one message.
        """
        at, messages = 1, self._messages(self.waiting[1:])
        for message in messages:
            at += len(message)
            rows = sum(one.rows for one in message) + request.rows
            if message[0].operation is request.operation and rows <= self.cluster.batch_events_max:
                request.joins = True
                self.waiting.insert(at, request)
                return
        self.waiting.append(request)

    @staticmethod
    def _messages(waiting: list[_Request]) -> list[list[_Request]]:
        messages: list[list[_Request]] = []
        for request in waiting:
            if request.joins and messages:
                messages[-1].append(request)
            else:
                messages.append([request])
        return messages

    def work(self, until: Lost) -> None:
        """Carry out what comes before ``until``, and ``until``."""
        while not until.done() and self.waiting:
            if not self.carry_out_next():
                return

    def carry_out_next(self) -> bool:
        """False when there will be no answer."""
        request = self.waiting.pop(0)
        try:
            request.future.set_result(self.cluster.carry_out(request.operation, request.data))
        except RequestRefused as error:
            request.future.set_exception(error)
        return True

    def close(self) -> None:
        self.end_with(SessionClosed())

    def end_with(self, error: SessionClosed | SessionEvicted) -> None:
        self.is_closed = True
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            request.future.set_exception(error)


@attrs.define
class Network:
    """What lies between a cluster and its clients, and what goes wrong there."""

    cluster: SimulatedCluster
    chance: Random
    rate: float = 0.0
    """The share of requests that something happens to."""
    sessions: list[FaultySession] = attrs.field(factory=list)
    late: list[tuple[Operation, bytes]] = attrs.field(factory=list)
    """Sent by sessions that are gone, and still under way."""
    told: list[str] = attrs.field(factory=list)
    """What went wrong, in order."""

    def connect(self) -> FaultySession:
        session = FaultySession(self.cluster, self)
        self.sessions.append(session)
        return session

    def calm(self) -> None:
        """Nothing goes wrong any more, and what was under way arrives."""
        self.rate = 0.0
        while self.late:
            self.deliver_late()

    def deliver_late(self) -> None:
        operation, data = self.late.pop(self.chance.randrange(len(self.late)))
        self.told.append(f"late {operation.name}")
        self.cluster.carry_out(operation, data)

    def restart(self) -> None:
        """The cluster's processes begin anew: nobody is answered, and nothing is lost."""
        for session in self.sessions:
            session.is_stuck = True


class FaultySession(Session):
    def __init__(self, cluster: SimulatedCluster, network: Network) -> None:
        super().__init__(cluster)
        self._network = network
        self.is_stuck = False
        """The client waits for an answer that does not come."""

    def carry_out_next(self) -> bool:
        network, chance = self._network, self._network.chance
        if self.is_stuck:
            return False
        while network.late and chance.random() < 0.3:
            network.deliver_late()
        if chance.random() >= network.rate:
            return super().carry_out_next()
        fault = chance.choice(("request lost", "reply lost", "evicted", "restart", "executed"))
        network.told.append(f"{fault} {self.waiting[0].operation.name}")
        if fault == "restart":
            network.restart()
        elif fault == "evicted":
            network.sessions.remove(self)
            self.end_with(SessionEvicted())
        elif fault == "request lost":
            self.is_stuck = True
        else:  # the reply gets lost, and maybe the cluster restarts then
            request = self.waiting[0]
            self.cluster.carry_out(request.operation, request.data)
            self.is_stuck = True
            if fault == "executed":
                network.restart()
        return False

    def close(self) -> None:
        if not self.is_closed:
            network = self._network
            network.sessions.remove(self)
            if self.waiting and network.chance.random() < 0.5:
                sent = self.waiting[0]  # maybe for the second time, if only the reply was lost
                if sent.operation in CREATING:
                    network.late.append((sent.operation, sent.data))
        super().close()


def _results(answers: list[Any]) -> Rows:
    results = np.zeros(len(answers), CREATE_RESULT)
    results["timestamp"] = [answer.timestamp for answer in answers]
    results["status"] = [int(answer.status) for answer in answers]
    return results


def _ids(words: Rows) -> list[int]:
    return [low | high << 64 for low, high in words.tolist()]
