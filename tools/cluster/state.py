"""What the supervisor says of its replicas: ``state.json``, a hint that is never acted upon.

Who runs is asked of the kernel (`process_lock.py`); this adds since when, and what ended before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from nostro.journal.storage.files import Storage, read_file, replace_file

_NAME: Final = "state.json"


@attrs.frozen
class ReplicaState:
    process_id: int
    """0 while it waits for its next start."""
    started_at_ns: int
    restarts: int
    ended: str
    """How the run before this one ended; empty when there was none."""


def write_state(directory: Path, supervisor: int, replicas: list[ReplicaState]) -> None:
    value = {"supervisor": supervisor, "replicas": [attrs.asdict(state) for state in replicas]}
    replace_file(Storage(), directory / _NAME, json.dumps(value).encode())


def read_state(directory: Path, supervisor: int) -> list[ReplicaState]:
    """Return what that supervisor has written; nothing when it has not, or cannot be read."""
    try:
        value: Any = json.loads(read_file(Storage(), directory / _NAME))
        if value["supervisor"] != supervisor:
            return []
        return [
            ReplicaState(
                process_id=int(state["process_id"]),
                started_at_ns=int(state["started_at_ns"]),
                restarts=int(state["restarts"]),
                ended=str(state["ended"]),
            )
            for state in value["replicas"]
        ]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
