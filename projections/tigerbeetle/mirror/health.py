"""The health of a mirror: in this process, or read from the file of another."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import attrs

from nostro.journal.storage.files import Storage, read_file


class MirrorState(enum.StrEnum):
    STARTING = "starting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    """The cluster has every event except those in flight."""
    RETRYING = "retrying"
    """No connection; the mirror tries again by itself."""
    STOPPED = "stopped"
    """On request."""
    DIVERGED = "diverged"
    """Journal and cluster differ; the mirror sends nothing more. Somebody must look into it."""
    FAILED = "failed"
    """It cannot go on for another reason."""


@attrs.frozen
class MirrorHealth:
    """A mirror at one moment."""

    state: MirrorState
    connected: bool
    cluster_id: int
    replicas: str
    position: int
    """The cluster holds every event up to there."""
    position_head: int
    """The journal's last durable event."""
    lag_seconds: float
    """The age of the oldest event that is not mirrored yet; 0 if all are."""
    events_mirrored: int
    """Accounts and transfers that the cluster has confirmed since this mirror began."""
    failures: int
    """Connections lost or refused since it began."""
    last_error: str | None
    last_error_at: int | None
    """ns"""
    updated_at: int
    """ns"""
    process_id: int

    @property
    def lag_events(self) -> int:
        return max(0, self.position_head - self.position)

    @property
    def is_healthy(self) -> bool:
        return self.connected and self.state in {MirrorState.CATCHING_UP, MirrorState.LIVE}

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values, and ``lag_events`` and ``healthy``."""
        return {
            **attrs.asdict(self),
            "state": self.state.value,
            "lag_events": self.lag_events,
            "healthy": self.is_healthy,
        }


def write_health(storage: Storage, path: Path, health: MirrorHealth) -> None:
    """Replace the file. It is not synced: after a crash it is of no use."""
    temporary = path.with_name(path.name + ".tmp")
    fd = storage.create(temporary)
    try:
        storage.write(fd, json.dumps(health.as_json()).encode(), 0)
    finally:
        storage.close(fd)
    storage.rename(temporary, path)


def read_health(storage: Storage, path: Path) -> MirrorHealth | None:
    """The health in the file; None if the file is missing or damaged."""
    try:
        found = json.loads(read_file(storage, path))
        fields = {field.name: found[field.name] for field in attrs.fields(MirrorHealth)}
        return MirrorHealth(**{**fields, "state": MirrorState(fields["state"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def metrics(health: MirrorHealth) -> str:
    """The Prometheus text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    label = f'{{cluster="{health.cluster_id}"}}'
    lines = []
    for name, kind, help_, value in (
        ("connected", "gauge", "Whether the cluster answers.", int(health.connected)),
        ("healthy", "gauge", "Whether the mirror does its work.", int(health.is_healthy)),
        ("position", "gauge", "Last event that the cluster holds.", health.position),
        ("lag_events", "gauge", "Events that it does not hold yet.", health.lag_events),
        ("lag_seconds", "gauge", "Time since it held all.", health.lag_seconds),
        ("events_total", "counter", "Events mirrored since the start.", health.events_mirrored),
        ("failures_total", "counter", "Failures since the start.", health.failures),
    ):
        metric = f"nostro_mirror_{name}"
        lines += [f"# HELP {metric} {help_}", f"# TYPE {metric} {kind}", f"{metric}{label} {value}"]
    return "\n".join(lines) + "\n"
