"""``nostro cluster`` with the real server, where this machine has one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nostro.tools.cli.application import application
from nostro.tools.cluster import process_lock
from nostro.tools.cluster.description import read_description, replica_lock
from nostro.tools.cluster.errors import NotACluster
from nostro.tools.cluster.lookup import look_up
from nostro.tools.cluster.stopping import stop_cluster
from tests.differential.tigerbeetle_server import find_binary
from tests.waiting import until

if find_binary() is None:
    pytest.skip(
        "no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none", allow_module_level=True
    )
tigerbeetle = pytest.importorskip("tigerbeetle")

pytestmark = pytest.mark.slow


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a cluster is made; its processes are stopped and its data files removed at the end."""
    directory = tmp_path / "tb"
    yield directory
    try:
        for lock in directory.glob("replica-*.lock"):
            process_lock.send(lock, signal.SIGCONT)
        stop_cluster(directory, log=print)
    except NotACluster:
        return
    for path in directory.glob("*.tigerbeetle"):
        path.unlink()


def nostro(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application, ["cluster", *map(str, arguments)])


def up(directory: Path, *arguments: str) -> dict[str, Any]:
    result = nostro("up", directory, "--development", "--timeout", "240", "--json", *arguments)
    assert result.exit_code == 0, result.output
    made: dict[str, Any] = json.loads(result.stdout)
    return made


def status(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(nostro("status", directory, "--json").stdout)
    return found


def answers(directory: Path, *, seconds: float) -> bool:
    description = read_description(directory)
    return look_up(description.cluster_id, description.replicas, seconds=seconds).came


def make_account(made: dict[str, Any], number: int) -> None:
    environment = made["environment"]
    with tigerbeetle.ClientSync(
        int(environment["TIGERBEETLE_CLUSTER_ID"]), environment["TIGERBEETLE_REPLICAS"]
    ) as client:
        [result] = client.create_accounts([tigerbeetle.Account(id=number, ledger=1, code=1)])
        assert result.status.name in {"CREATED", "EXISTS"}
        assert [account.id for account in client.lookup_accounts([number])] == [number]


def test_one_replica_keeps_what_it_was_told(directory: Path) -> None:
    """A program finds the cluster by what is printed, and its account after a restart."""
    made = up(directory, "--cluster-id", "0")
    make_account(made, 1)
    found = status(directory)
    assert found["healthy"]
    assert found["replicas"][0]["data_file_bytes"] > 2**30
    assert nostro("down", directory).exit_code == 0
    assert status(directory)["state"] == "stopped"
    assert not answers(directory, seconds=1)
    again = up(directory)
    assert again["environment"] == made["environment"]
    with tigerbeetle.ClientSync(0, again["environment"]["TIGERBEETLE_REPLICAS"]) as client:
        assert [account.id for account in client.lookup_accounts([1])] == [1]


def test_a_wrong_cluster_id_gets_no_answer(directory: Path) -> None:
    """The port is open, and yet a look-up does not come back: it is ended in its time."""
    up(directory, "--cluster-id", "0")
    description = read_description(directory)
    assert answers(directory, seconds=60)
    assert not look_up(1, description.replicas, seconds=3).came


def test_three_replicas_go_on_with_two_and_not_with_one(directory: Path) -> None:
    """One is killed and comes back; one hangs and the others answer; two hang and none does."""
    made = up(directory, "--replicas", "3", "--cluster-id", "0")
    make_account(made, 1)
    before = process_lock.send(replica_lock(directory, 0), signal.SIGKILL)
    assert answers(directory, seconds=120)
    make_account(made, 2)
    until(lambda: process_lock.holder(replica_lock(directory, 0)) not in {None, before})
    until(lambda: status(directory)["healthy"])
    assert [replica["restarts"] for replica in status(directory)["replicas"]] == [1, 0, 0]

    process_lock.send(replica_lock(directory, 1), signal.SIGSTOP)
    assert answers(directory, seconds=120)
    make_account(made, 3)

    process_lock.send(replica_lock(directory, 2), signal.SIGSTOP)
    assert not answers(directory, seconds=3)
    assert status(directory)["state"] == "not answering"
    assert nostro("status", directory, "--timeout", "1").exit_code == 1

    for index in (1, 2):
        process_lock.send(replica_lock(directory, index), signal.SIGCONT)
    assert answers(directory, seconds=120)
    make_account(made, 3)
