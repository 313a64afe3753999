"""Whether a ledger is mirrored, and into what; what does it is loaded only if it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
    from nostro.projections.tigerbeetle.mirror.process import MirrorProcess

_VARIABLES: Final = ("TIGERBEETLE_CLUSTER_ID", "TIGERBEETLE_REPLICAS")


def start_mirror(path: Path, cluster: ClusterConfiguration | None) -> MirrorProcess | None:
    """Begin to mirror the ledger at ``path`` into what :func:`configured` has found, if anything.

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
    """The cluster that is meant; None when there is none.

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
    """Where the accounts of the ledger at ``path`` are kept, for a line in a log."""
    if cluster is None:
        return f"journal (data: {path})"
    return f"journal (data: {path}), mirrored to TigerBeetle ({cluster})"
