"""Stop a cluster: SIGTERM to its own processes only, then SIGKILL."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import read_description, replica_lock, supervisor_lock
from nostro.tools.cluster.supervisor import STOP_SECONDS, Log

_MORE_SECONDS: Final = 2.0
"""Once its replicas are killed, the supervisor needs only this long to end."""


def stop_cluster(directory: Path, *, log: Log, seconds: float = STOP_SECONDS) -> int:
    """Stop every process of the cluster; return how many there were.

    The supervisor stops its replicas. Replicas that it leaves, or that run without one, are stopped
    here.

    Raises:
        ClusterError: the directory contains no cluster, or a process does not end.
    """
    count = read_description(directory).replica_count
    replicas = {f"replica {index}": replica_lock(directory, index) for index in range(count)}
    running = sum(process_lock.holder(lock) is not None for lock in replicas.values())
    supervisor = supervisor_lock(directory)
    if process_lock.send(supervisor, signal.SIGTERM) is not None:
        running += 1
        if not process_lock.wait_released(supervisor, seconds=seconds):
            for name, lock in replicas.items():
                _kill(name, lock, seconds, log)
            if not process_lock.wait_released(supervisor, seconds=_MORE_SECONDS):
                _kill("the supervisor", supervisor, seconds, log)
    for name, lock in replicas.items():
        if process_lock.send(lock, signal.SIGTERM) is not None:
            process_lock.wait_released(lock, seconds=seconds)
            _kill(name, lock, seconds, log)
    return running


def _kill(name: str, lock: Path, seconds: float, log: Log) -> None:
    if process_lock.holder(lock) is not None:
        log(f"{name} did not end in {seconds:g} s: SIGKILL")
        process_lock.kill(lock)
