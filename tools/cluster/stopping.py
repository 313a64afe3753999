"""Stopping a cluster: its own processes only, asked first and killed after a time."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import read_description, replica_lock, supervisor_lock
from nostro.tools.cluster.supervisor import STOP_SECONDS, Tell

_MORE_SECONDS: Final = 2.0
"""The supervisor kills what does not end in time; it is given as long to say so and to end."""


def stop_cluster(directory: Path, *, tell: Tell, seconds: float = STOP_SECONDS) -> int:
    """Stop what runs of the cluster; return how many processes that were, 0 when none did.

    The supervisor stops its replicas. What it leaves, or ran without one, is stopped here.

    Raises:
        ClusterError: the directory holds no cluster, or a process does not end.
    """
    count = read_description(directory).replica_count
    locks = [(f"replica {index}", replica_lock(directory, index)) for index in range(count)]
    running = sum(process_lock.holder(lock) is not None for _, lock in locks)
    supervisor = supervisor_lock(directory)
    if process_lock.send(supervisor, signal.SIGTERM) is not None:
        running += 1
        _end("the supervisor", supervisor, seconds, tell, replicas=locks)
    for name, lock in locks:
        if process_lock.send(lock, signal.SIGTERM) is not None:
            _end(name, lock, seconds, tell)
    return running


def _end(
    name: str,
    lock: Path,
    seconds: float,
    tell: Tell,
    *,
    replicas: list[tuple[str, Path]] | None = None,
) -> None:
    """Wait for the end of what was asked to, and kill what is in its way, then itself."""
    if process_lock.wait_released(lock, seconds=seconds):
        return
    for replica, replica_path in replicas or []:
        if process_lock.holder(replica_path) is not None:
            tell(f"{replica} did not end in {seconds:g} s: SIGKILL")
            process_lock.kill(replica_path)
    if replicas and process_lock.wait_released(lock, seconds=_MORE_SECONDS):
        return
    tell(f"{name} did not end in {seconds:g} s: SIGKILL")
    process_lock.kill(lock)
