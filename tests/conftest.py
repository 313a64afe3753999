"""What every test shares: Hypothesis's terms, that no cluster is configured, and figures told.

Also that a test gives back what it took.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.clocks import HandClock
from tests.figures import figure, pytest_terminal_summary
from tests.leaks import gives_back_what_it_took, pytest_runtest_makereport

__all__ = [
    "figure",
    "gives_back_what_it_took",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
]

for _name in ("TIGERBEETLE_CLUSTER_ID", "TIGERBEETLE_REPLICAS"):
    os.environ.pop(_name, None)  # else every ledger of every test would be mirrored

# A slow fdatasync is no failure, so no example has a deadline; pytest-timeout catches a hang.
# All else is Hypothesis's own: at random on a desk, derandomized where CI is set.
settings.register_profile("nostro", deadline=None)
settings.load_profile("nostro")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test puts its ledger."""
    return tmp_path / "ledger"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_000)


@pytest.fixture(scope="session", autouse=True)
def _no_module_has_two_names() -> Iterator[None]:
    """A checkout's folders could be imported by their own names, beside ``nostro``: nothing may."""
    yield
    folders = {"journal", "projections", "tools"}
    assert not [name for name in sys.modules if name.partition(".")[0] in folders]
