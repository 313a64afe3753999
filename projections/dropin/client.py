"""The two clients, their errors, ids and logging.

A cluster is a directory: ``nostro-<cluster_id>`` in the directory that the environment variable
NOSTRO_DATA names, or else in the working directory, when the client is made. The replica addresses
are checked as the original checks them, and not used.

Clients of one directory, in one process, share its ledger; the last to close releases it.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
from nostro.projections.dropin.requests import OperationRequest, TooMuchDataError
from nostro.projections.dropin.shared import data_directory, open_ledgers
from nostro.projections.pipeline.create_request import join

__all__ = [
    "AMOUNT_MAX",
    "Client",
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
    "log_handler",
]

logger: Final = logging.getLogger("tigerbeetle")

_numbers: Final = count(1)
"""Of clients and of requests; taking one is atomic."""


class InitError(Exception):
    """The replica addresses are refused; the argument is the :class:`InitStatus`."""


class ClientClosedError(Exception):
    """The client is closed, or was closed while the request was under way.

    What was under way may have taken effect: send it again with the same ids to find out.
    """

    def __init__(self) -> None:
        super().__init__("the client is closed")


class ClientEvictedError(Exception):
    """Never raised here: no cluster can turn a client out."""

    def __init__(self) -> None:
        super().__init__("the client was evicted")


class ClientReleaseTooLowError(Exception):
    """Never raised here: there is no other release to disagree with."""

    def __init__(self) -> None:
        super().__init__("the client was evicted: its release is too old")


class ClientReleaseTooHighError(Exception):
    """Never raised here: there is no other release to disagree with."""

    def __init__(self) -> None:
        super().__init__("the client was evicted: its release is too new")


class Client:
    """What both clients share: opening, and knowing which requests are under way."""

    _clients: ClassVar[dict[int, Any]] = {}

    def __init__(self, cluster_id: int, replica_addresses: str) -> None:
        """Open the cluster's directory, making it if need be; see the module.

        Args:
            cluster_id: any integer, modulo 2**128.
            replica_addresses: one to six, with commas between; checked, not used.

        Raises:
            InitError: an address is invalid, or there are more than six.
            TypeError, AttributeError, UnicodeEncodeError: an argument is of the wrong type.
            journal.JournalError, OSError: the directory cannot be opened, for instance
                LedgerLocked, because another process has it open.
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
        """Take no more requests. A client is shut once: the next time is a KeyError."""
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
    """The client whose methods block. Any number of threads may use it at once."""

    def _submit(self, operation: Operation, argument: Any) -> list[Any]:
        request = OperationRequest.of(operation, argument)
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
        """Release the ledger once requests of other threads, under way, have ended.

        They raise ClientClosedError.

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
        """A signal handler may close the client within a request, which then ends after it."""
        this = threading.get_ident()
        return all(packet.thread_id == this for packet in self._inflight_packets.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@attrs.frozen(eq=False)
class _AsyncPacket:
    request: OperationRequest
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[list[Any]]

    def settle(self, outcome: list[Any] | BaseException) -> None:
        """Answer, from any thread; the first outcome stands."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: list[Any] | BaseException) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class ClientAsync(Client, AsyncStateMachineMixin):
    """The client whose methods are awaited. Any number of tasks may use it at once.

    Requests are carried out in the order in which they were made, by one thread. Those that wait
    for it to be free share one record and one sync, as far as that changes no answer.
    """

    def __init__(self, cluster_id: int, replica_addresses: str) -> None:
        """See :class:`Client`. Opening blocks until the ledger has been read."""
        super().__init__(cluster_id, replica_addresses)
        self._waiting: deque[_AsyncPacket] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="nostro-client")

    async def _submit(self, operation: Operation, argument: Any) -> list[Any]:
        request = OperationRequest.of(operation, argument)
        loop = asyncio.get_running_loop()
        packet = _AsyncPacket(request, loop, loop.create_future())
        key = next(_numbers)
        with self._changed:
            if not self._client.is_open:
                raise ClientClosedError
            self._inflight_packets[key] = packet
            self._waiting.append(packet)
            self._worker.submit(self._carry_out_waiting)
        try:
            return await packet.answer
        finally:
            self._inflight_packets.pop(key, None)

    def _carry_out_waiting(self) -> None:
        """In the worker: whatever is waiting. Called once a request, so often there is nothing."""
        while packets := self._next_packets():
            self._carry_out(packets)

    def _next_packets(self) -> list[_AsyncPacket]:
        """Those to be carried out next, as one request; none if none is waiting."""
        packets: list[_AsyncPacket] = []
        events = 0
        with self._changed:
            while self._waiting:
                following = self._waiting[0].request
                if packets and not packets[-1].request.takes_along(following, events):
                    break
                packets.append(self._waiting.popleft())
                events += following.size
        return packets

    def _carry_out(self, packets: Sequence[_AsyncPacket]) -> None:
        creations = [it.request.creation for it in packets if it.request.creation is not None]
        try:
            if not creations:
                (packet,) = packets
                packet.settle(packet.request.carry_out(self._ledger))
                return
            self._ledger.carry_out(join(creations))
        except LedgerClosed:  # in a forked process
            _settle_all(packets, ClientClosedError())
        except BaseException as cause:  # noqa: BLE001 - it is the caller's, who waits in another thread
            _settle_all(packets, cause)
        else:
            for packet, creation in zip(packets, creations, strict=True):
                outcome = creation.outcome()
                is_closed = isinstance(outcome, LedgerClosed)
                packet.settle(ClientClosedError() if is_closed else outcome)

    async def close(self) -> None:
        """Release the ledger once the request that is being carried out has ended.

        Requests under way raise ClientClosedError; those not yet begun are dropped.

        Raises:
            KeyError: the client is closed already.
        """
        self._shut()
        with self._changed:
            self._waiting.clear()
            _settle_all(list(self._inflight_packets.values()), ClientClosedError())
        await asyncio.get_running_loop().run_in_executor(None, self._finish)

    def _finish(self) -> None:
        self._worker.shutdown()
        self._release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _settle_all(packets: Sequence[_AsyncPacket], cause: BaseException) -> None:
    for packet in packets:
        packet.settle(cause)


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
    """Say what becomes of messages.

    Args:
        debug: whether there are messages of level DEBUG too.
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
