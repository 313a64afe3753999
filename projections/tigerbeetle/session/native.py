"""Sessions through TigerBeetle's client library, which reads the rows' own memory.

The package's own client makes a Python object and a C structure of every event, which takes 12 µs
each. Here the library gets a pointer to the rows, and the reply comes back as bytes.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import threading
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from nostro.journal.model import Rows
from nostro.journal.rows import u128_words
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ClientFailed,
    ClientMissing,
    ClusterError,
    ReleaseMismatch,
    RequestRefused,
    SessionClosed,
    SessionEvicted,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.session import Reply

try:
    from tigerbeetle import bindings
except ImportError as missing:
    raise ClientMissing from missing

logging.getLogger("tigerbeetle").addHandler(logging.NullHandler())  # it warns of each try
_counter: Final = itertools.count(1)
_sessions: Final[dict[int, NativeSession]] = {}


class _InFlight(NamedTuple):
    """A request without a reply: the library reads its memory, which must not move."""

    packet: Any
    body: Rows
    future: Future[Reply]


class NativeSession:
    """A session with a real cluster. Opening does not wait for it.

    Raises:
        ClientFailed: the library refuses the addresses, or the system has no room for it.
        HostUnknown: the name of a host is not known.
    """

    def __init__(self, configuration: ClusterConfiguration) -> None:
        addresses = configuration.resolved().encode("ascii")
        self._client = bindings.CClient()
        self._in_flight: dict[int, _InFlight] = {}
        self._closing = threading.Lock()
        self._is_closed = False
        self._key = next(_counter)
        words = (ctypes.c_uint64 * 2)(*u128_words(configuration.cluster_id))
        _sessions[self._key] = self
        status = bindings.tb_client_init(
            ctypes.byref(self._client),
            ctypes.cast(ctypes.byref(words), ctypes.POINTER(ctypes.c_uint8 * 16)),
            addresses,
            len(addresses),
            self._key,
            _on_completion,
        )
        if status != bindings.InitStatus.SUCCESS:
            del _sessions[self._key]
            reason = bindings.InitStatus(status).name.lower().replace("_", " ")
            raise ClientFailed(f"{reason} ({configuration})")

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        future: Future[Reply] = Future()
        packet = bindings.CPacket()
        number = next(_counter)
        packet.user_data = number
        packet.operation = int(operation)
        packet.data = body.ctypes.data
        packet.data_size = body.nbytes
        self._in_flight[number] = _InFlight(packet, body, future)
        with self._closing:
            taken = not self._is_closed and (
                bindings.tb_client_submit(ctypes.byref(self._client), ctypes.byref(packet))
                == bindings.ClientStatus.OK
            )
        if not taken:
            del self._in_flight[number]
            future.set_exception(SessionClosed())
        return future

    def close(self) -> None:
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        bindings.tb_client_deinit(ctypes.byref(self._client))
        _sessions.pop(self._key, None)

    def _complete(self, number: int, status: int, reply: Reply) -> None:
        in_flight = self._in_flight.pop(number)
        if status == bindings.PacketStatus.OK:
            in_flight.future.set_result(reply)
        else:
            in_flight.future.set_exception(_error(status, in_flight.packet.operation))


@bindings.OnCompletion  # type: ignore[untyped-decorator]
def _on_completion(key: int, packet: Any, timestamp: int, data: int | None, count: int) -> None:
    """Called on a thread of the library's own; what ``data`` points at is gone afterwards."""
    done = packet.contents
    reply = Reply(timestamp, ctypes.string_at(data, count) if data and count else b"")
    _sessions[key]._complete(done.user_data, done.status, reply)  # noqa: SLF001  # its other half


def _error(status: int, operation: int) -> ClusterError:
    statuses = bindings.PacketStatus
    if status == statuses.CLIENT_SHUTDOWN:
        return SessionClosed()
    if status == statuses.CLIENT_EVICTED:
        return SessionEvicted()
    if status == statuses.CLIENT_RELEASE_TOO_LOW:
        return ReleaseMismatch("old")
    if status == statuses.CLIENT_RELEASE_TOO_HIGH:
        return ReleaseMismatch("new")
    reason = statuses(status).name.lower().replace("_", " ")
    return RequestRefused(Operation(operation).name.lower(), reason)
