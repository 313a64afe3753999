"""The supervisor: it runs the replicas of a cluster, and restarts a replica that dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from nostro.tools.cluster import launch, process_lock
from nostro.tools.cluster.description import (
    Description,
    log_file,
    open_log,
    replica_lock,
    supervisor_lock,
)
from nostro.tools.cluster.server import start_command
from nostro.tools.cluster.state import ReplicaState, write_state

POLL_SECONDS: Final = 0.1
"""How long the end of a replica may stay unnoticed."""
STOP_SECONDS: Final = 10.0
"""How long a replica may take to end after SIGTERM."""
PAUSES_SECONDS: Final = (0.5, 30.0)
"""The shortest and the longest pause before a restart."""
_SETTLED_SECONDS: Final = 60.0
"""After so long a run, the next pause is the shortest again."""

Log = Callable[[str], None]
"""Receives one line about what happens."""


@attrs.define
class _Replica:
    pause_seconds: float
    state: ReplicaState = attrs.field(factory=ReplicaState)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    next_start: float = 0.0


class Supervisor:
    """The replicas of one cluster. It is the only one, since it holds the cluster's lock.

    Args:
        pauses_seconds: the pause before a restart doubles from the first to the second value.
    """

    def __init__(
        self,
        directory: Path,
        description: Description,
        server: Path,
        *,
        log: Log,
        pauses_seconds: tuple[float, float] = PAUSES_SECONDS,
    ) -> None:
        self._directory = directory
        self._description = description
        self._server = server
        self._log = log
        self._pauses_seconds = pauses_seconds
        self._replicas = [_Replica(pauses_seconds[0]) for _ in description.addresses]

    def start(self) -> None:
        """Take the lock and start every replica, or none.

        Raises:
            AlreadyRunning: another supervisor holds the lock.
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

    def poll(self) -> None:
        """Note which replicas have ended, and start those that are due. Call every POLL_SECONDS."""
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
        """Send SIGTERM to every replica, SIGKILL after ``seconds``; then release the lock."""
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
                self._log(f"replica {index} did not end in {seconds:g} s: SIGKILL")
                process.kill()
                process.wait()
            self._log(f"replica {index} has stopped")
            self._replicas[index].process = None
        process_lock.release(supervisor_lock(self._directory))

    def run(self, stop: threading.Event, *, seconds: float = STOP_SECONDS) -> None:
        """Supervise until ``stop`` is set; then stop every replica, as :meth:`stop`."""
        try:
            while not stop.wait(POLL_SECONDS):
                self.poll()
        finally:
            self.stop(seconds=seconds)

    def _start(self, index: int) -> None:
        replica = self._replicas[index]
        lock = str(replica_lock(self._directory, index))
        command = start_command(self._server, self._description, self._directory, index)
        log = open_log(log_file(self._directory, index))
        try:
            replica.process = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, lock, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                process_group=0,  # Ctrl-C reaches the supervisor only, which stops them in order
            )
        finally:
            os.close(log)
        replica.started = time.monotonic()
        replica.state.started_at_ns = time.time_ns()
        replica.state.process_id = replica.process.pid
        self._log(f"replica {index} started: process {replica.process.pid}")

    def _start_again(self, index: int, replica: _Replica) -> None:
        replica.state.restarts += 1
        try:
            self._start(index)
        except OSError as error:  # no memory, or no room for its log: the next try may succeed
            self._note_end(index, replica, f"could not be started: {error}")

    def _note_end(self, index: int, replica: _Replica, ended: str) -> None:
        shortest, longest = self._pauses_seconds
        if replica.process is not None and time.monotonic() - replica.started > _SETTLED_SECONDS:
            replica.pause_seconds = shortest
        replica.process = None
        replica.state.process_id = 0
        replica.state.ended = ended
        pause = replica.pause_seconds
        replica.next_start = time.monotonic() + pause
        replica.pause_seconds = min(2 * pause, longest)
        self._log(f"replica {index} {ended}; it restarts in {pause:g} s")

    def _write_state(self) -> None:
        states = [replica.state for replica in self._replicas]
        with contextlib.suppress(OSError):  # a full disk must not stop the supervisor
            write_state(self._directory, os.getpid(), states)


def how_it_ended(code: int) -> str:
    """Put an exit code of subprocess into words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
