"""``state.json``: since when each replica runs, and how its last run ended.

The supervisor writes it, `nostro cluster status` shows it. No process is signalled because of it:
for that the kernel names the process (`process_lock.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from nostro.journal.storage.files import Storage, read_file, replace_file

_NAME: Final = "state.json"


@attrs.define
class ReplicaState:
    process_id: int = attrs.field(default=0, converter=int)
    """0 while it waits for its next start."""
    started_at_ns: int = attrs.field(default=0, converter=int)
    restarts: int = attrs.field(default=0, converter=int)
    ended: str = attrs.field(default="", converter=str)
    """How the last run ended; empty when there was none."""


def write_state(directory: Path, supervisor: int, replicas: list[ReplicaState]) -> None:
    value = {"supervisor": supervisor, "replicas": [attrs.asdict(state) for state in replicas]}
    replace_file(Storage(), directory / _NAME, json.dumps(value).encode())


def read_state(directory: Path, supervisor: int) -> list[ReplicaState]:
    """Return what this supervisor wrote; [] when it wrote nothing that can be read."""
    try:
        value: Any = json.loads(read_file(Storage(), directory / _NAME))
        if value["supervisor"] != supervisor:
            return []
        return [ReplicaState(**state) for state in value["replicas"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
