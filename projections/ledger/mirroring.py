"""The mirror of a ledger, if one is configured; its modules are loaded only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

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


def configured(
    mirror: ClusterConfiguration | Literal["environment"] | None,
) -> ClusterConfiguration | None:
    """The cluster to mirror into; None if there is none.

    Raises:
        InvalidField: the configuration in the environment is incomplete or wrong.
        ClientMissing: the client library is not installed.
    """
    if mirror == "environment":
        if not any(map(os.environ.get, _VARIABLES)):
            return None
        from nostro.projections.tigerbeetle.configuration import (  # noqa: PLC0415  # only if need be
            ClusterConfiguration,
        )

        mirror = ClusterConfiguration.from_environment(os.environ)
    if mirror is not None:
        mirror.require_client()
    return mirror


def backend(path: Path, cluster: ClusterConfiguration | None) -> str:
    """The text that names the ledger's backend in logs."""
    if cluster is None:
        return f"journal (data: {path})"
    return f"journal (data: {path}), mirrored to TigerBeetle ({cluster})"
