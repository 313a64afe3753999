"""Which backend the configuration picks, and what it is told when it contradicts itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nostro import (
    Account,
    ClusterConfiguration,
    ClusterLedger,
    InvalidField,
    Ledger,
    LedgerClient,
    open_ledger,
    projections,
)
from tests.simulated_cluster import SimulatedCluster, configuration


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOSTRO_BACKEND", "TIGERBEETLE_CLUSTER_ID", "TIGERBEETLE_REPLICAS"):
        monkeypatch.delenv(name, raising=False)


def program(ledger: LedgerClient) -> list[int]:
    """Does not know what keeps its accounts."""
    with ledger:
        ledger.create_accounts([Account(id=1, ledger=1, code=1)])
        return [account.id for account in ledger.lookup_accounts([1, 2])]


def test_the_journal_is_what_there_is_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when it is asked for by name, whatever the environment says."""
    for options in ({}, {"backend": "journal"}):
        ledger = open_ledger(tmp_path, **options)  # type: ignore[arg-type]
        assert isinstance(ledger, Ledger)
        assert program(ledger) == [1]
    monkeypatch.setenv("NOSTRO_BACKEND", "tigerbeetle")
    with open_ledger(tmp_path, backend="journal", create=False) as again:
        assert isinstance(again, Ledger)


def test_one_variable_moves_a_program_to_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is then left alone."""
    monkeypatch.setenv("NOSTRO_BACKEND", "tigerbeetle")
    monkeypatch.setenv("TIGERBEETLE_CLUSTER_ID", "7")
    monkeypatch.setenv("TIGERBEETLE_REPLICAS", "db:3000")
    with SimulatedCluster(tmp_path / "cluster") as cluster:
        ledger = open_ledger(tmp_path / "data", connect=cluster.connect)
        assert isinstance(ledger, ClusterLedger)
        assert ledger.configuration == ClusterConfiguration(7, ("db:3000",))
        assert program(ledger) == [1]
        given = configuration(timeout_seconds=9)
        with open_ledger(cluster=given, connect=cluster.connect) as other:
            assert isinstance(other, ClusterLedger)
            assert other.configuration is given
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("environ", "arguments", "message"),
    [
        ({}, {}, "path=None must be the directory"),
        ({"NOSTRO_BACKEND": "postgres"}, {"path": "data"}, "NOSTRO_BACKEND='postgres' must be"),
        ({}, {"backend": "mirror", "path": "data"}, "backend='mirror' must be"),
        ({"NOSTRO_BACKEND": "tigerbeetle"}, {"path": "data"}, "NOSTRO_BACKEND=.*; set them"),
        ({}, {"backend": "tigerbeetle"}, "backend=.*; set them"),
        ({"TIGERBEETLE_REPLICAS": "3000"}, {"backend": "tigerbeetle"}, "TIGERBEETLE_CLUSTER_ID"),
        ({}, {"backend": "tigerbeetle", "cluster": configuration(), "read_only": True},
         "read_only=True is an option of the journal"),
        ({}, {"path": "data", "cluster": configuration(), "mirror": None}, "mirror=None"),
    ],
)  # fmt: skip
def test_a_configuration_that_contradicts_itself_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    arguments: dict[str, Any],
    message: str,
) -> None:
    """What is wrong with it is named, and nothing is touched."""
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidField, match=message):
        open_ledger(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_cluster_is_loaded_before_it_is_used() -> None:
    """Neither by importing the package, nor the client library by naming the class."""
    told = """
import sys, projections
loaded = {name for name in sys.modules if name.startswith("nostro.projections.tigerbeetle")}
assert not loaded, loaded
projections.ClusterLedger
assert "nostro.projections.tigerbeetle.ledger.cluster_ledger" in sys.modules
assert "nostro.projections.tigerbeetle.session.native" not in sys.modules
assert "tigerbeetle" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", told], check=True, timeout=60)


def test_every_public_name_is_there() -> None:
    """Those that are loaded late, too; and no other."""
    for name in projections.__all__:
        assert getattr(projections, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Clusters'"):
        projections.Clusters  # noqa: B018
