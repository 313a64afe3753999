"""Running a server: its socket, its signals, and closing the ledger at the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import uvicorn

from nostro.projections import AsyncLedger
from nostro.projections.deciding.timestamps import CLOCK_LEAD_SECONDS_MAX
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.tools.server.application import Access, application, host_name
from nostro.tools.server.heads import HEADER_BYTES_MAX, HeadProtocol
from nostro.tools.server.keys import Keys

CONNECTIONS_MAX: Final = 1_000
"""The server answers more connections with 503."""
STOP_SECONDS: Final = 10
"""Time for open requests to end after a stop. The ledger finishes what it has begun anyway."""
_STOP_POLL_SECONDS: Final = 0.01
_BACKLOG: Final = 2_048
_SWITCH_SECONDS: Final = 0.0005
"""A thread that reads or makes JSON lets the event loop run after this time; Python's own is ten
times as long."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free port.

    Raises:
        OSError: this machine has no such address, or the port is in use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def access_to(
    listening: socket.socket, host: str, keys: Keys | None, allowed_hosts: Iterable[str] = ()
) -> Access:
    """Access for clients that have a key; without keys, for clients that use an allowed host.

    This machine's own names are always allowed. If ``allowed_hosts`` holds names, clients with a
    key must use an allowed host too.
    """
    more = {host_name(name) for name in allowed_hosts}
    if keys is not None and not more:
        return Access(keys, None)
    names = {"localhost", "127.0.0.1", "::1", listening.getsockname()[0], host.lower()}
    return Access(keys, frozenset(names | more))


async def serve(
    directory: Path,
    listening: socket.socket,
    access: Access,
    *,
    mirror: ClusterConfiguration | None,
    clock_lead_seconds_max: float = CLOCK_LEAD_SECONDS_MAX,
    access_log: bool,
    ready: Callable[[AsyncLedger], None],
) -> None:
    """Serve the ledger in ``directory`` until SIGINT or SIGTERM, then close it.

    Args:
        ready: called once the server answers requests and handles signals.

    Raises:
        JournalError, OSError: what opening or closing the ledger raises.
    """
    async with await AsyncLedger.open(
        directory, create=False, mirror=mirror, clock_lead_seconds_max=clock_lead_seconds_max
    ) as ledger:
        server = Server(ledger, access, access_log=access_log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):  # to the end, so that closing is finished
            loop.add_signal_handler(number, server.stop)
        with _brief_pauses():
            ready(ledger)
            await server.serve(sockets=[listening])


@contextlib.contextmanager
def _brief_pauses() -> Iterator[None]:
    """Keep other threads and the garbage collector from holding up the event loop.

    The collector looks at every object of a process. What is there now stays, so it need not look
    at that again: 35 ms each time, measured.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


class Server(uvicorn.Server):
    """A server for a ledger; it does not close the ledger."""

    def __init__(
        self,
        ledger: AsyncLedger,
        access: Access,
        *,
        access_log: bool = False,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._stop_seconds = stop_seconds
        self._stopping = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                application(ledger, access),
                http=HeadProtocol,
                h11_max_incomplete_event_size=HEADER_BYTES_MAX,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=access_log,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                limit_concurrency=CONNECTIONS_MAX,
            )
        )

    def stop(self) -> None:
        """Accept no more connections, and end once open requests are answered."""
        self.should_exit = True
        self._stopping.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to :func:`serve`."""
        yield

    async def main_loop(self) -> None:
        """Serve until :meth:`stop`; uvicorn's own loop would notice it a tenth of a second late."""
        while not await self.on_tick(0):  # sets the time of the header "date"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle at once, and wait for open requests; cancel them after a while."""
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self._stop_seconds):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn has no event
                    await asyncio.sleep(_STOP_POLL_SECONDS)
        except TimeoutError:
            for task in state.tasks:
                task.cancel()
