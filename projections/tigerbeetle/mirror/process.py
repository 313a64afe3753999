"""The mirror beside a ledger: in a process of its own, so that it never slows an append down.

The ledger starts the process and restarts it if it dies. The process reports its health in a file.
Nothing here waits for the cluster.
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
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.mirror.files import MirrorFiles
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth
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
        self._files = MirrorFiles(Directory(self._path), configuration.cluster_id)
        self._files.make(self._storage)
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._process = self._start()
        self._watch = threading.Thread(target=self._watch_it, name="nostro-mirror", daemon=True)
        self._watch.start()

    def health(self) -> MirrorHealth | None:
        """The mirror's health; None until the process has reported for the first time."""
        return self._files.health_now(self._storage)

    def close(self) -> None:
        """End the process; the next start mirrors the rest. Never waits long."""
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
        log = self._storage.create(self._files.log)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "nostro.projections.tigerbeetle.mirror", str(self._path)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | self.configuration.as_environment(),
                start_new_session=True,  # Ctrl-C is for the ledger's process, which ends this one
            )
        finally:
            self._storage.close(log)

    def _watch_it(self) -> None:
        """Restart the process when it has died, and log the errors it reports."""
        breaker, logged = Breaker(), None
        while not self._closing.wait(_LOOK_SECONDS):
            code = self._process.poll()
            health = self.health()
            ours = health is not None and health.process_id == self._process.pid
            if ours and health is not None and health.last_error not in {None, logged}:
                logged = health.last_error
                _log.warning("mirror to TigerBeetle: %s (%s)", logged, health.state)
            if code is None:
                continue
            if code in {EXIT_DIVERGED, EXIT_HELD}:
                reason = logged or "journal and cluster differ"
                if code == EXIT_HELD:
                    reason = "another process mirrors this ledger already"
                _log.error("the mirror to TigerBeetle has stopped: %s", reason)
                return
            _log.error("the mirror to TigerBeetle ended with %s; see %s", code, self._files.log)
            if self._closing.wait(breaker.failed()):
                return
            with self._starting:
                if not self._closing.is_set():
                    _end_input(self._process)
                    self._process = self._start()


def _end_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None, "it was started with a pipe"
    process.stdin.close()
