"""Ports of this machine: free, taken, open."""

from __future__ import annotations

import errno
import itertools
import random
import socket
import time
from collections.abc import Sequence
from typing import Final

from nostro.tools.cluster.errors import ClusterRefused

HOST: Final = "127.0.0.1"
_CHOICE: Final = range(20_000, 32_000)
"""Below the ports that Linux and macOS give to outgoing connections."""
_TRIES: Final = 1_000
_LINGER_SECONDS: Final = 2.0
"""The port of a killed server stays in use until the kernel has ended its io_uring."""


def choose_ports(count: int) -> list[int]:
    """Return ``count`` ports that are free now.

    Raises:
        ClusterRefused: there are too few.
    """
    candidates = random.SystemRandom().sample(_CHOICE, _TRIES)
    chosen = list(itertools.islice(filter(_is_free, candidates), count))
    if len(chosen) < count:
        raise ClusterRefused(
            f"this machine has fewer than {count} free ports",
            hint="nothing was changed; name a port with --port",
        )
    return chosen


def check_free(addresses: Sequence[str]) -> None:
    """Refuse an address on which another program listens, and still does a moment later.

    Raises:
        ClusterRefused: names the first such address.
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    for address in addresses:
        while not _is_free(port_of(address)):
            if time.monotonic() > deadline:
                raise ClusterRefused(
                    f"{address}: another program listens there",
                    hint="nothing was changed; --port 0 chooses free ports",
                )
            time.sleep(0.1)


def is_open(address: str, *, seconds: float = 1.0) -> bool:
    """Return whether any program accepts connections there."""
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
