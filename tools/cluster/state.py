"""``state.json``: what the supervisor tells about its replicas, for people to read.

Nothing is ever signalled because of it: the kernel says which process runs (`process_lock.py`). It
adds since when, and how the last run ended.
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
    process_id: int = attrs.field(converter=int)
    """0 while it waits for its next start."""
    started_at_ns: int = attrs.field(converter=int)
    restarts: int = attrs.field(converter=int)
    ended: str = attrs.field(converter=str)
    """How the last run ended; empty when there was none."""


def write_state(directory: Path, supervisor: int, replicas: list[ReplicaState]) -> None:
    value = {"supervisor": supervisor, "replicas": [attrs.asdict(state) for state in replicas]}
    replace_file(Storage(), directory / _NAME, json.dumps(value).encode())


def read_state(directory: Path, supervisor: int) -> list[ReplicaState]:
    """Return what this supervisor wrote; nothing when it wrote none, or it cannot be read."""
    try:
        value: Any = json.loads(read_file(Storage(), directory / _NAME))
        if value["supervisor"] != supervisor:
            return []
        return [ReplicaState(**state) for state in value["replicas"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
