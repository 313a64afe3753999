"""A few sessions with one cluster, shared by any number of callers.

A session has one message under way at a time, and the client library gathers what waits for it. So
callers share sessions: each request goes to the one with the fewest under way, and the pool opens
another only while all are busy. A cluster keeps 64 sessions for all of its clients.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import Final, NamedTuple

from nostro.journal.errors import InvalidField, LedgerClosed
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.session import Connect, Reply, Session

SESSIONS_MAX: Final = 64
"""What a cluster keeps, for all of its clients."""


class _Place:
    """Room for a session."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.under_way: set[Future[Reply]] = set()
        """Changed without a lock: adding and discarding are atomic."""
        self.opening = threading.Lock()


class Sent(NamedTuple):
    """A request under way."""

    session: Session
    future: Future[Reply]


class SessionPool:
    """Thread-safe. In a forked process it counts as closed: the library's threads are not there."""

    def __init__(self, configuration: ClusterConfiguration, connect: Connect, *, size: int) -> None:
        if not 1 <= size <= SESSIONS_MAX:
            raise InvalidField("sessions", size, f"must be from 1 to {SESSIONS_MAX}")
        self._configuration = configuration
        self._connect = connect
        self._places = [_Place() for _ in range(size)]
        self._lock = threading.Lock()
        self._process_id = os.getpid()
        self.closed = threading.Event()

    @property
    def is_open(self) -> bool:
        return not self.closed.is_set() and os.getpid() == self._process_id

    def check_open(self) -> None:
        """Raises LedgerClosed once it is closed, and in a forked process."""
        if not self.is_open:
            raise LedgerClosed(str(self._configuration))

    def submit(self, operation: Operation, body: Rows) -> Sent:
        """Begin a request on the session with the fewest; see :meth:`Session.submit`.

        Raises:
            LedgerClosed, HostUnknown, ClientFailed: nothing was sent.
        """
        while True:
            self.check_open()
            with self._lock:
                place = min(self._places, key=_business)
                if place.session is not None and self.is_open:
                    future = place.session.submit(operation, body)
                    place.under_way.add(future)
                    future.add_done_callback(place.under_way.discard)
                    return Sent(place.session, future)
            self._open(place)

    def fill(self) -> None:
        """Open every session that there is room for; raises what :meth:`submit` does."""
        for place in self._places:
            self._open(place)

    def discard(self, session: Session) -> None:
        """Close a session that does not answer; the next request opens another."""
        with self._lock:
            for place in self._places:
                if place.session is session:
                    place.session = None
                    place.under_way = set()
        session.close()

    def close(self) -> None:
        """What is under way ends with SessionClosed."""
        if os.getpid() != self._process_id:
            return
        with self._lock:
            self.closed.set()
            sessions = [place.session for place in self._places if place.session is not None]
            for place in self._places:
                place.session = None
        for session in sessions:
            session.close()

    def _open(self, place: _Place) -> None:
        with place.opening:
            self.check_open()
            if place.session is not None:
                return
            session = self._connect()
            with self._lock:
                if self.is_open:
                    place.session = session
                    return
        session.close()
        self.check_open()


def _business(place: _Place) -> tuple[int, bool]:
    """A session that is open comes before one that is not."""
    return len(place.under_way), place.session is None
