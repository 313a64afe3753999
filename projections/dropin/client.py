"""The two clients, their errors, ids and logging.

A cluster is the directory ``nostro-<cluster_id>``. It lies in the directory that the environment
variable NOSTRO_DATA names when the client is made, otherwise in the working directory. Replica
addresses are checked as the original checks them, and then ignored.

Clients of one directory in one process share its ledger; the last one to close releases it.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Final, Self

import attrs

from nostro.journal.errors import LedgerClosed
from nostro.journal.id import id
from nostro.journal.model import AMOUNT_MAX
from nostro.projections.dropin.addresses import check_addresses
from nostro.projections.dropin.bindings import (
    AsyncStateMachineMixin,
    InitialisedClient,
    InitStatus,
    LogHandler,
    LogLevel,
    Operation,
    StateMachineMixin,
)
from nostro.projections.dropin.lib import c_uint128
from nostro.projections.dropin.requests import CheckedRequest, TooMuchDataError
from nostro.projections.dropin.shared import data_directory, open_ledgers
from nostro.projections.ledger.request_thread import Call, RequestThread

__all__ = [
    "AMOUNT_MAX",
    "ClientAsync",
    "ClientClosedError",
    "ClientEvictedError",
    "ClientReleaseTooHighError",
    "ClientReleaseTooLowError",
    "ClientSync",
    "InitError",
    "TooMuchDataError",
    "configure_logging",
    "id",
]

logger: Final = logging.getLogger("tigerbeetle")

_numbers: Final = count(1)
"""Numbers of clients and requests; taking the next one is atomic."""


class InitError(Exception):
    """The replica addresses are invalid; the argument is the :class:`InitStatus`."""


class ClientClosedError(Exception):
    """The client is closed, or was closed while the request was under way.

    A request under way may have taken effect: send it again with the same ids to find out
    (docs/guides/retries.md).
    """

    def __init__(self) -> None:
        super().__init__("the client is closed")


class ClientEvictedError(Exception):
    """Never raised here: no cluster evicts a client."""

    def __init__(self) -> None:
        super().__init__("the client was evicted")


class ClientReleaseTooLowError(Exception):
    """Never raised here: the client and its ledger always have the same release."""

    def __init__(self) -> None:
        super().__init__("the client was evicted: its release is too old")


class ClientReleaseTooHighError(Exception):
    """Never raised here: the client and its ledger always have the same release."""

    def __init__(self) -> None:
        super().__init__("the client was evicted: its release is too new")


class Client:
    """The part common to both clients: opening, and the requests under way."""

    _clients: ClassVar[dict[int, Any]] = {}

    def __init__(self, cluster_id: int, replica_addresses: str) -> None:
        """Open the cluster's directory, or create it; see the module.

        Args:
            cluster_id: any integer, modulo 2**128.
            replica_addresses: one to six, separated by commas; checked, then ignored.

        Raises:
            InitError: an address is invalid, or there are more than six.
            TypeError, AttributeError, UnicodeEncodeError: an argument is of the wrong type.
            journal.JournalError, OSError: the directory cannot be opened, for instance
                LedgerLocked: another process has it open.
        """
        self._client_key = next(_numbers)
        cluster = c_uint128.from_param(cluster_id).to_python()
        addresses = replica_addresses.encode("ascii")
        status = check_addresses(replica_addresses)
        if status is not InitStatus.SUCCESS:
            raise InitError(status)
        self._ledger = open_ledgers.acquire(data_directory(cluster))
        self._client = InitialisedClient(
            cluster_id=cluster,
            client_id=int.from_bytes(os.urandom(16), "little") | 1,
            addresses=ctypes.create_string_buffer(addresses, len(addresses)),
        )
        self._inflight_packets: dict[int, Any] = {}
        self._changed = threading.Condition()
        Client._clients[self._client_key] = self
        _log(LogLevel.INFO, f"client {self._client_key}: cluster {cluster} is {self._ledger.path}")

    def _shut(self) -> None:
        """Accept no more requests; raises KeyError if that was done before."""
        with self._changed:
            del Client._clients[self._client_key]
            self._client.is_open = False

    def _release(self) -> None:
        _log(LogLevel.DEBUG, f"client {self._client_key}: closed")
        open_ledgers.release(self._ledger)


@attrs.define(eq=False)
class _SyncPacket:
    thread_id: int
    is_shut: bool = False


class ClientSync(Client, StateMachineMixin):
    """The client whose methods block. Any number of threads may use it at once.

    Ctrl-C waits until a request is done. The request has taken effect although its answer is lost:
    see docs/guides/retries.md.
    """

    def _submit(self, operation: Operation, argument: Any) -> list[Any]:
        request = CheckedRequest.of(operation, argument)
        packet = _SyncPacket(threading.get_ident())
        key = next(_numbers)
        with self._changed:
            if not self._client.is_open:
                raise ClientClosedError
            self._inflight_packets[key] = packet
        try:
            answer = request.carry_out(self._ledger)
        except LedgerClosed:  # in a forked process
            raise ClientClosedError from None
        finally:
            with self._changed:
                del self._inflight_packets[key]
                self._changed.notify_all()
        if packet.is_shut:
            raise ClientClosedError
        return answer

    def close(self) -> None:
        """Release the ledger once the requests of other threads have ended.

        Those requests raise ClientClosedError.

        Raises:
            KeyError: the client is closed already.
        """
        self._shut()
        with self._changed:
            for packet in self._inflight_packets.values():
                packet.is_shut = True
            self._changed.wait_for(self._others_have_ended)
        self._release()

    def _others_have_ended(self) -> bool:
        """Ignores this thread: a signal handler may close the client within a request."""
        this = threading.get_ident()
        return all(packet.thread_id == this for packet in self._inflight_packets.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ClientAsync(Client, AsyncStateMachineMixin):
    """The client whose methods are awaited. Any number of tasks may use it at once.

    One thread carries out the requests in the order of their calls. Requests that wait for it share
    one record and one sync where that changes no answer. A task that is cancelled or times out does
    not stop its request, which may still take effect: see docs/guides/retries.md. As in the
    original, events are read in the event loop when the coroutine first runs: 8,189 take 12 ms.
    """

    def __init__(self, cluster_id: int, replica_addresses: str) -> None:
        """See :class:`Client`. Opening blocks until the ledger has been read."""
        super().__init__(cluster_id, replica_addresses)
        self._thread = RequestThread("nostro-client", self._ledger)

    async def _submit(self, operation: Operation, argument: Any) -> list[Any]:
        request = CheckedRequest.of(operation, argument)
        key = next(_numbers)
        with self._changed:
            if not self._client.is_open:
                raise ClientClosedError
            waiting = self._thread.put(request.creation or Call(request.carry_out))
            self._inflight_packets[key] = waiting
        try:
            answer: list[Any] = await waiting.future
        except LedgerClosed:  # the client was closed, or this is a forked process
            raise ClientClosedError from None
        finally:
            self._inflight_packets.pop(key, None)
        return answer

    async def close(self) -> None:
        """Release the ledger once the request that is being carried out has ended.

        Requests under way raise ClientClosedError; those not yet begun are dropped.

        Raises:
            KeyError: the client is closed already.
        """
        self._shut()
        self._thread.stop()
        for waiting in list(self._inflight_packets.values()):
            waiting.fail(ClientClosedError())
        await asyncio.get_running_loop().run_in_executor(None, self._finish)

    def _finish(self) -> None:
        self._thread.close()
        self._release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


# --- logging ---

_LEVELS: Final = {
    LogLevel.ERR: logging.ERROR,
    LogLevel.WARN: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
}


@LogHandler  # type: ignore[untyped-decorator]
def log_handler(level: LogLevel, message_ptr: Any, message_len: int) -> None:
    """Pass a message on to the logger ``tigerbeetle``."""
    text = ctypes.string_at(message_ptr, message_len).decode("utf-8")
    logger.log(_LEVELS[LogLevel(level)], text)


@attrs.define
class _Logging:
    debug: bool
    handler: Callable[[LogLevel, Any, int], None]


_logging: Final = _Logging(debug=True, handler=log_handler)


def configure_logging(
    *, debug: bool, handler: Callable[[LogLevel, Any, int], None] = log_handler
) -> None:
    """Choose how messages are logged.

    Args:
        debug: whether to log messages of level DEBUG too.
        handler: called with the level, the address of the UTF-8 text and its length in bytes.
    """
    _logging.debug = debug
    _logging.handler = handler


def _log(level: LogLevel, message: str) -> None:
    if level is LogLevel.DEBUG and not _logging.debug:
        return
    text = message.encode()
    buffer = ctypes.create_string_buffer(text, len(text))
    _logging.handler(level, ctypes.addressof(buffer), len(text))
