"""``nostro import-cluster``: what it says, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import nostro.projections.tigerbeetle.importing.cluster_import
from nostro import TRANSFER, Account, Ledger
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import SessionClosed
from nostro.projections.tigerbeetle.operations import Operation
from tests.canned_cluster import CannedCluster, nothing
from tests.integration.test_cli import run
from tests.mixed_ledger import write_mixed
from tests.ports import free_port
from tests.unit.test_cluster_import import as_cluster

CLUSTER = ("--cluster-id", "7", "--replicas", "127.0.0.1:3001")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CannedCluster:
    """One that was used for a while."""
    pytest.importorskip("tigerbeetle")
    write_mixed(tmp_path / "source", requests=6)
    canned = as_cluster(tmp_path / "source")
    # private: there is no cluster to connect to
    monkeypatch.setattr(
        nostro.projections.tigerbeetle.importing.cluster_import,
        "native_connect",
        lambda _: canned.connect,
    )
    return canned


def bring_in(tmp_path: Path, *options: str) -> Result:
    return run("import-cluster", str(tmp_path / "books"), *CLUSTER, "--quiet", *options)


def test_what_was_imported_is_told(tmp_path: Path, cluster: CannedCluster) -> None:
    """And that balances are equal; a second time there is nothing."""
    done = bring_in(tmp_path)
    assert done.exit_code == 0
    assert f"{len(cluster.transfers):,} imported" in done.stdout
    assert f"the balances of {len(cluster.accounts)} accounts" in done.stdout
    told = json.loads(bring_in(tmp_path, "--json").stdout)
    assert (told["accounts"], told["transfers"], told["expiries"]) == (0, 0, 0)
    assert told["complete"] is True
    assert told["accounts_compared"] == len(cluster.accounts)
    assert told["differences"] == []


def test_an_environment_that_names_the_cluster_does_not_mirror_into_it(
    tmp_path: Path, cluster: CannedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger that is made is opened without a mirror; the options may be left out."""
    monkeypatch.setenv("TIGERBEETLE_CLUSTER_ID", "7")
    monkeypatch.setenv("TIGERBEETLE_REPLICAS", "127.0.0.1:3001")
    done = run("import-cluster", str(tmp_path / "books"), "--quiet")
    assert done.exit_code == 0
    assert not (tmp_path / "books" / "mirror").exists()


def test_differences_in_the_end_are_a_failed_check(tmp_path: Path, cluster: CannedCluster) -> None:
    """Exit code 1."""
    cluster.accounts["debits_posted"][1, 0] += np.uint64(9)
    done = bring_in(tmp_path)
    assert done.exit_code == 1
    assert "account 2: debits_posted" in done.stdout
    assert "DIFFERENT" in done.stdout


def test_a_directory_with_something_else_is_wrong_use(
    tmp_path: Path, cluster: CannedCluster
) -> None:
    """Exit code 2; another ledger, or no ledger at all."""
    with Ledger.open(tmp_path / "books") as ledger:
        ledger.create_accounts([Account(id=1, ledger=1, code=1)])
    done = bring_in(tmp_path)
    assert done.exit_code == 2
    assert "was not made from this cluster" in done.stderr
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "other" / "letter.txt").write_text("x", encoding="utf-8")
    done = run("import-cluster", str(tmp_path / "other"), *CLUSTER)
    assert done.exit_code == 2
    assert [it.name for it in (tmp_path / "other").iterdir()] == ["letter.txt"]


def test_a_cluster_that_falls_silent_can_be_continued(
    tmp_path: Path, cluster: CannedCluster
) -> None:
    """Exit code 1, and how to go on."""

    def stop(operation: Operation, _body: Rows) -> None:
        if operation is Operation.GET_CHANGE_EVENTS:
            raise SessionClosed

    cluster.before = stop
    done = bring_in(tmp_path)
    assert done.exit_code == 1
    assert "run the same command again" in done.stderr
    cluster.before = nothing
    assert bring_in(tmp_path).exit_code == 0


def test_a_history_that_cannot_have_been_is_told(tmp_path: Path, cluster: CannedCluster) -> None:
    """Exit code 1, with what was refused."""
    latest = np.zeros(1, TRANSFER)
    latest["id"][0] = 5, 9
    latest["debit_account_id"][0, 0], latest["credit_account_id"][0, 0] = 1, 987
    latest["ledger"] = latest["code"] = 1
    latest["timestamp"] = cluster.now
    cluster.transfers = np.concatenate([cluster.transfers, latest])
    done = bring_in(tmp_path)
    assert done.exit_code == 1
    assert "credit_account_not_found" in done.stderr


def test_no_cluster_is_told_and_makes_nothing(tmp_path: Path) -> None:
    """Exit code 2, with both causes."""
    pytest.importorskip("tigerbeetle")
    done = run(
        "import-cluster", str(tmp_path / "books"), "--cluster-id", "7",
        "--replicas", str(free_port()), "--timeout", "0.5",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "cannot be reached, or its id is not 7" in done.stderr
    assert not (tmp_path / "books").exists()
    assert run("import-cluster", str(tmp_path / "books")).exit_code == 2
