"""The status of a cluster: its processes, its ports, whether it answers; and waiting for that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
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
    supervisor_log,
)
from nostro.tools.cluster.errors import ClusterError
from nostro.tools.cluster.lookup import Answer, look_up, no_answer, start_lookup
from nostro.tools.cluster.ports import is_open
from nostro.tools.cluster.state import ReplicaState, read_state
from nostro.tools.cluster.supervisor import POLL_SECONDS

LOOKUP_SECONDS: Final = 5.0
_TAIL_BYTES: Final = 16 * 1024
_TAIL_LINES: Final = 8


@attrs.frozen
class ReplicaStatus:
    address: str
    process_id: int | None
    port_open: bool
    data_file_bytes: int | None
    memory_bytes: int | None
    """None on a system without /proc."""
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


def await_health(
    directory: Path,
    description: Description,
    *,
    seconds: float,
    progress: Callable[[int, int], None],
    poll: Callable[[], None] | None = None,
    stopped: Callable[[], bool] = bool,
    fresh: bool = True,
) -> Answer:
    """Return the answer to a look-up, once it has come and every port is open.

    Without the client package, return when every port is open.

    Args:
        progress: receives the number of open ports, and of all ports.
        poll: called in between, by a supervisor in this process.
        stopped: whether to give up now.
        fresh: whether the cluster has just started, so that no replica may have ended yet.

    Raises:
        ClusterError: a replica or the supervisor ended (the error quotes its log), the client
            failed, or the time is up.
    """
    closed = list(description.addresses)
    answer: Answer | None = None
    deadline = time.monotonic() + seconds
    with start_lookup(description.cluster_id, description.replicas) as wait:
        while time.monotonic() < deadline and not stopped():
            if poll is not None:
                poll()
            _check_alive(directory, fresh=fresh)
            closed = [address for address in closed if not is_open(address)]
            progress(description.replica_count - len(closed), description.replica_count)
            answer = answer or wait(0)
            if answer is not None and answer.failed:
                raise _unhealthy(answer.reason)
            if answer is not None and not closed:
                return answer
            time.sleep(POLL_SECONDS)
    raise _unhealthy(
        f"not every port is open after {seconds:g} s" if closed else no_answer(seconds)
    )


def _unhealthy(reason: str) -> ClusterError:
    return ClusterError(f"the cluster did not become healthy: {reason}")


def _check_alive(directory: Path, *, fresh: bool) -> None:
    """Fail when the supervisor has ended, or a replica of a cluster that has just started."""
    supervisor = process_lock.holder(supervisor_lock(directory))
    if supervisor is None:
        log = supervisor_log(directory)
        raise ClusterError(f"the supervisor has ended; {log} ends with:\n{_last_lines(log)}")
    for index, state in enumerate(read_state(directory, supervisor)):
        if fresh and state.ended:
            log = log_file(directory, index)
            raise ClusterError(
                f"replica {index} {state.ended}; {log} ends with:\n{_last_lines(log)}",
                hint="the cluster is stopped; docs/guides/tigerbeetle.md lists the usual causes",
            )


def _last_lines(log: Path) -> str:
    """Return the end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(it cannot be read: {error.strerror})"
    return "\n".join(text.splitlines()[-_TAIL_LINES:]) or "(nothing)"


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
        data_file_bytes=data.stat().st_size if data.is_file() else None,
        memory_bytes=_memory_bytes(process_id),
        uptime_seconds=uptime,
        restarts=state.restarts if state is not None else 0,
        ended=state.ended if state is not None else "",
        log=log_file(directory, index),
    )


def _memory_bytes(process_id: int | None) -> int | None:
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
