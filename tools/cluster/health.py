"""Wait until a started cluster is healthy: every port is open, and a look-up is answered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import (
    Description,
    log_file,
    supervisor_lock,
    supervisor_log,
)
from nostro.tools.cluster.errors import ClusterError
from nostro.tools.cluster.lookup import Answer, Lookup, no_answer
from nostro.tools.cluster.ports import is_open
from nostro.tools.cluster.state import read_state
from nostro.tools.cluster.supervisor import POLL_SECONDS

_TAIL_BYTES: Final = 16 * 1024
_TAIL_LINES: Final = 8


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
    with Lookup(description.cluster_id, description.replicas) as lookup:
        while time.monotonic() < deadline and not stopped():
            if poll is not None:
                poll()
            _check_alive(directory, fresh=fresh)
            closed = [address for address in closed if not is_open(address)]
            progress(description.replica_count - len(closed), description.replica_count)
            answer = answer or lookup.wait(0)
            if answer is not None and answer.failed:
                raise _unhealthy(answer.reason)
            if answer is not None and not closed:
                return answer
            time.sleep(POLL_SECONDS)
    raise _unhealthy(
        f"not every port is open after {seconds:g} s" if closed else no_answer(seconds)
    )


def last_lines(log: Path) -> str:
    """Return the end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(it cannot be read: {error.strerror})"
    return "\n".join(text.splitlines()[-_TAIL_LINES:]) or "(nothing)"


def _unhealthy(reason: str) -> ClusterError:
    return ClusterError(f"the cluster did not become healthy: {reason}")


def _check_alive(directory: Path, *, fresh: bool) -> None:
    """Fail when the supervisor has ended, or a replica of a cluster that has just started."""
    supervisor = process_lock.holder(supervisor_lock(directory))
    if supervisor is None:
        log = supervisor_log(directory)
        raise ClusterError(f"the supervisor has ended; {log} ends with:\n{last_lines(log)}")
    for index, state in enumerate(read_state(directory, supervisor)):
        if fresh and state.ended:
            log = log_file(directory, index)
            raise ClusterError(
                f"replica {index} {state.ended}; {log} ends with:\n{last_lines(log)}",
                hint="the cluster is stopped; docs/guides/tigerbeetle.md lists the usual causes",
            )
