"""Starting a cluster: what must hold before, and the supervisor as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import attrs

from nostro.tools.cluster import process_lock
from nostro.tools.cluster.binary import binary_version
from nostro.tools.cluster.description import (
    Description,
    is_cluster,
    read_description,
    replica_lock,
    supervisor_lock,
    write_description,
)
from nostro.tools.cluster.errors import (
    AlreadyRunning,
    BatchesWouldShrink,
    OtherCluster,
    RunsOtherwise,
    SupervisorFailed,
)
from nostro.tools.cluster.making import check_data_files, make_cluster
from nostro.tools.cluster.ports import HOST, check_free, choose_ports
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import Tell

CACHE_GRID_MIB: Final = 64
"""The server's own default is 1 GiB; this is enough for what fits a desk."""
_PACKAGE_PATH: Final = Path(__file__).parents[3]
"""The folder that holds the package: not resolved, since a checkout links to this folder."""


@attrs.frozen
class Wishes:
    """What the caller asks for; None: as the cluster has it, or the default for a new one."""

    replicas: int | None = None
    cluster_id: int | None = None
    port: int | None = None
    """Of the first replica, and the next ones follow; 0 chooses free ones."""
    cache_grid_mib: int | None = None
    development: bool | None = None


def prepare(directory: Path, wishes: Wishes, binary: Path, *, tell: Tell) -> Description:
    """Return the cluster that is in the directory, made if it is new, ready to be started.

    Replicas that have lost their supervisor are stopped, to be started anew with one.

    Raises:
        AlreadyRunning: it runs, as is wished for.
        RunsOtherwise: it runs, with another port or other memory.
        ClusterError: the wishes do not fit it, or something is in the way. Nothing was changed.
    """
    version = binary_version(binary)
    if not is_cluster(directory):
        description = _new(wishes, version)
        check_free(description.addresses)
        make_cluster(directory, description, binary)
        return description
    before = read_description(directory)
    check_wishes(directory, before, wishes)
    supervisor = process_lock.holder(supervisor_lock(directory))
    if supervisor is not None:
        if _changed(before, attrs.evolve(wishes, port=wishes.port or None)) != before:
            raise RunsOtherwise(directory, supervisor)
        raise AlreadyRunning(directory, supervisor)
    description = attrs.evolve(_changed(before, wishes), version=version)
    check_data_files(directory, description)
    _stop_orphans(directory, description, tell)
    check_free(description.addresses)
    if description != before:
        write_description(directory, description)
    return description


def check_wishes(directory: Path, description: Description, wishes: Wishes) -> None:
    """Refuse what cannot be changed.

    Raises:
        OtherCluster: another id, or another number of replicas.
        BatchesWouldShrink: --development for a cluster that was without.
    """
    for what, asked, value in (
        ("cluster id", wishes.cluster_id, description.cluster_id),
        ("number of replicas", wishes.replicas, description.replica_count),
    ):
        if asked is not None and asked != value:
            raise OtherCluster(directory, what, str(value), str(asked))
    if wishes.development and not description.development:
        raise BatchesWouldShrink(directory)


def start_detached(directory: Path, binary: Path) -> None:
    """Start the supervisor as a process that outlives this one; return once it has begun.

    Raises:
        SupervisorFailed: it has not.
    """
    path = os.pathsep.join(filter(None, [str(_PACKAGE_PATH), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "nostro.tools.cluster", str(directory.resolve()), str(binary)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        umask=0o077,
        check=False,
    )
    if done.returncode:
        raise SupervisorFailed(done.stderr.decode(errors="replace").strip())


def _stop_orphans(directory: Path, description: Description, tell: Tell) -> None:
    locks = [replica_lock(directory, index) for index in range(description.replica_count)]
    left = [str(index) for index, lock in enumerate(locks) if process_lock.holder(lock) is not None]
    if left:
        tell(f"replica {', '.join(left)} ran without a supervisor: stopped, to be started anew")
        stop_cluster(directory, tell=tell)


def _new(wishes: Wishes, version: str) -> Description:
    count = wishes.replicas or 1
    development = bool(wishes.development)
    grid = wishes.cache_grid_mib or (None if development else CACHE_GRID_MIB)
    return Description(
        cluster_id=wishes.cluster_id or 0,
        addresses=_addresses(wishes.port or 0, count),
        version=version,
        cache_grid_mib=grid,
        development=development,
    )


def _changed(before: Description, wishes: Wishes) -> Description:
    """What may change from one start to the next: ports, memory, larger batches."""
    after = before
    if wishes.port is not None:
        after = attrs.evolve(after, addresses=_addresses(wishes.port, before.replica_count))
    if wishes.development is False and before.development:
        after = attrs.evolve(after, development=False, cache_grid_mib=CACHE_GRID_MIB)
    if wishes.cache_grid_mib is not None:
        after = attrs.evolve(after, cache_grid_mib=wishes.cache_grid_mib)
    return after


def _addresses(port: int, count: int) -> tuple[str, ...]:
    ports = range(port, port + count) if port else choose_ports(count)
    return tuple(f"{HOST}:{number}" for number in ports)
