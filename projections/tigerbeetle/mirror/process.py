"""The mirror beside a ledger: in a process of its own, so that no append waits for its Python.

The ledger starts it, and starts it again if it dies. It says how it does in a file. Nothing here
waits for the cluster.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.configuration import (
    BATCH_EVENTS,
    CLUSTER_ID,
    LINGER_SECONDS,
    REPLICAS,
    TIMEOUT_SECONDS,
    ClusterConfiguration,
)
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth
from nostro.projections.tigerbeetle.mirror.place import MirrorPlace
from nostro.projections.tigerbeetle.session.breaker import Breaker

EXIT_DIVERGED: Final = 4
EXIT_HELD: Final = 5
NICENESS: Final = 10
_CLOSE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 1.0
_log = logging.getLogger("nostro")


class MirrorProcess:
    """Mirrors the ledger at ``path`` until it is closed.

    Raises:
        OSError: no process could be started.
    """

    def __init__(self, path: Path, configuration: ClusterConfiguration) -> None:
        self.configuration = configuration
        self._path = path.absolute()
        self._storage = Storage()
        self._place = MirrorPlace(Directory(self._path), configuration.cluster_id)
        self._place.make(self._storage)
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._process = self._start()
        self._watch = threading.Thread(target=self._watch_it, name="nostro-mirror", daemon=True)
        self._watch.start()

    def health(self) -> MirrorHealth | None:
        """How the mirror does; None until it has said so for the first time."""
        return self._place.health_now(self._storage)

    def close(self) -> None:
        """End it. What is not mirrored yet will be when it is started again. Never waits long."""
        with self._starting:
            self._closing.set()
            process = self._process
        _end_input(process)
        try:
            process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # it may wait for a cluster that does not answer; nothing is lost
            process.wait()
        if threading.current_thread() is not self._watch:
            self._watch.join()

    def _start(self) -> subprocess.Popen[bytes]:
        log = self._storage.create(self._place.log)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "nostro.projections.tigerbeetle.mirror", str(self._path)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | _environment(self.configuration),
                start_new_session=True,  # Ctrl-C is for the ledger's process, which ends this one
            )
        finally:
            self._storage.close(log)

    def _watch_it(self) -> None:
        """Start it again when it has died, and log what it says is wrong."""
        breaker, told = Breaker(), None
        while not self._closing.wait(_LOOK_SECONDS):
            code = self._process.poll()
            health = self.health()
            ours = health is not None and health.process_id == self._process.pid
            if ours and health is not None and health.last_error not in {None, told}:
                told = health.last_error
                _log.warning("mirror to TigerBeetle: %s (%s)", told, health.state)
            if code is None:
                continue
            if code in {EXIT_DIVERGED, EXIT_HELD}:
                _log.error("the mirror to TigerBeetle has stopped: %s", _reason(code, told))
                return
            _log.error("the mirror to TigerBeetle ended with %s; see %s", code, self._place.log)
            if self._closing.wait(breaker.failed()):
                return
            with self._starting:
                if not self._closing.is_set():
                    _end_input(self._process)
                    self._process = self._start()


def _environment(configuration: ClusterConfiguration) -> dict[str, str]:
    return {
        CLUSTER_ID: str(configuration.cluster_id),
        REPLICAS: ",".join(configuration.replicas),
        LINGER_SECONDS: str(configuration.linger_seconds),
        TIMEOUT_SECONDS: str(configuration.timeout_seconds),
        BATCH_EVENTS: str(configuration.batch_events_max),
    }


def _end_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None, "it was started with a pipe"
    process.stdin.close()


def _reason(code: int, told: str | None) -> str:
    if code == EXIT_HELD:
        return "another process mirrors this ledger already"
    return told or "journal and cluster differ"
