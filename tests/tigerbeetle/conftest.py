"""A ledger, a cluster that is simulated, and a mirror of the one in the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clocks import HandClock
from tests.crash.conftest import ram as ram  # noqa: PLC0414  # the fixture
from tests.tigerbeetle.journals import SECOND, write_small
from tests.tigerbeetle.simulated import SimulatedCluster


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a ledger; see :func:`write_small`."""
    return tmp_path / "ledger"


@pytest.fixture
def clock(path: Path) -> HandClock:
    """The ledger's, which is written with it."""
    return write_small(path)


@pytest.fixture
def cluster(clock: HandClock) -> SimulatedCluster:
    """An empty one, a second ahead."""
    return SimulatedCluster(lambda: clock.now + SECOND)
