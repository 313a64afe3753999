"""The supervisor as a process of its own: ``python -m nostro.tools.cluster DIR BINARY``.

It ends once the replicas are started, successfully, or with the reason on standard error; what
looks after them is a child that nobody waits for.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nostro.tools.cluster.description import read_description, supervisor_log
from nostro.tools.cluster.errors import ClusterError
from nostro.tools.cluster.supervisor import Supervisor, stop_on_signal

_READY: Final = b"ready"
_STOP_SECONDS: Final = 30.0
"""Longer than who asks for the end waits, so that it is they who say that they kill."""


def main(directory: Path, binary: Path) -> int:
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return 0 if pipe.read() == _READY else 1
    os.close(reading)
    try:
        with stop_on_signal() as stop:
            supervisor = Supervisor(directory, read_description(directory), binary, tell=_tell)
            _turn_to_log(directory, 1)
            supervisor.start()
            _turn_to_log(directory, 2)
            os.write(writing, _READY)
            os.close(writing)
            supervisor.run(stop, seconds=_STOP_SECONDS)
    except (ClusterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _tell(text: str) -> None:
    now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
    sys.stdout.write(f"{now} {text}\n")
    sys.stdout.flush()


def _turn_to_log(directory: Path, fd: int) -> None:
    """Let go of what belongs to who started this process."""
    log = os.open(
        supervisor_log(directory),
        os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW,
        0o600,
    )
    os.dup2(log, fd)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
