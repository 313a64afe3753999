"""The status of a cluster: its processes, its ports, and whether it answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import attrs

from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import (
    Description,
    log_file,
    read_description,
    replica_lock,
    supervisor_lock,
)
from nostro.tools.cluster.lookup import Answer, look_up
from nostro.tools.cluster.ports import is_open
from nostro.tools.cluster.state import ReplicaState, read_state

LOOKUP_SECONDS: Final = 5.0


@attrs.frozen
class ReplicaStatus:
    address: str
    process_id: int | None
    port_open: bool
    data_bytes: int | None
    resident_bytes: int | None
    """Memory; None on a system without /proc."""
    uptime_seconds: float | None
    restarts: int
    ended: str
    """How the last run ended; empty when there was none."""
    log: Path

    @property
    def running(self) -> bool:
        return self.process_id is not None


@attrs.frozen
class ClusterStatus:
    directory: Path
    description: Description
    supervisor: int | None
    replicas: tuple[ReplicaStatus, ...]
    answer: Answer

    @property
    def running(self) -> int:
        return sum(replica.running for replica in self.replicas)

    @property
    def healthy(self) -> bool:
        """Whether supervisor and replicas run, every port is open, and no look-up failed."""
        sound = all(replica.running and replica.port_open for replica in self.replicas)
        return self.supervisor is not None and sound and not self.answer.failed

    @property
    def word(self) -> str:
        if self.healthy:
            return "healthy"
        if self.running == 0:
            return "stopped"
        if self.answer.came:
            return "degraded"
        return "not answering" if self.answer.tried else "not healthy"


def survey(directory: Path, *, seconds: float = LOOKUP_SECONDS) -> ClusterStatus:
    """Ask the kernel, the ports, and the cluster itself for at most ``seconds``.

    Raises:
        ClusterError: the directory contains no cluster, or its description cannot be used.
    """
    description = read_description(directory)
    supervisor = process_lock.holder(supervisor_lock(directory))
    states = read_state(directory, supervisor) if supervisor is not None else []
    replicas = tuple(
        _replica_status(directory, description, index, states)
        for index in range(description.replica_count)
    )
    if any(replica.running for replica in replicas):
        answer = look_up(description.cluster_id, description.replicas, seconds=seconds)
    else:
        answer = Answer(reason="no replica runs")
    return ClusterStatus(directory, description, supervisor, replicas, answer)


def _replica_status(
    directory: Path, description: Description, index: int, states: list[ReplicaState]
) -> ReplicaStatus:
    process_id = process_lock.holder(replica_lock(directory, index))
    state = states[index] if index < len(states) else None
    uptime = None
    if state is not None and process_id is not None and state.process_id == process_id:
        uptime = max((time.time_ns() - state.started_at_ns) / 1e9, 0.0)
    data = description.data_file(directory, index)
    return ReplicaStatus(
        address=description.addresses[index],
        process_id=process_id,
        port_open=is_open(description.addresses[index]),
        data_bytes=data.stat().st_size if data.is_file() else None,
        resident_bytes=_resident_bytes(process_id),
        uptime_seconds=uptime,
        restarts=state.restarts if state is not None else 0,
        ended=state.ended if state is not None else "",
        log=log_file(directory, index),
    )


def _resident_bytes(process_id: int | None) -> int | None:
    if process_id is None:
        return None
    try:
        text = Path(f"/proc/{process_id}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None
