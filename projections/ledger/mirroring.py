"""The mirror of a ledger, if one is configured; its modules are loaded only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
    from nostro.projections.tigerbeetle.mirror.process import MirrorProcess

_VARIABLES: Final = ("TIGERBEETLE_CLUSTER_ID", "TIGERBEETLE_REPLICAS")


def start_mirror(path: Path, cluster: ClusterConfiguration | None) -> MirrorProcess | None:
    """Start mirroring the ledger at ``path`` into ``cluster``; None does nothing.

    Raises:
        OSError: no process could be started.
    """
    if cluster is None:
        return None
    from nostro.projections.tigerbeetle.mirror.process import MirrorProcess  # noqa: PLC0415  # only if need be

    return MirrorProcess(path, cluster)


def cluster_from_environment() -> ClusterConfiguration | None:
    """The cluster that the environment names; None if it names none.

    Raises:
        InvalidField: only one of TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS is set, or a
            value is wrong.
    """
    if not any(map(os.environ.get, _VARIABLES)):
        return None
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration  # noqa: PLC0415  # only if need be

    return ClusterConfiguration.from_environment(os.environ)


def backend(path: Path, cluster: ClusterConfiguration | None) -> str:
    """The text that names the ledger's backend in logs."""
    if cluster is None:
        return f"journal (data: {path})"
    return f"journal (data: {path}), mirrored to TigerBeetle ({cluster})"
