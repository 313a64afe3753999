"""``nostro reconcile``: what it says, and the exit codes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import nostro.projections.tigerbeetle.reconcile.reconcile
from nostro import Reader
from nostro.projections.tigerbeetle.errors import SessionClosed
from nostro.projections.tigerbeetle.operations import Operation
from tests.canned_cluster import CannedCluster, nothing, without
from tests.integration.test_cli import good, run
from tests.journals import flip
from tests.mixed_ledger import mirrored_accounts, mirrored_transfers, write_mixed
from tests.ports import free_port

CLUSTER = ("--cluster-id", "7", "--replicas", "127.0.0.1:3001")


@pytest.fixture
def books(tmp_path: Path) -> Path:
    write_mixed(tmp_path / "books", requests=6)
    return tmp_path / "books"


@pytest.fixture
def cluster(books: Path, monkeypatch: pytest.MonkeyPatch) -> CannedCluster:
    """What a mirror that is done has made, for the command to find."""
    pytest.importorskip("tigerbeetle")
    canned = CannedCluster(mirrored_accounts(books), mirrored_transfers(books))
    # private: there is no cluster to connect to
    monkeypatch.setattr(
        nostro.projections.tigerbeetle.reconcile.reconcile,
        "native_connect",
        lambda _: canned.connect,
    )
    return canned


def reconcile(books: Path, *options: str) -> Result:
    return run("reconcile", str(books), *CLUSTER, "--quiet", *options)


def test_equal_is_said_with_what_was_compared(books: Path, cluster: CannedCluster) -> None:
    """Exit code 0; as JSON, too."""
    done = good("reconcile", str(books), *CLUSTER)
    assert "Equal" in done
    assert f"{len(cluster.transfers):,} compared" in done
    told = json.loads(reconcile(books, "--json").stdout)
    assert told["equal"] is True
    assert told["transfers"]["compared"] == len(cluster.transfers)
    assert told["accounts"] == {
        "compared": len(cluster.accounts), "different": 0, "missing": 0, "extra": 0
    }  # fmt: skip
    assert told["position"] == told["position_head"] == Reader(books).head().position


def test_differences_are_shown_with_both_values(books: Path, cluster: CannedCluster) -> None:
    """Exit code 1; the limit hides some and counts all."""
    cluster.accounts["debits_posted"][0, 0] += np.uint64(1_000)
    cluster.accounts["flags"][2] |= 1 << 5
    before = int(cluster.accounts["debits_posted"][0, 0]) - 1_000
    cluster.transfers = without(cluster.transfers, 2**64 - 300)
    done = reconcile(books)
    assert done.exit_code == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["account", "1", "debits_posted", f"{before:,}", f"{before + 1_000:,}"] in lines
    assert ["account", "3", "flags", "history+imported", "history+imported+closed"] in lines
    assert ["transfer", str(2**64 - 300), "presence", "there", "missing"] in lines
    assert "DIFFERENT" in done.stdout
    assert "1 missing in the cluster" in done.stdout
    limited = reconcile(books, "--limit-differences", "1")
    assert "2 more are not shown" in limited.stdout
    told = json.loads(reconcile(books, "--limit-differences", "1", "--json").stdout)
    assert (told["differences_found"], len(told["differences"])) == (3, 1)


def test_a_cluster_that_is_behind_is_told(books: Path, cluster: CannedCluster) -> None:
    """That is no difference."""
    position = Reader(books).head().position // 2
    cluster.accounts = mirrored_accounts(books, position=position)
    cluster.transfers = mirrored_transfers(books, position=position)
    done = reconcile(books)
    assert done.exit_code == 0
    assert "behind" in done.stdout


def test_another_ledgers_cluster_is_wrong_use(books: Path, cluster: CannedCluster) -> None:
    """Exit code 2, and what to name instead."""
    cluster.accounts["timestamp"] += np.uint64(5)
    cluster.transfers["timestamp"] += np.uint64(5)
    done = reconcile(books)
    assert done.exit_code == 2
    assert "another ledger" in done.stderr


def test_a_cluster_that_falls_silent_leaves_work_to_resume(
    books: Path, cluster: CannedCluster
) -> None:
    """And says so."""

    def stop(operation: Operation, _: object) -> None:
        if operation is Operation.QUERY_ACCOUNTS and not cluster.asked[-1][1]["flags"][0]:
            raise SessionClosed

    cluster.before = stop
    done = reconcile(books)
    assert done.exit_code == 2
    assert "--resume" in done.stderr
    cluster.before = nothing
    assert reconcile(books, "--resume").exit_code == 0


def test_a_damaged_journal_is_damage(books: Path, cluster: CannedCluster) -> None:
    """Exit code 3."""
    [segment, *_] = sorted((books / "segments").iterdir())
    flip(segment, 700)
    assert reconcile(books).exit_code == 3


def test_no_cluster_where_one_is_named_is_told_within_seconds(books: Path) -> None:
    """Both causes are named, for they look the same."""
    pytest.importorskip("tigerbeetle")
    began = time.monotonic()
    done = run(
        "reconcile", str(books), "--cluster-id", "7", "--replicas", str(free_port()),
        "--timeout", "0.5",
    )  # fmt: skip
    assert time.monotonic() - began < 60
    assert done.exit_code == 2
    assert "cannot be reached, or its id is not 7" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "needs a cluster"),
        (["--cluster-id", "x", "--replicas", "3001"], "is not an integer"),
        (["--cluster-id", "0", "--replicas", "a b:3001"], "is not an address"),
        (["--cluster-id", "0", "--replicas", "3001", "--limit-differences", "-1"], "-1"),
    ],
)
def test_wrong_use_is_told(books: Path, options: list[str], said: str) -> None:
    """Exit code 2."""
    done = run("reconcile", str(books), *options)
    assert done.exit_code == 2
    assert said in done.stderr


def test_no_client_is_told(books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    # private: there is no cluster to connect to
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    done = run("reconcile", str(books), *CLUSTER)
    assert done.exit_code == 2
    assert "pip install" in done.stderr


def test_what_is_no_ledger_is_told(tmp_path: Path) -> None:
    """Before anything is said of a cluster."""
    done = run("reconcile", str(tmp_path))
    assert done.exit_code == 2
    assert "segments" in done.stderr or "ledger" in done.stderr
