"""The supervisor as its own process: ``python -m nostro.tools.cluster DIR SERVER``.

The command ends when the replicas have started, or with the reason on standard error. Its forked
child supervises them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nostro.tools.cluster.description import open_log, read_description, supervisor_log
from nostro.tools.cluster.errors import ClusterError
from nostro.tools.cluster.supervisor import Supervisor
from nostro.tools.signals import stop_on_signal

_READY: Final = b"ready"
_STOP_SECONDS: Final = 30.0
"""Longer than `nostro cluster down` waits, so that command reports the SIGKILL."""


def main(directory: Path, server: Path) -> int:
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return 0 if pipe.read() == _READY else 1
    os.close(reading)
    try:
        with stop_on_signal(signal.SIGHUP) as stop:
            supervisor = Supervisor(directory, read_description(directory), server, log=_log)
            _redirect_to_log(directory, 1)
            supervisor.start()
            _redirect_to_log(directory, 2)
            os.write(writing, _READY)
            os.close(writing)
            supervisor.run(stop, seconds=_STOP_SECONDS)
    except (ClusterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _log(text: str) -> None:
    now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
    sys.stdout.write(f"{now} {text}\n")
    sys.stdout.flush()


def _redirect_to_log(directory: Path, fd: int) -> None:
    """Release the pipes of the command that started this process."""
    log = open_log(supervisor_log(directory))
    os.dup2(log, fd)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
