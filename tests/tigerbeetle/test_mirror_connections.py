"""The mirror and its connections: it tries again where that may help, and stops where not."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import (
    ClientFailed,
    ConnectionFailed,
    ForeignData,
    HostUnknown,
    ReleaseMismatch,
    SessionEvicted,
)
from nostro.projections.tigerbeetle.mirror.health import MirrorState
from nostro.projections.tigerbeetle.mirror.mirror import Intervals, Mirror
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.session import Reply
from tests.clocks import HandClock
from tests.tigerbeetle.mirrors import (
    Quick,
    Scripted,
    assert_mirrored,
    mirror_of,
    run_until,
)
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    Session,
    SimulatedCluster,
)


def test_it_tries_again_until_there_is_an_answer(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """And tells of it meanwhile; after a success nothing of it is left but the last error."""
    connect = Scripted(cluster, *["stuck"] * 3, SessionEvicted())
    waited: list[int] = []
    states: list[MirrorState] = []

    class Noting(Quick):
        def failed(self) -> float:
            states.append(mirror.health().state)
            assert not mirror.health().connected
            wait = super().failed()
            waited.append(self.failures)
            return wait

    breaker = Noting()
    with Mirror(path, CONFIGURATION, connect=connect, breaker=breaker, clock=clock) as mirror:
        run_until(mirror, lambda: mirror.health().state is MirrorState.LIVE)
        assert waited == [1, 2, 3, 4]
        assert states == [MirrorState.RETRYING] * 4
        assert not breaker.is_open
        health = mirror.health()
        assert health.failures == 4
        assert health.last_error is not None
        assert "at most 64" in health.last_error
        assert health.last_error_at == clock.now
    assert_mirrored(path, cluster, clock)


def test_it_can_be_stopped_while_it_waits_for_the_next_attempt(
    path: Path, cluster: SimulatedCluster
) -> None:
    """However long that wait is."""

    class Slow(Breaker):
        def failed(self) -> float:
            return super().failed() + 3_600

    connect = Scripted(cluster, *["stuck"] * 100)
    with Mirror(path, CONFIGURATION, connect=connect, breaker=Slow()) as mirror:
        run_until(mirror, lambda: mirror.health().state is MirrorState.RETRYING)
        assert mirror.health().state is MirrorState.STOPPED
    assert connect.opened == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ReleaseMismatch("old"), MirrorState.FAILED),
        (ClientFailed("no room"), MirrorState.FAILED),
        (ForeignData("account", 1, 2), MirrorState.DIVERGED),
    ],
)
def test_what_no_further_attempt_helps_ends_it(
    path: Path, cluster: SimulatedCluster, error: Exception, state: MirrorState
) -> None:
    connect = Scripted(cluster, error)
    with mirror_of(path, cluster, connect) as mirror:
        with pytest.raises(type(error)):
            mirror.run(threading.Event())
        assert mirror.health().state is state
        assert mirror.health().last_error == str(error)
        assert not mirror.health().is_healthy
    assert connect.opened == 1


def test_nobody_knows_the_host(path: Path, clock: HandClock) -> None:
    """Which may pass, so it is tried again."""

    def connect() -> Session:
        raise HostUnknown("nowhere.invalid", "Name or service not known")

    with Mirror(path, CONFIGURATION, connect=connect, breaker=Quick()) as mirror:
        with pytest.raises(ConnectionFailed, match="not known"):
            mirror.catch_up()
        run_until(mirror, lambda: mirror.health().failures > 3)
        assert mirror.health().state is MirrorState.STOPPED


def test_an_idle_mirror_notices_that_the_cluster_is_gone(
    path: Path, cluster: SimulatedCluster
) -> None:
    """Though the journal does not grow."""
    gone = threading.Event()

    class Going(Session):
        def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
            if not gone.is_set():
                return super().submit(operation, body)
            lost: Future[Reply] = Future()
            lost.set_exception(SessionEvicted())
            return lost

    def notices() -> bool:
        health = mirror.health()
        if health.state is MirrorState.LIVE:
            gone.set()
        return gone.is_set() and health.state is MirrorState.RETRYING and not health.connected

    often = Intervals(probe_seconds=0.01)
    with mirror_of(path, cluster, lambda: Going(cluster), intervals=often) as mirror:
        run_until(mirror, notices)
