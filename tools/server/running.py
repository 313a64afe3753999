"""A server from its first connection to its last: the socket, the signals, the ledger's end."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn

from nostro.projections import AsyncLedger
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.tools.server.application import Access, application
from nostro.tools.server.keys import Keys

CONNECTIONS_MAX: Final = 1_000
"""Who comes on top is answered with 503."""
STOP_SECONDS: Final = 10
"""Requests have so long to end once the server is to stop. What the ledger has begun is finished
in any case."""
_BACKLOG: Final = 2_048


def listen(host: str, port: int) -> socket.socket:
    """A socket on which connections wait until they are served; port 0 is any that is free.

    Raises:
        OSError: there is no such address here, or somebody listens there already.
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


def access(listening: socket.socket, host: str, keys: Keys | None) -> Access:
    """Who may ask: whoever has a key, or else who asks under a name of this machine itself."""
    if keys is not None:
        return Access(keys, None)
    own = {"localhost", "127.0.0.1", "::1", listening.getsockname()[0], host.lower()}
    return Access(None, frozenset(own))


async def serve(
    directory: Path,
    listening: socket.socket,
    admitted: Access,
    *,
    mirror: ClusterConfiguration | None,
    access_log: bool,
    ready: Callable[[AsyncLedger], None],
) -> None:
    """Serve the ledger in ``directory`` until SIGINT or SIGTERM; close it then.

    Args:
        ready: called once requests are answered and signals heard.

    Raises:
        JournalError, OSError: what opening or closing the ledger raises.
    """
    async with await AsyncLedger.open(directory, create=False, mirror=mirror) as ledger:
        server = Server(ledger, admitted, access_log=access_log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):  # to the end, so that closing is finished
            loop.add_signal_handler(number, server.stop)
        ready(ledger)
        await server.serve(sockets=[listening])


class Server(uvicorn.Server):
    """Answers for a ledger, which it does not close."""

    def __init__(self, ledger: AsyncLedger, admitted: Access, *, access_log: bool = False) -> None:
        super().__init__(
            uvicorn.Config(
                application(ledger, admitted),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=access_log,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )

    def stop(self) -> None:
        """Accept nothing more, and end when what is under way is answered."""
        self.should_exit = True
