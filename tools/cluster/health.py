"""Waiting until a cluster that was started is well: every port open, a look-up answered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import (
    Description,
    log_file,
    supervisor_lock,
    supervisor_log,
)
from nostro.tools.cluster.errors import NotHealthy, ReplicaDied, SupervisorEnded
from nostro.tools.cluster.lookup import Answer, Lookup, client_is_installed, no_answer
from nostro.tools.cluster.ports import is_open
from nostro.tools.cluster.state import read_state
from nostro.tools.cluster.supervisor import LOOK_SECONDS

_TAIL_BYTES: Final = 16 * 1024
_TAIL_LINES: Final = 8


def await_health(
    directory: Path,
    description: Description,
    *,
    seconds: float,
    progress: Callable[[int, int], None],
    look: Callable[[], None] | None = None,
    stopped: Callable[[], bool] = bool,
    fresh: bool = True,
) -> Answer | None:
    """Wait until every port is open and a look-up is answered.

    Args:
        progress: called with how many ports are open, and of how many.
        look: called in between, by who supervises in this process.
        stopped: whether to give up now.
        fresh: it was just started, so that no replica may have ended yet.

    Returns:
        The answer; None when the client package is missing, so that ports are all that was seen.

    Raises:
        ReplicaDied: one has, though; its log is quoted.
        SupervisorEnded: so did what looks after them.
        NotHealthy: the time is up, or it was stopped.
    """
    moments = _moments(directory, description, progress, seconds, look, stopped, fresh)
    if not client_is_installed():
        if any(moments):
            return None
        raise NotHealthy(_ports_closed(seconds))
    with Lookup(description.cluster_id, description.replicas) as lookup:
        answer, all_open = None, False
        for all_open in moments:
            answer = answer or lookup.poll()
            if answer is not None and not answer.came:
                raise NotHealthy(answer.reason)
            if answer is not None and all_open:
                return answer
    raise NotHealthy(no_answer(seconds) if all_open else _ports_closed(seconds))


def _ports_closed(seconds: float) -> str:
    return f"not every port is open after {seconds:g} s"


def _moments(
    directory: Path,
    description: Description,
    progress: Callable[[int, int], None],
    seconds: float,
    look: Callable[[], None] | None,
    stopped: Callable[[], bool],
    fresh: bool,
) -> Iterator[bool]:
    """Yield now and then, until the time is up, whether every port has been seen open."""
    closed = list(description.addresses)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not stopped():
        if look is not None:
            look()
        _check_alive(directory, fresh=fresh)
        closed = [address for address in closed if not is_open(address)]
        progress(description.replica_count - len(closed), description.replica_count)
        yield not closed
        time.sleep(LOOK_SECONDS)


def _check_alive(directory: Path, *, fresh: bool) -> None:
    """Refuse to wait for what has ended.

    Raises:
        ReplicaDied: a replica has, since its supervisor started it.
        SupervisorEnded: the supervisor has.
    """
    supervisor = process_lock.holder(supervisor_lock(directory))
    if supervisor is None:
        log = supervisor_log(directory)
        raise SupervisorEnded(log, last_lines(log))
    for index, state in enumerate(read_state(directory, supervisor)):
        if fresh and state.ended:
            log = log_file(directory, index)
            raise ReplicaDied(index, state.ended, log, last_lines(log))


def last_lines(log: Path) -> str:
    """Return the end of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(it cannot be read: {error.strerror})"
    return "\n".join(text.splitlines()[-_TAIL_LINES:]) or "(nothing)"
