"""How a cluster is: who runs, who listens, whether it answers."""

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
from nostro.tools.cluster.lookup import Answer, client_is_installed, look_up
from nostro.tools.cluster.ports import is_open
from nostro.tools.cluster.state import ReplicaState, read_state

LOOKUP_SECONDS: Final = 5.0
NO_CLIENT: Final = (
    "the package tigerbeetle is not installed, so no look-up was made: a port that is open shows"
    " that a process listens, not that the cluster answers"
)


@attrs.frozen
class ReplicaStatus:
    address: str
    process_id: int | None
    port_open: bool
    data_bytes: int | None
    resident_bytes: int | None
    """Memory; None where the system does not say."""
    uptime_seconds: float | None
    restarts: int
    ended: str
    """How the run before this one ended; empty when there was none."""
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
    answer: Answer | None
    """None: the client package is missing, so nobody asked."""

    @property
    def running(self) -> int:
        return sum(replica.running for replica in self.replicas)

    @property
    def healthy(self) -> bool:
        """Everything runs, is looked after, and answers as far as that could be asked."""
        sound = all(replica.running and replica.port_open for replica in self.replicas)
        answered = self.answer is None or self.answer.came
        return self.supervisor is not None and sound and answered

    @property
    def word(self) -> str:
        if self.healthy:
            return "healthy"
        if self.running == 0:
            return "stopped"
        if self.answer is not None and self.answer.came:
            return "degraded"
        return "not answering" if self.answer is not None else "not healthy"


def survey(directory: Path, *, seconds: float = LOOKUP_SECONDS) -> ClusterStatus:
    """Ask the kernel, the ports and the cluster itself; the last for at most ``seconds``.

    Raises:
        ClusterError: the directory holds no cluster that can be asked.
    """
    description = read_description(directory)
    supervisor = process_lock.holder(supervisor_lock(directory))
    states = read_state(directory, supervisor) if supervisor is not None else []
    replicas = tuple(
        _replica_status(directory, description, index, states)
        for index in range(description.replica_count)
    )
    return ClusterStatus(
        directory=directory,
        description=description,
        supervisor=supervisor,
        replicas=replicas,
        answer=_ask(description, replicas, seconds),
    )


def _ask(
    description: Description, replicas: tuple[ReplicaStatus, ...], seconds: float
) -> Answer | None:
    if not any(replica.running for replica in replicas):
        return Answer(None, "no replica runs")
    if not client_is_installed():
        return None
    return look_up(description.cluster_id, description.replicas, seconds=seconds)


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
    """Linux says it in /proc; elsewhere nobody is asked."""
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
