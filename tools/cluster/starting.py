"""Start a cluster: make it if it is new, check everything, and start its supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import attrs

from nostro.journal import DestinationTaken, LedgerLocked
from nostro.journal.storage.atomic_directory import atomic_directory
from nostro.journal.storage.files import Storage
from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import (
    Description,
    check_directory,
    is_cluster,
    read_description,
    replica_lock,
    supervisor_lock,
    write_description,
)
from nostro.tools.cluster.errors import (
    AlreadyRunning,
    ClusterDamaged,
    ClusterRefused,
    NotACluster,
    SupervisorFailed,
)
from nostro.tools.cluster.ports import HOST, check_free, choose_ports
from nostro.tools.cluster.server import format_data_file, server_version
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import Log

CACHE_GRID_MIB: Final = 64
"""The server's own default is 1 GiB; 64 MiB is enough for development."""
_PACKAGE_PATH: Final = Path(__file__).parents[3]
"""The folder that holds the package: not resolved, since a checkout links to this folder."""


@attrs.frozen
class Options:
    """What the caller asks for. None: keep what the cluster has; a new one gets the default."""

    replicas: int | None = None
    cluster_id: int | None = None
    port: int | None = None
    """The port of the first replica; the others follow. 0 chooses free ports."""
    cache_grid_mib: int | None = None
    development: bool | None = None


def prepare(directory: Path, options: Options, server: Path, *, log: Log) -> Description:
    """Return the cluster in the directory, ready to start. Make it if it is new.

    Replicas that run without a supervisor are stopped: they restart with one.

    Raises:
        AlreadyRunning: it runs already, with these options.
        ClusterError: the options do not fit, or something else forbids the start. Nothing was
            changed.
    """
    version = server_version(server)
    if not is_cluster(directory):
        description = _new(options, version)
        check_free(description.addresses)
        _make(directory, description, server)
        return description
    before = read_description(directory)
    _check_options(directory, before, options)
    supervisor = process_lock.holder(supervisor_lock(directory))
    if supervisor is not None:
        if _changed(before, attrs.evolve(options, port=options.port or None)) != before:
            raise ClusterRefused(
                f"{directory}: process {supervisor} runs this cluster with other options",
                hint="nothing was changed; run `nostro cluster down DIR` first",
            )
        raise AlreadyRunning(directory, supervisor)
    description = attrs.evolve(_changed(before, options), version=version)
    _check_data_files(directory, description)
    _stop_orphans(directory, description, log)
    check_free(description.addresses)
    if description != before:
        write_description(directory, description)
    return description


def start_detached(directory: Path, server: Path) -> None:
    """Start the supervisor as a process that outlives this one; return once it has started.

    Raises:
        SupervisorFailed: it did not start.
    """
    path = os.pathsep.join(filter(None, [str(_PACKAGE_PATH), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "nostro.tools.cluster", os.path.realpath(directory), str(server)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        umask=0o077,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise SupervisorFailed(f"the supervisor did not start:\n{said}")


def _make(directory: Path, description: Description, server: Path) -> None:
    """Format a data file for each replica, and describe the cluster.

    The directory appears complete or not at all: an interruption leaves no cluster, so a data file
    that is missing later was lost, and is never formatted again.
    """
    if directory.is_dir():
        check_directory(directory)
    try:
        with atomic_directory(Storage(), directory) as unfinished:
            for replica in range(description.replica_count):
                format_data_file(server, description, unfinished, replica)
            write_description(unfinished, description)
    except DestinationTaken as error:
        raise NotACluster(directory, error.reason) from None
    except LedgerLocked:
        raise ClusterRefused(
            f"{directory}: another process is making a cluster there", hint="wait until it is done"
        ) from None


def _check_data_files(directory: Path, description: Description) -> None:
    for replica in range(description.replica_count):
        path = description.data_file(directory, replica)
        if not path.is_file():
            raise ClusterDamaged(
                f"{path}: the data file is gone; a fresh file in its place would lose data",
                hint="nothing was changed; restore the file from a backup, or with three replicas"
                " let `tigerbeetle recover` rebuild it from the other two:"
                " docs/guides/tigerbeetle.md",
            )


def _check_options(directory: Path, description: Description, options: Options) -> None:
    """Refuse to change what never changes."""
    for what, asked, value in (
        ("cluster id", options.cluster_id, description.cluster_id),
        ("number of replicas", options.replicas, description.replica_count),
    ):
        if asked is not None and asked != value:
            raise ClusterRefused(
                f"{directory}: the {what} of this cluster is {value}, not {asked}; it is part of"
                " every data file and never changes",
                hint="nothing was changed; make another cluster in another directory",
            )
    if options.development and not description.development:
        raise ClusterRefused(
            f"{directory}: this cluster takes full batches; --development would shrink them, and"
            " the server could fail to read the larger ones",
            hint="nothing was changed; run the command without --development",
        )


def _stop_orphans(directory: Path, description: Description, log: Log) -> None:
    locks = [replica_lock(directory, index) for index in range(description.replica_count)]
    left = [str(index) for index, lock in enumerate(locks) if process_lock.holder(lock) is not None]
    if left:
        log(f"replica {', '.join(left)} ran without a supervisor: stopped, to restart with one")
        stop_cluster(directory, log=log)


def _new(options: Options, version: str) -> Description:
    development = bool(options.development)
    return Description(
        cluster_id=options.cluster_id or 0,
        addresses=_addresses(options.port or 0, options.replicas or 1),
        version=version,
        cache_grid_mib=options.cache_grid_mib or (None if development else CACHE_GRID_MIB),
        development=development,
    )


def _changed(before: Description, options: Options) -> Description:
    """Return the description with what may change: ports, memory, larger batches."""
    after = before
    if options.port is not None:
        after = attrs.evolve(after, addresses=_addresses(options.port, before.replica_count))
    if options.development is False and before.development:
        after = attrs.evolve(after, development=False, cache_grid_mib=CACHE_GRID_MIB)
    if options.cache_grid_mib is not None:
        after = attrs.evolve(after, cache_grid_mib=options.cache_grid_mib)
    return after


def _addresses(port: int, count: int) -> tuple[str, ...]:
    ports = range(port, port + count) if port else choose_ports(count)
    return tuple(f"{HOST}:{number}" for number in ports)
