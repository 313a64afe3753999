"""``nostro mirror``: what it says where there is no cluster, and of mirrors that ran."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.mirror.files import MirrorFiles, lock_mirror
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth, MirrorState, write_health
from tests.integration.test_cli import good, run
from tests.ledgers import write_ledger
from tests.ports import free_port

pytest.importorskip("tigerbeetle")

HEALTH = MirrorHealth(
    state=MirrorState.LIVE,
    connected=True,
    cluster_id=7,
    replicas="127.0.0.1:3001",
    position=4,
    position_head=4,
    lag_seconds=0.0,
    events_mirrored=4,
    failures=1,
    last_error="it was away",
    last_error_at=1_700_000_000_000_000_000,
    updated_at=1_700_000_000_500_000_000,
    process_id=1,
)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    write_ledger(tmp_path / "books", records=3)
    return tmp_path / "books"


@pytest.fixture
def files(books: Path) -> MirrorFiles:
    """Where a mirror has run."""
    files = MirrorFiles(Directory(books), 7)
    files.make(Storage())
    write_health(Storage(), files.health, HEALTH)
    return files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "needs a cluster"),
        (["--cluster-id", "0"], "TIGERBEETLE_REPLICAS"),
        (["--replicas", "127.0.0.1:3001"], "TIGERBEETLE_CLUSTER_ID"),
        (["--cluster-id", "-1", "--replicas", "3001"], "cluster_id"),
        (["--cluster-id", "zero", "--replicas", "3001"], "is not an integer"),
        (["--cluster-id", "0", "--replicas", "a b:3001"], "is not an address"),
        (["--cluster-id", "0", "--replicas", "localhost:99999"], "port"),
        (["--cluster-id", "0", "--replicas", ",".join(["3001"] * 7)], "1 to 6"),
        (["--metrics"], "--status"),
    ],
)
def test_wrong_use_is_told_and_makes_nothing(books: Path, options: list[str], said: str) -> None:
    """Exit code 2, and what to set."""
    done = run("mirror", str(books), *options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (books / "mirror").exists()


def test_what_is_no_ledger_is_not_mirrored(tmp_path: Path) -> None:
    """Not even its status is."""
    for options in (["--status"], ["--cluster-id", "0", "--replicas", "3001"]):
        assert run("mirror", str(tmp_path / "none"), *options).exit_code == 2
    assert not (tmp_path / "none").exists()


def test_a_cluster_that_does_not_answer_is_told(books: Path) -> None:
    """With both causes, which look the same; the ledger is as it was."""
    before = sorted(path.name for path in (books / "segments").iterdir())
    done = run(
        "mirror", str(books), "--once", "--timeout", "0.3",
        "--cluster-id", "5", "--replicas", f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "cannot be reached" in done.stderr
    assert "its id is not 5" in done.stderr
    assert sorted(path.name for path in (books / "segments").iterdir()) == before


def test_a_host_that_is_not_known_is_told(books: Path) -> None:
    """By its name."""
    options = ["--cluster-id", "5", "--replicas", "nowhere.invalid:3001"]
    done = run("mirror", str(books), "--once", *options)
    assert done.exit_code == 1
    assert "nowhere.invalid" in done.stderr


def test_the_status_of_a_ledger_that_never_was_mirrored(books: Path) -> None:
    """Says how to begin."""
    done = run("mirror", str(books), "--status")
    assert done.exit_code == 1
    assert "has no mirror" in done.stderr
    assert "nostro mirror DIR" in done.stderr


def test_the_status_of_a_mirror_that_runs(books: Path, files: MirrorFiles) -> None:
    """As text, as JSON and for Prometheus; behind by what the journal has more."""
    lock = lock_mirror(Storage(), files.lock)
    try:
        text = good("mirror", str(books), "--status")
        assert "state" in text
        assert "live" in text
        assert "it was away (2023-11-14" in text
        said = json.loads(good("mirror", str(books), "--status", "--json"))
        assert said["state"] == "live"
        assert said["healthy"] is True
        assert said["lag_events"] == said["position_head"] - 4 > 0
        metrics = good("mirror", str(books), "--status", "--metrics")
        assert 'nostro_mirror_connected{cluster="7"} 1\n' in metrics
        assert f'nostro_mirror_lag_events{{cluster="7"}} {said["lag_events"]}\n' in metrics
        assert run("mirror", str(books), "--status", "--cluster-id", "8").exit_code == 1
        options = ["--cluster-id", "7", "--replicas", "127.0.0.1:3001"]
        second = run("mirror", str(books), "--once", *options)
        assert second.exit_code == 2
        assert "running already" in second.stderr
    finally:
        lock.release()


def test_the_status_of_a_mirror_that_has_ended(books: Path, files: MirrorFiles) -> None:
    """It is not well, whatever it said last; a divergence stays one."""
    done = run("mirror", str(books), "--status", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["state"] == "stopped"
    assert json.loads(done.stdout)["connected"] is False
    diverged = attrs.evolve(HEALTH, state=MirrorState.DIVERGED, connected=False)
    write_health(Storage(), files.health, diverged)
    assert json.loads(run("mirror", str(books), "--status", "--json").stdout)["state"] == "diverged"
    files.health.write_text("{")
    assert run("mirror", str(books), "--status").exit_code == 1
