"""A few sessions with one cluster, shared by any number of callers.

A session has one message in flight at a time, and the client library gathers the requests that
wait. Callers share sessions: each request goes to the session with the fewest in flight, and the
pool opens another only while all are busy. A cluster keeps 64 sessions for all of its clients.
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
"""A cluster keeps this many sessions for all of its clients."""


class _Slot:
    """Room for a session."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.in_flight: set[Future[Reply]] = set()
        """Changed without a lock: adding and discarding are atomic."""
        self.opening = threading.Lock()


class Sent(NamedTuple):
    """A request in flight."""

    session: Session
    future: Future[Reply]


class SessionPool:
    """Thread-safe. A forked process sees it as closed: it lacks the library's threads."""

    def __init__(self, configuration: ClusterConfiguration, connect: Connect, *, size: int) -> None:
        if not 1 <= size <= SESSIONS_MAX:
            raise InvalidField("sessions", size, f"must be from 1 to {SESSIONS_MAX}")
        self._configuration = configuration
        self._connect = connect
        self._slots = [_Slot() for _ in range(size)]
        self._lock = threading.Lock()
        self._process_id = os.getpid()
        self.closed = threading.Event()

    @property
    def is_open(self) -> bool:
        return not self.closed.is_set() and os.getpid() == self._process_id

    def check_open(self) -> None:
        """Raise LedgerClosed if it is closed, or this is a forked process."""
        if not self.is_open:
            raise LedgerClosed(str(self._configuration))

    def submit(self, operation: Operation, body: Rows) -> Sent:
        """Begin a request on the session with the fewest in flight; see :meth:`Session.submit`.

        Raises:
            LedgerClosed, HostUnknown, ClientFailed: nothing was sent.
        """
        while True:
            self.check_open()
            with self._lock:
                slot = min(self._slots, key=_in_flight_count)
                if slot.session is not None and self.is_open:
                    future = slot.session.submit(operation, body)
                    slot.in_flight.add(future)
                    future.add_done_callback(slot.in_flight.discard)
                    return Sent(slot.session, future)
            self._open(slot)

    def fill(self) -> None:
        """Open all sessions; raises what :meth:`submit` does."""
        for slot in self._slots:
            self._open(slot)

    def discard(self, session: Session) -> None:
        """Close a session that does not answer; the next request opens another."""
        with self._lock:
            for slot in self._slots:
                if slot.session is session:
                    slot.session = None
                    slot.in_flight = set()
        session.close()

    def close(self) -> None:
        """Close all sessions; requests in flight end with SessionClosed."""
        if os.getpid() != self._process_id:
            return
        with self._lock:
            self.closed.set()
            sessions = [slot.session for slot in self._slots if slot.session is not None]
            for slot in self._slots:
                slot.session = None
        for session in sessions:
            session.close()

    def _open(self, slot: _Slot) -> None:
        with slot.opening:
            self.check_open()
            if slot.session is not None:
                return
            session = self._connect()
            with self._lock:
                if self.is_open:
                    slot.session = session
                    return
        session.close()
        self.check_open()


def _in_flight_count(slot: _Slot) -> tuple[int, bool]:
    """A session that is open comes before one that is not."""
    return len(slot.in_flight), slot.session is None
