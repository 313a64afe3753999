"""Why a local cluster cannot be made, started, asked or stopped.

The class says which exit code follows; the message says what is wrong and where; the hint says what
to do next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SEE_LOGS: Final = "see DIR/replica-*.log; docs/guides/tigerbeetle.md lists the usual causes"


class ClusterError(Exception):
    """The cluster or the machine failed."""

    def __init__(self, message: str, *, hint: str = _SEE_LOGS) -> None:
        super().__init__(message)
        self.hint = hint


class ClusterRefused(ClusterError):
    """The request does not fit this cluster or this machine. Nothing was changed."""


class ClusterDamaged(ClusterError):
    """A file of the cluster is missing or cannot be used. Nothing was changed."""


class NotACluster(ClusterRefused):
    """The path does not hold a cluster, or belongs to another user."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: not a cluster's directory: {reason}",
            hint="nothing was changed; `nostro cluster up DIR` makes a cluster in a new directory",
        )


class AlreadyRunning(ClusterRefused):
    """Another process runs this cluster."""

    def __init__(self, path: Path, process_id: int) -> None:
        super().__init__(
            f"{path}: process {process_id} already runs this cluster",
            hint="`nostro cluster down DIR` stops it",
        )
        self.process_id = process_id


class SupervisorFailed(ClusterError):
    """The supervisor did not start."""
