"""The mirror: how fast it sends what is in the journal, and whether appending notices it."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import numpy as np

from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections import Ledger
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.mirror.cursor import forget_cursor
from nostro.projections.tigerbeetle.mirror.mirror import Mirror
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.tools.bench.measure import BATCH, Figure, Scale, quantile
from nostro.tools.bench.payments import open_accounts, transfer_batch
from tests.bench.stores import replica, tigerbeetle_unavailable

ACCOUNTS: Final = 10_000
_PER_SECOND: Final = 500
"""Requests a second while latencies are taken: neither the disk nor a core is busy with them."""
_TURN_SECONDS: Final = 4.0
_BEGIN_SECONDS: Final = 3.0
"""By then a mirror has connected, or waits."""
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # only a folder of our own in it is used


def run_mirror(folder: Path, scale: Scale) -> Iterator[Figure]:
    """Yield how fast the mirror sends, and how long appends take beside it.

    Yields nothing on a machine without a TigerBeetle server or its client package.
    """
    if tigerbeetle_unavailable():
        return
    path = folder / "mirrored"
    with TemporaryDirectory(dir=folder) as other, replica(Path(other)) as address:
        cluster = ClusterConfiguration(0, (address,))
        yield _catching_up(path, cluster, scale)
        gone = ClusterConfiguration(1, cluster.replicas)  # no replica answers for another cluster
        ways = {"alone": None, "cluster gone": gone, "mirrored": cluster}
        yield from _latencies(path, ways, scale)
    if _can_be_apart():
        yield from _latencies_apart(path, scale)
    shutil.rmtree(path)


def _catching_up(path: Path, cluster: ClusterConfiguration, scale: Scale) -> Figure:
    random = np.random.default_rng(3)
    with Ledger.open(path) as ledger:
        open_accounts(ledger, ACCOUNTS)
        for _ in range(0, scale.transfers, BATCH):
            ledger.create_transfers(transfer_batch(random, BATCH, accounts=ACCOUNTS))
    with Mirror(path, cluster) as mirror:
        _await(cluster)
        began = time.perf_counter()
        count = mirror.catch_up().events_mirrored
        seconds = time.perf_counter() - began
    what = f"{count:,} events into one local replica, connecting included"
    return Figure("mirror", count / seconds, "events/s", what)


def _await(cluster: ClusterConfiguration) -> None:
    """Until the replica has made itself ready."""
    patient = attrs.evolve(cluster, timeout_seconds=60.0)
    with Cluster(patient, native_connect(patient)) as replica:
        replica.now()


def _can_be_apart() -> bool:
    return _MEMORY.is_dir() and hasattr(os, "sched_getaffinity") and len(_cores()) > 1


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _latencies_apart(path: Path, scale: Scale) -> Iterator[Figure]:
    """Beside a cluster that shares neither disk nor core with the ledger, as on another machine.

    The replica and the mirror's process have the last core, and the replica's data is in memory.
    """
    cores = _cores()
    with TemporaryDirectory(dir=_MEMORY) as memory:
        try:
            os.sched_setaffinity(0, cores[-1:])  # what is started from here on inherits it
            with replica(Path(memory)) as address:
                cluster = ClusterConfiguration(0, (address,))
                forget_cursor(Storage(), Directory(path), cluster.cluster_id)
                with Mirror(path, cluster) as mirror:
                    _await(cluster)
                    mirror.catch_up()
                ways = {"alone on a core": None, "mirrored to a cluster apart": cluster}
                yield from _latencies(path, ways, scale, cores)
        finally:
            _move_to(cores)


def _move_to(cores: list[int]) -> None:
    """All threads of this process, and what it starts from now on."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(task.name), cores)


def _latencies(
    path: Path,
    ways: dict[str, ClusterConfiguration | None],
    scale: Scale,
    cores: list[int] | None = None,
) -> Iterator[Figure]:
    """One way and then the other, in turns; the ledger on the first of these cores, if given."""
    turns: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(max(3, scale.singles // 500)):
        for name, way in ways.items():
            turns[name].append(_paced(path, way, cores))
    for name, taken in turns.items():
        count = sum(map(len, taken))
        workload = f"{count:,} requests, {_PER_SECOND} a second, median of {len(taken)} turns"
        for share in (50, 99):
            value = 1e3 * statistics.median(quantile(turn, share / 100) for turn in taken)
            yield Figure(f"append, {name}, p{share}", value, "ms", workload, False)


def _paced(path: Path, way: ClusterConfiguration | None, cores: list[int] | None) -> list[float]:
    random = np.random.default_rng(4)
    times = []
    if cores is not None:
        _move_to(cores[-1:])  # where the mirror's process stays
    with Ledger.open(path, mirror=way) as ledger:
        if cores is not None:
            _move_to(cores[:1])
        due = time.perf_counter() + _BEGIN_SECONDS
        end = due + _TURN_SECONDS
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            rows = transfer_batch(random, 1, accounts=ACCOUNTS)
            began = time.perf_counter()
            ledger.create_transfers(rows)
            times.append(time.perf_counter() - began)
            due += 1 / _PER_SECOND
    return times
