"""A TigerBeetle cluster of our own, on this machine alone: started, killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

BATCH_EVENTS_MAX: Final = 250
"""What a TigerBeetle started with --development takes."""


class Servers:
    """The replicas of one cluster, each a process; ended by their ids."""

    def __init__(self, binary: str, directory: Path, *, cluster_id: int, replicas: int) -> None:
        self._binary = binary
        self._directory = directory
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        with ExitStack() as probes:
            sockets = [probes.enter_context(socket.socket()) for _ in range(replicas)]
            for probe in sockets:
                probe.bind(("127.0.0.1", 0))
            self.addresses = tuple(f"127.0.0.1:{probe.getsockname()[1]}" for probe in sockets)
        for replica in range(replicas):
            place = [
                f"--cluster={cluster_id}",
                f"--replica={replica}",
                f"--replica-count={replicas}",
                "--development",
            ]
            subprocess.run(
                [binary, "format", *place, self._file(replica)], check=True, capture_output=True
            )
            self.start(replica)

    def start(self, replica: int) -> None:
        with (self._directory / f"{replica}.log").open("ab") as log:
            self._running[replica] = subprocess.Popen(
                [
                    self._binary,
                    "start",
                    f"--addresses={','.join(self.addresses)}",
                    "--development",
                    self._file(replica),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def kill(self, replica: int) -> None:
        """As kill -9."""
        server = self._running.pop(replica)
        server.send_signal(signal.SIGKILL)
        server.wait(60)

    def close(self) -> None:
        for replica in list(self._running):
            self.kill(replica)
            self._file(replica).unlink()

    def _file(self, replica: int) -> Path:
        return self._directory / f"{replica}.tigerbeetle"


@contextmanager
def serving(
    binary: str, directory: Path, *, cluster_id: int = 0, replicas: int = 1
) -> Iterator[Servers]:
    servers = Servers(binary, directory, cluster_id=cluster_id, replicas=replicas)
    try:
        yield servers
    finally:
        servers.close()
