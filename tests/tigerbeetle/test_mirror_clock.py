"""The mirror and the cluster's clock: nothing is sent too early, and what was is sent again."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import attrs
import pytest

from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import (
    ClusterClockBehind,
)
from nostro.projections.tigerbeetle.mirror.health import MirrorState
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.session import Reply
from tests.clocks import HandClock
from tests.tigerbeetle.journals import SECOND
from tests.tigerbeetle.mirrors import (
    assert_mirrored,
    mirror_of,
    run_until,
)
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    CREATING,
    Session,
    SimulatedCluster,
)


class Watchful(Session):
    """Notes how far the cluster's clock was known to be when what was sent was sent."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        super().__init__(cluster)
        self.known = 0
        self.early = 0
        """So many requests that follow others unanswered might have been refused by the clock."""
        self.followed = 0
        self._newest = 0

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        if operation in CREATING:
            newest = int(body["timestamp"].max())
            if any(request.operation in CREATING for request in self.waiting):
                self.followed += 1
                self.early += max(newest, self._newest) >= self.known
            self._newest = newest
        future = super().submit(operation, body)
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Future[Reply]) -> None:
        if future.exception() is None:
            self.known = max(self.known, future.result().timestamp)


@pytest.mark.parametrize("ahead", [SECOND, 1, -SECOND // 2, -3 * SECOND])
@pytest.mark.parametrize("in_flight_max", [1, 2, 3])
def test_nothing_is_sent_ahead_of_the_clock(
    path: Path, cluster: SimulatedCluster, clock: HandClock, ahead: int, in_flight_max: int
) -> None:
    """A message follows others unanswered only if the clock cannot refuse any of them."""
    cluster.clock = lambda: clock.now + ahead
    session = Watchful(cluster)
    configuration = attrs.evolve(
        CONFIGURATION, batch_events_max=3, batches_in_flight_max=in_flight_max
    )
    with mirror_of(path, cluster, lambda: session, configuration) as mirror:
        if ahead < 0:
            with pytest.raises(ClusterClockBehind):
                mirror.catch_up()
        else:
            mirror.catch_up()
    assert session.early == 0
    assert session.in_flight_max <= in_flight_max
    assert (session.followed > 0) == (in_flight_max > 1)


def test_a_clock_that_is_behind_is_waited_for(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """What it refused is sent again until it is there; a message may have been taken in part."""
    behind = [15 * SECOND]
    cluster.clock = lambda: clock.now - behind[0]
    with mirror_of(path, cluster) as mirror:
        held = set()
        while behind[0] > -SECOND:
            with pytest.raises(ClusterClockBehind, match="set the clocks"):
                mirror.catch_up()
            held.add(len(cluster.transfers))
            behind[0] -= SECOND // 2 if behind[0] > 0 else 2 * SECOND
        mirror.catch_up()
    assert len(held) > 5
    assert_mirrored(path, cluster, clock)


def test_a_clock_that_is_behind_costs_no_session(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """What the clock has not reached is sent again by the same one."""
    sessions: list[Session] = []
    behind = [15 * SECOND]
    cluster.clock = lambda: clock.now - behind[0]

    def connect() -> Session:
        sessions.append(cluster.connect())
        return sessions[-1]

    def catches_up() -> bool:
        health = mirror.health()
        if behind[0] and health.failures > 2:
            assert health.last_error is not None
            assert "set the clocks" in health.last_error
            behind[0] = 0
        return health.state is MirrorState.LIVE

    with mirror_of(path, cluster, connect) as mirror:
        run_until(mirror, catches_up)
    assert len(sessions) == 1
    assert_mirrored(path, cluster, clock)
