"""Requests with a timeout, sent again when no reply comes.

Ids are unique, so sending again is harmless. But the cluster may have carried out a request that it
did not answer, or may do so later: see
:mod:`nostro.projections.tigerbeetle.ledger.idempotent_create`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nostro.journal.errors import InvalidField, LedgerClosed
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ClusterError,
    ConnectionFailed,
    RequestRefused,
    SessionClosed,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.effects import AwaitReply, Effects, Sleep
from nostro.projections.tigerbeetle.session.pool import SessionPool
from nostro.projections.tigerbeetle.session.session import Reply


class Answer(NamedTuple):
    data: bytes
    is_resent: bool
    """The cluster may have carried out an earlier attempt, too."""


class Unanswered(Exception):
    """The last attempt failed, too."""

    def __init__(self, cause: ClusterError, *, is_sent: bool) -> None:
        self.cause = cause
        self.is_sent = is_sent
        """The cluster may have carried out an attempt, or may do so later."""


class RetryingClient:
    """Requests to one cluster. Thread-safe."""

    def __init__(
        self, configuration: ClusterConfiguration, pool: SessionPool, *,
        attempts_max: int, breaker: Callable[[], Breaker],
    ) -> None:  # fmt: skip
        if attempts_max < 1:
            raise InvalidField("attempts_max", attempts_max, "must be at least 1")
        self.configuration = configuration
        self._pool = pool
        self._attempts_max = attempts_max
        self._breaker = breaker
        self.timestamp = 0
        """The cluster's clock at its latest reply, ns: events it creates from now on are later."""

    def send(self, operation: Operation, body: Rows) -> Effects[Answer]:
        """Send a request until it is answered, at most ``attempts_max`` times.

        Raises:
            LedgerClosed: nothing was sent.
            Unanswered: no attempt was answered.
        """
        breaker = self._breaker()
        is_sent = False
        cause: ClusterError = SessionClosed()
        while True:
            try:
                sent = self._pool.submit(operation, body)
            except LedgerClosed:
                if not is_sent:
                    raise
                raise Unanswered(cause, is_sent=True) from None
            except ClusterError as error:
                cause = error
            else:
                try:
                    reply = yield AwaitReply(sent.future, self.configuration.timeout_seconds)
                except TimeoutError:
                    cause = self.configuration.unreachable()
                except ClusterError as error:
                    cause = error
                else:
                    return self._answer(reply, is_resent=is_sent)
                is_sent = is_sent or isinstance(cause, ConnectionFailed)
                if not isinstance(cause, RequestRefused):
                    self._pool.discard(sent.session)
            may_pass = isinstance(cause, ConnectionFailed)
            seconds = breaker.failed()
            if not may_pass or breaker.failures >= self._attempts_max:
                raise Unanswered(cause, is_sent=is_sent)
            yield Sleep(seconds)

    def read(self, operation: Operation, body: Rows) -> Effects[bytes]:
        """The reply to a request that only reads.

        Raises:
            LedgerClosed: the ledger was closed before the reply came.
            ClusterError: see :mod:`nostro.projections.tigerbeetle.errors`.
        """
        try:
            answer = yield from self.send(operation, body)
        except Unanswered as failure:
            self._pool.check_open()
            raise failure.cause from None
        return answer.data

    def _answer(self, reply: Reply | None, *, is_resent: bool) -> Answer:
        if reply is None:
            raise AssertionError("resumed without a reply")
        self.timestamp = max(self.timestamp, reply.timestamp)
        return Answer(reply.data, is_resent)
