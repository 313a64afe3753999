"""The mirror's files beside the ledger: lock, cursor and health."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import attrs
import pytest

from nostro.journal.reading.reader import Reader
from nostro.projections.tigerbeetle.errors import (
    AlreadyMirrored,
    ClusterUnreachable,
)
from nostro.projections.tigerbeetle.mirror.cursor import read_cursor
from nostro.projections.tigerbeetle.mirror.health import MirrorState
from nostro.projections.tigerbeetle.mirror.mirror import Intervals, Mirror
from tests.clocks import HandClock
from tests.disks import FullDisk
from tests.tigerbeetle.journals import SECOND, ends
from tests.tigerbeetle.mirrors import (
    Scripted,
    assert_mirrored,
    extend_in,
    mirror_of,
    run_until,
)
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    Session,
    SimulatedCluster,
)


def test_one_mirror_at_a_time(path: Path, cluster: SimulatedCluster) -> None:
    """Of one ledger in one cluster; the next begins when it is closed."""
    with mirror_of(path, cluster):
        with pytest.raises(AlreadyMirrored, match=r"tigerbeetle-7\.lock"):
            mirror_of(path, cluster)
        other = attrs.evolve(CONFIGURATION, cluster_id=8)
        mirror_of(path, cluster, configuration=other).close()
    mirror_of(path, cluster).close()


def test_a_full_disk_costs_the_cursor_and_nothing_else(
    path: Path, cluster: SimulatedCluster, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on, and says so; the next mirror asks the cluster how far it is."""
    disk = FullDisk()
    mirror = Mirror(path, CONFIGURATION, connect=cluster.connect, storage=disk)
    with mirror, caplog.at_level(logging.WARNING, "nostro"):
        disk.full = True
        assert mirror.catch_up().lag_events == 0
        assert "could not be written" in caplog.text
        assert read_cursor(disk, Reader(path), 7) is None
        extend_in(path, clock)
        disk.full = False
        assert mirror.catch_up().lag_events == 0
        assert read_cursor(disk, Reader(path), 7) is not None
    assert_mirrored(path, cluster, clock)


def test_a_full_disk_leaves_the_cursor_before(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    disk = FullDisk()
    with Mirror(path, CONFIGURATION, connect=cluster.connect, storage=disk) as mirror:
        mirror.catch_up()
        before = read_cursor(disk, Reader(path), 7)
        extend_in(path, clock)
        disk.full = True
        mirror.catch_up()
        assert read_cursor(disk, Reader(path), 7) == before
        disk.full = False
    with mirror_of(path, cluster) as mirror:
        mirror.catch_up()
    assert_mirrored(path, cluster, clock)


def test_its_health_is_in_a_file(path: Path, cluster: SimulatedCluster, clock: HandClock) -> None:
    """What it says of itself, from the beginning to the end; nobody else may read it."""
    said: list[tuple[str, int]] = []
    file = path / "mirror" / "tigerbeetle-7.health"

    def connect() -> Session:
        said.append(("", 0))
        return cluster.connect()

    configuration = attrs.evolve(CONFIGURATION, batch_events_max=3)
    intervals = Intervals(health_seconds=0.0)
    with Mirror(path, configuration, connect=connect, clock=clock, intervals=intervals) as mirror:
        assert mirror.health().state is MirrorState.STARTING
        assert mirror.health().lag_events == ends(path)[-1]
        clock.now += 3 * SECOND
        assert mirror.health().lag_seconds == 3
        run_until(mirror, lambda: mirror.health().state is MirrorState.LIVE)
        found = json.loads(file.read_bytes())
        assert found == mirror.health().as_json()
        assert found["state"] == "stopped"
        assert found["position"] == found["position_head"] == ends(path)[-1]
        assert (found["lag_events"], found["lag_seconds"], found["healthy"]) == (0, 0, False)
        assert (found["replicas"], found["cluster_id"]) == ("10.0.0.1:3001", 7)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_news_of_it_is_told_at_once(path: Path, cluster: SimulatedCluster) -> None:
    """That a cluster cannot be reached, and that it can again, though the next look is far off."""
    file = path / "mirror" / "tigerbeetle-7.health"
    told: list[tuple[str, bool]] = []
    gone = ClusterUnreachable(7, "10.0.0.1:3001", 4.0)
    opening = Scripted(cluster, gone, gone)

    def connect() -> Session:
        if opening.opened:
            found = json.loads(file.read_bytes())
            told.append((found["state"], found["connected"]))
        return opening()

    rarely = Intervals(health_seconds=3_600.0)
    with mirror_of(path, cluster, connect, intervals=rarely) as mirror:
        run_until(mirror, lambda: file.exists() and json.loads(file.read_bytes())["connected"])
    assert told == [("retrying", False)] * 2
