"""Servers of other systems, started for a measurement and stopped after it."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import attrs

Answer = TypeVar("Answer")

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0


class PeerFailed(RuntimeError):
    """A peer that did not start, or did not do its work."""


@attrs.frozen
class Server:
    process: subprocess.Popen[bytes]
    log: Path

    def answer(self, attempt: Callable[[], Answer], failure: type[Exception]) -> Answer:
        """What ``attempt`` returns, as soon as it no longer raises ``failure``."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return attempt()
            except failure as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log = self.log.read_text(encoding="utf-8", errors="replace")[-2_000:]
                    raise PeerFailed(f"{self.process.args!r} does not answer: {log}") from error
            time.sleep(0.02)


@contextmanager
def server(command: list[str], log: Path) -> Iterator[Server]:
    """Start ``command``, what it says going to ``log``; stop that very process at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        yield Server(process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise PeerFailed(f"{command}: {done.stderr.decode(errors='replace')[-2_000:]}")


@contextmanager
def tigerbeetle_replica(folder: Path) -> Iterator[str]:
    """A fresh cluster of one replica, id 0, in ``folder``; yields its address once it listens."""
    binary = _tigerbeetle_binary()
    assert binary is not None, "the caller has asked whether it is missing"
    data = folder / "0_0.tigerbeetle"
    run([binary, "format", "--cluster=0", "--replica=0", "--replica-count=1", str(data)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: tuple[str, int] = probe.getsockname()
    name = f"{address[0]}:{address[1]}"
    with server([binary, "start", f"--addresses={name}", str(data)], folder / "log") as running:
        running.answer(lambda: socket.create_connection(address, timeout=1), OSError).close()
        yield name


def not_importable(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        return f"the package {name} cannot be imported ({error})"
    return None


def tigerbeetle_missing() -> str | None:
    if _tigerbeetle_binary() is None:
        return "no server: tigerbeetle is not on PATH, and TIGERBEETLE_BINARY is not set"
    return not_importable("tigerbeetle")


def _tigerbeetle_binary() -> str | None:
    return os.environ.get("TIGERBEETLE_BINARY") or shutil.which("tigerbeetle")
