"""Ports of this machine: free ones, taken ones, open ones."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Sequence
from typing import Final

from nostro.tools.cluster.errors import NoPortFree, PortTaken

HOST: Final = "127.0.0.1"
_CHOICE: Final = range(20_000, 32_000)
"""Below what Linux and macOS give to outgoing connections, which could take a port meanwhile."""
_TRIES: Final = 1_000
_LINGER_SECONDS: Final = 2.0
"""A killed server's port is in use until the kernel has seen to its io_uring."""


def choose_ports(count: int) -> list[int]:
    """Return that many ports that nobody listens on now.

    Raises:
        NoPortFree: there are not so many.
    """
    candidates = random.SystemRandom().sample(_CHOICE, _TRIES)
    free = (port for port in candidates if _is_free(port))
    chosen = [port for port, _ in zip(free, range(count), strict=False)]
    if len(chosen) < count:
        raise NoPortFree(count)
    return chosen


def check_free(addresses: Sequence[str]) -> None:
    """Refuse addresses that another program listens on, when it still does a moment later.

    Raises:
        PortTaken: the first of them.
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    for address in addresses:
        while not _is_free(port_of(address)):
            if time.monotonic() > deadline:
                raise PortTaken(address)
            time.sleep(0.1)


def is_open(address: str, *, seconds: float = 1.0) -> bool:
    """Whether somebody accepts connections there; that says nothing about who, or how they are."""
    try:
        socket.create_connection((HOST, port_of(address)), timeout=seconds).close()
    except OSError:
        return False
    return True


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
        return True
