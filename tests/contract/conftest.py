"""One set of tests, one ledger behind each backend that may keep it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from nostro import ClusterConfiguration, ClusterLedger, Ledger, LedgerClient
from tests.contract.books import ACCOUNTS
from tests.differential.tigerbeetle_server import CLUSTER, find_binary, running
from tests.simulated_cluster import SimulatedCluster, configuration

BINARY: Final = find_binary() if find_spec("tigerbeetle") is not None else None
BACKENDS: Final = ("journal", "simulated", *(["tigerbeetle"] if BINARY else []))
"""`test_backends.py` says that the last is missing, once for all tests."""
STARTING_SECONDS: Final = 60.0
"""A server that starts on a busy machine answers late."""
DEVELOPMENT_EVENTS_MAX: Final = 250
"""What a TigerBeetle started with --development takes in a message."""


collect_ignore: Final = [] if BINARY else ["test_lost_replies.py"]


@pytest.fixture(
    scope="package",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name == "tigerbeetle" else [])
        for name in BACKENDS
    ],
)
def ledger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LedgerClient]:
    """The same ledger for all tests of a backend, as starting a server takes long.

    Nothing that it does in the background opens a file while one of them runs.
    """
    path = tmp_path_factory.mktemp("contract")
    for opened in _opened(request.param, path):
        created = opened.create_accounts(ACCOUNTS)
        assert {result.status.name for result in created} == {"CREATED"}
        yield opened


def _opened(backend: str, path: Path) -> Iterator[LedgerClient]:
    if backend == "journal":
        with Ledger.open(path, checkpoint_seconds=3_600) as embedded:
            yield embedded
    elif backend == "simulated":
        with (
            SimulatedCluster(path) as cluster,
            ClusterLedger.open(configuration(), connect=cluster.connect) as simulated,
        ):
            yield simulated
    elif BINARY is not None:
        with running(BINARY, path) as address:
            real = ClusterConfiguration(
                int(CLUSTER), (address,),
                timeout_seconds=STARTING_SECONDS, batch_events_max=DEVELOPMENT_EVENTS_MAX,
            )  # fmt: skip
            with ClusterLedger.open(real) as remote:
                remote.pool.fill()
                yield remote
