"""A TigerBeetle replica of our own, on a port and a data file of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

CLUSTER = "0"


def find_binary() -> str | None:
    """The server program, if this machine has one."""
    return os.environ.get("TIGERBEETLE_BINARY") or shutil.which("tigerbeetle")


@contextmanager
def running(binary: str, directory: Path, *, development: bool = True) -> Iterator[str]:
    """Start a fresh cluster of one; give its address; stop that very process at the end."""
    small = ["--development"] if development else []
    data = directory / "0_0.tigerbeetle"
    place = [f"--cluster={CLUSTER}", "--replica=0", "--replica-count=1", *small]
    subprocess.run([binary, "format", *place, data], check=True, capture_output=True)
    address = f"127.0.0.1:{free_port()}"
    log = directory / "tigerbeetle.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [binary, "start", f"--addresses={address}", *small, data],
            stdout=output,
            stderr=output,
        )
        try:
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)
            data.unlink()
