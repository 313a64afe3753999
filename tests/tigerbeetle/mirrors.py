"""Mirrors of a ledger in a simulated cluster, run and looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

from nostro import (
    Ledger,
    Transfer,
)
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.mirror.mirror import Intervals, Mirror
from nostro.projections.tigerbeetle.session.breaker import Breaker
from tests.clocks import HandClock
from tests.tigerbeetle.journals import expected, extend
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    CREATING,
    Network,
    Session,
    SimulatedCluster,
)
from tests.waiting import until

INTERVALS: Final = Intervals()
ONE: Final = Transfer(id=900, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1)


class Quick(Breaker):
    """Waits next to nothing."""

    def failed(self) -> float:
        super().failed()
        return 0.001


class Scripted:
    """Opens sessions one after the other: an error, a session that gets stuck, or a sound one."""

    def __init__(self, cluster: SimulatedCluster, *script: Exception | str) -> None:
        self.network = Network(cluster, Random(1))
        self.script = list(script)
        self.opened = 0

    def __call__(self) -> Session:
        self.opened += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        session = self.network.connect()
        session.is_stuck = step == "stuck"
        return session


def mirror_of(
    path: Path,
    cluster: SimulatedCluster,
    connect: Callable[[], Session] | None = None,
    configuration: ClusterConfiguration = CONFIGURATION,
    intervals: Intervals = INTERVALS,
) -> Mirror:
    return Mirror(
        path, configuration, connect=connect or cluster.connect, breaker=Quick(),
        intervals=intervals,
    )  # fmt: skip


def run_until(mirror: Mirror, condition: Callable[[], object]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=mirror.run, args=(stop,))
    thread.start()
    try:
        until(condition)
    finally:
        stop.set()
        thread.join(60)


def assert_mirrored(path: Path, cluster: SimulatedCluster, clock: HandClock) -> None:
    with closing(Ledger.open(path, clock=clock)) as ledger:
        wanted = expected(ledger)
    assert cluster.accounts == wanted.accounts
    assert cluster.transfers == wanted.transfers


def written(cluster: SimulatedCluster) -> list[int]:
    """How many rows each request held that creates."""
    return [count for operation, count in cluster.requests if operation in CREATING]


def extend_in(path: Path, clock: HandClock) -> None:
    with closing(Ledger.open(path, clock=clock)) as ledger:
        extend(ledger, clock, 1)
