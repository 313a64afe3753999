"""A ledger that a TigerBeetle cluster keeps, with the methods of the embedded ledger.

There is no journal. TigerBeetle carries requests out; ``idempotent_create.py`` decides the answer
when a request had to be sent again.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, Final, ParamSpec, Self

from nostro.journal.format.codec import RecordKind
from nostro.projections.pipeline.create_methods import CreateMethods
from nostro.projections.queries.change_events import ChangeEvent, check_reading
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.ledger.change_reading import ChangeReading
from nostro.projections.tigerbeetle.ledger.requests import Requests
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.cluster import native_connect
from nostro.projections.tigerbeetle.session.effects import Effects, T, run
from nostro.projections.tigerbeetle.session.pool import SessionPool
from nostro.projections.tigerbeetle.session.retrying_client import RetryingClient
from nostro.projections.tigerbeetle.session.session import Connect

P = ParamSpec("P")

SESSIONS: Final = 4
"""A cluster keeps 64 for all of its clients."""
ATTEMPTS_MAX: Final = 3
_log: Final = logging.getLogger("nostro")


def _blocking(
    method: Callable[Concatenate[Requests, P], Effects[T]],
) -> Callable[Concatenate[ClusterLedger, P], T]:
    """A method of :class:`Requests` that waits for its answer in the calling thread."""

    @functools.wraps(method)
    def blocking(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(self.requests, *args, **kwargs), self.pool.closed.wait)

    return blocking


class ClusterLedger(CreateMethods):
    """A ledger in a TigerBeetle cluster. Thread-safe; use :meth:`open`.

    Methods, arguments, results and statuses are those of :class:`~projections.Ledger`.

    Every attempt at a request has ``timeout_seconds`` of the configuration, and there are at most
    ``attempts_max``, with growing pauses between them. Methods raise ConnectionFailed when there is
    no answer, and LedgerClosed after :meth:`close`. A request without an answer, or one that Ctrl-C
    interrupted, may still take effect: see docs/guides/retries.md.
    """

    @classmethod
    def open(
        cls,
        configuration: ClusterConfiguration,
        *,
        sessions: int = SESSIONS,
        attempts_max: int = ATTEMPTS_MAX,
        connect: Connect | None = None,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> Self:
        """Return once the cluster has answered.

        Args:
            sessions: open at most this many, as callers need them.
            attempts_max: send a request at most this often.
            connect: opens a session; by default with the client library.
            breaker: makes the object that decides how long to wait between attempts.

        Raises:
            InvalidField: an argument is out of range.
            ClientMissing: the client library is not installed.
            ConnectionFailed: the cluster does not answer, or has another id.
            ClusterError: the client library could not start, or does not suit the cluster.
        """
        pool = SessionPool(configuration, connect or native_connect(configuration), size=sessions)
        client = RetryingClient(configuration, pool, attempts_max=attempts_max, breaker=breaker)
        ledger = cls(configuration, pool, Requests(client))
        try:
            ledger._run(ledger.requests.probe())
        except BaseException:
            pool.close()
            raise
        _log.info("Accounting backend: TigerBeetle (%s)", configuration)
        return ledger

    def __init__(
        self, configuration: ClusterConfiguration, pool: SessionPool, requests: Requests
    ) -> None:
        self.configuration = configuration
        self.pool = pool
        self.requests = requests
        """The same methods as effects, for callers that wait in another way."""

    def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        return self._run(self.requests.create(kind, events, balances=balances))

    # --- reading ---

    lookup_accounts = _blocking(Requests.lookup_accounts)
    lookup_transfers = _blocking(Requests.lookup_transfers)
    get_account_transfers = _blocking(Requests.get_account_transfers)
    get_account_balances = _blocking(Requests.get_account_balances)
    query_accounts = _blocking(Requests.query_accounts)
    query_transfers = _blocking(Requests.query_transfers)

    def get_change_events(
        self,
        *,
        timestamp_min: int = 0,
        follow: bool = False,
        stop: threading.Event | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[ChangeEvent]:
        """Every posting with the balances of both accounts as of that event, by time.

        See :meth:`Ledger.get_change_events`. To continue later, start one nanosecond after the last
        event's timestamp. With ``follow`` the cluster is polled twice a second while nothing is
        new, until ``stop`` is set or the ledger is closed.

        Raises:
            InvalidField, OutOfRange: an argument is not valid.
            ConnectionFailed: raised by the iterator, when it gets no answer; continue as above.
        """
        timestamp_min = check_reading(timestamp_min, timeout_seconds, stop)
        self.pool.check_open()
        reading = self.requests.read_changes(
            timestamp_min=timestamp_min, follow=follow, timeout_seconds=timeout_seconds
        )
        stop = stop or self.pool.closed
        return self._follow(reading, stop) if follow else self._read(reading)

    def _read(self, reading: ChangeReading) -> Iterator[ChangeEvent]:
        while reading.pause_seconds() is not None:
            yield from self._run(reading.page())

    def _follow(self, reading: ChangeReading, stop: threading.Event) -> Iterator[ChangeEvent]:
        while (seconds := reading.pause_seconds()) is not None and not stop.wait(seconds):
            for event in self._run(reading.page()):
                yield event
                if stop.is_set():
                    return

    # --- closing ---

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not been called yet, in this process."""
        return self.pool.is_open

    def close(self) -> None:
        """End every session, also under other threads' requests. May be repeated."""
        self.pool.close()

    def __enter__(self) -> Self:
        self.pool.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, effects: Effects[T]) -> T:
        return run(effects, self.pool.closed.wait)
