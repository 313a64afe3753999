"""Keeping the replicas of a cluster running: what dies is started again, ever more slowly."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import attrs

from nostro.tools.cluster import launch, process_lock
from nostro.tools.cluster.description import (
    Description,
    log_file,
    replica_lock,
    supervisor_lock,
)
from nostro.tools.cluster.state import ReplicaState, write_state

LOOK_SECONDS: Final = 0.1
"""How long a dead replica may go unnoticed."""
STOP_SECONDS: Final = 10.0
"""How long a replica may take to end when it is asked to."""
PAUSE_SECONDS_MIN: Final = 0.5
PAUSE_SECONDS_MAX: Final = 30.0
_SETTLED_SECONDS: Final = 60.0
"""What has run so long begins anew with the shortest pause."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Tell = Callable[[str], None]


@attrs.define
class _Replica:
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    started_at_ns: int = 0
    pause_seconds: float = PAUSE_SECONDS_MIN
    next_start: float = 0.0
    restarts: int = 0
    ended: str = ""


class Supervisor:
    """The replicas of one cluster. One at a time: it holds the cluster's lock while it lives."""

    def __init__(
        self, directory: Path, description: Description, binary: Path, *, tell: Tell
    ) -> None:
        self._directory = directory
        self._description = description
        self._binary = binary
        self._tell = tell
        self._replicas = [_Replica() for _ in description.addresses]

    def start(self) -> None:
        """Take the lock and start every replica, or none.

        Raises:
            AlreadyRunning: another supervisor has it.
            OSError: the system refuses.
        """
        process_lock.take(supervisor_lock(self._directory))
        try:
            for index in range(len(self._replicas)):
                self._start(index)
        except BaseException:
            self.stop()
            raise
        self._write_state()

    def look(self) -> None:
        """Notice who died, and start who is due again. To be called every LOOK_SECONDS."""
        changed = False
        for index, replica in enumerate(self._replicas):
            if replica.process is not None and replica.process.poll() is not None:
                self._note_end(index, replica, how_it_ended(replica.process.returncode))
                changed = True
            elif replica.process is None and time.monotonic() >= replica.next_start:
                self._start_again(index, replica)
                changed = True
        if changed:
            self._write_state()

    def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """Ask every replica to end, kill those that do not, and let go of the lock."""
        running = [
            (index, replica.process)
            for index, replica in enumerate(self._replicas)
            if replica.process is not None
        ]
        for _, process in running:
            process.terminate()
        deadline = time.monotonic() + seconds
        for index, process in running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                self._tell(f"replica {index} did not end in {seconds:g} s: SIGKILL")
                process.kill()
                process.wait()
            self._tell(f"replica {index} is stopped")
            self._replicas[index].process = None
        process_lock.release(supervisor_lock(self._directory))

    def run(self, stop: threading.Event, *, seconds: float = STOP_SECONDS) -> None:
        """Look after the replicas until ``stop`` is set, then give them that time to end."""
        try:
            while not stop.wait(LOOK_SECONDS):
                self.look()
        finally:
            self.stop(seconds=seconds)

    def _start(self, index: int) -> None:
        replica = self._replicas[index]
        command = [
            sys.executable,
            "-I",
            "-S",
            launch.__file__,
            str(replica_lock(self._directory, index)),
            str(self._binary),
            *start_arguments(self._description),
            str(self._description.data_file(self._directory, index)),
        ]
        log = os.open(
            log_file(self._directory, index),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            replica.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                process_group=0,  # Ctrl-C is for the supervisor, which then stops them in order
            )
        finally:
            os.close(log)
        replica.started = time.monotonic()
        replica.started_at_ns = time.time_ns()
        self._tell(f"replica {index} started: process {replica.process.pid}")

    def _start_again(self, index: int, replica: _Replica) -> None:
        replica.restarts += 1
        try:
            self._start(index)
        except OSError as error:  # no memory, no room for its log: it may be there the next time
            self._note_end(index, replica, f"could not be started: {error}")

    def _note_end(self, index: int, replica: _Replica, ended: str) -> None:
        if replica.process is not None and time.monotonic() - replica.started > _SETTLED_SECONDS:
            replica.pause_seconds = PAUSE_SECONDS_MIN
        replica.process = None
        replica.ended = ended
        pause = replica.pause_seconds
        replica.next_start = time.monotonic() + pause
        replica.pause_seconds = min(2 * pause, PAUSE_SECONDS_MAX)
        self._tell(f"replica {index} {replica.ended}; it is started again in {pause:g} s")

    def _write_state(self) -> None:
        states = [
            ReplicaState(
                process_id=0 if replica.process is None else replica.process.pid,
                started_at_ns=replica.started_at_ns,
                restarts=replica.restarts,
                ended=replica.ended,
            )
            for replica in self._replicas
        ]
        with contextlib.suppress(OSError):  # a hint: a full disk must not stop the supervising
            write_state(self._directory, os.getpid(), states)


def start_arguments(description: Description) -> list[str]:
    """Return what stands between the program and its data file."""
    arguments = ["start", f"--addresses={description.replicas}"]
    if description.cache_grid_mib is not None:
        arguments.append(f"--cache-grid={description.cache_grid_mib}MiB")
    if description.development:
        arguments.append("--development")
    return arguments


def how_it_ended(code: int) -> str:
    """Return an exit code as subprocess gives it in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGINT, SIGTERM or SIGHUP, a closed terminal, sets."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
