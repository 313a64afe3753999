"""One function opens a ledger in a journal or in a cluster, as the configuration says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nostro.journal.errors import InvalidField
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.ledger.mirroring import cluster_from_environment
from nostro.projections.ledger.protocol import LedgerClient

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration

BACKEND: Final = "NOSTRO_BACKEND"
JOURNAL: Final = "journal"
TIGERBEETLE: Final = "tigerbeetle"


def open_ledger(
    path: Path | str | None = None,
    *,
    backend: str | None = None,
    cluster: ClusterConfiguration | None = None,
    **options: Any,
) -> LedgerClient:
    """A ledger in a journal or in a TigerBeetle cluster; both have the same methods.

    Args:
        path: the directory of the journal; a cluster ignores it.
        backend: "journal" or "tigerbeetle"; by default the value of NOSTRO_BACKEND, else the
            journal, mirrored into the cluster if one is configured.
        cluster: the cluster; by default that of TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS.
            A journal is mirrored into it. ``mirror=None`` opens the journal without the mirror
            that the environment names.
        options: those of :meth:`Ledger.open` or of :meth:`ClusterLedger.open`.

    Raises:
        InvalidField: the configuration contradicts itself, or lacks what the backend needs.
        JournalError: what :meth:`Ledger.open` or :meth:`ClusterLedger.open` raises.
    """
    field = "backend" if backend is not None else BACKEND
    chosen = backend if backend is not None else os.environ.get(BACKEND) or JOURNAL
    if chosen == TIGERBEETLE:
        return _open_cluster(field, cluster, options)
    if chosen != JOURNAL:
        raise InvalidField(field, chosen, f'must be "{JOURNAL}" or "{TIGERBEETLE}"')
    if path is None:
        raise InvalidField("path", path, "must be the directory of the journal")
    if cluster is not None and options.setdefault("mirror", cluster) != cluster:
        raise InvalidField("mirror", options["mirror"], "must be the same cluster as `cluster`")
    if "mirror" not in options and not options.get("read_only", False):
        options["mirror"] = cluster_from_environment()
    return Ledger.open(path, **options)


_CLUSTER_OPTIONS: Final = frozenset({"sessions", "attempts_max", "connect", "breaker"})


def _open_cluster(
    field: str, cluster: ClusterConfiguration | None, options: dict[str, Any]
) -> LedgerClient:
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration  # noqa: PLC0415
    from nostro.projections.tigerbeetle.ledger.cluster_ledger import ClusterLedger  # noqa: PLC0415  # an extra

    cluster = cluster or ClusterConfiguration.from_environment(os.environ)
    if cluster is None:
        reason = "needs TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS; set them"
        raise InvalidField(field, TIGERBEETLE, reason)
    if unknown := set(options) - _CLUSTER_OPTIONS:
        name = min(unknown)
        raise InvalidField(name, options[name], "is an option of the journal, not of a cluster")
    return ClusterLedger.open(cluster, **options)
