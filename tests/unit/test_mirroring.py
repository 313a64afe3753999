"""A ledger that is mirrored goes on whatever becomes of the mirror, and of the cluster."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nostro import Account, InvalidField, Ledger, Transfer, open_ledger
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import ClientMissing
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth, MirrorState
from nostro.projections.tigerbeetle.mirror.process import MirrorProcess
from tests.ports import free_port
from tests.waiting import until

pytest.importorskip("tigerbeetle")


def nowhere() -> ClusterConfiguration:
    """A cluster that is not there."""
    return ClusterConfiguration(3, (f"127.0.0.1:{free_port()}",), timeout_seconds=0.2)


def mirror_of(ledger: Ledger) -> MirrorProcess:
    assert ledger.mirror is not None
    return ledger.mirror


def health_when(mirror: MirrorProcess, fits: Callable[[MirrorHealth], bool]) -> MirrorHealth:
    found: list[MirrorHealth] = []

    def look() -> bool:
        health = mirror.health()
        found[:] = [] if health is None else [health]
        return bool(found) and fits(found[0])

    until(look)
    return found[0]


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_cluster_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    """Neither the mirror nor the client library, and there is no mirror's folder."""
    program = textwrap.dedent("""
        import sys
        from nostro import Ledger
        with Ledger.open(sys.argv[1]) as ledger:
            assert ledger.mirror is None
        loaded = [name for name in sys.modules if "tigerbeetle" in name]
        assert not loaded, loaded
    """)
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "ledger")], check=True)
    assert not (tmp_path / "ledger" / "mirror").exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_a_ledger_does_not_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    """No process starts because two variables are set, even if what they say is wrong."""
    Ledger.open(tmp_path / "ledger").close()
    monkeypatch.setenv("TIGERBEETLE_CLUSTER_ID", "not a number")
    monkeypatch.setenv("TIGERBEETLE_REPLICAS", "127.0.0.1:3001")
    with Ledger.open(tmp_path / "ledger", read_only=read_only) as ledger:
        assert ledger.mirror is None
    with open_ledger(tmp_path / "ledger", mirror=None) as other:
        assert isinstance(other, Ledger)
        assert other.mirror is None
    with open_ledger(tmp_path / "ledger", read_only=True) as other:
        assert isinstance(other, Ledger)
        assert other.mirror is None
    assert not (tmp_path / "ledger" / "mirror").exists()


@pytest.mark.parametrize(
    "environ",
    [
        {"TIGERBEETLE_CLUSTER_ID": "0"},
        {"TIGERBEETLE_REPLICAS": "127.0.0.1:3001"},
        {"TIGERBEETLE_CLUSTER_ID": "x", "TIGERBEETLE_REPLICAS": "127.0.0.1:3001"},
        {"TIGERBEETLE_CLUSTER_ID": "0", "TIGERBEETLE_REPLICAS": "127.0.0.1:0"},
    ],
)
def test_half_a_configuration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    """Before anything is made."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidField):
        open_ledger(tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()


def test_a_cluster_without_its_client_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made, with what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ClientMissing, match="nostro\\[tigerbeetle\\]"):
        Ledger.open(tmp_path / "ledger", mirror=nowhere())
    assert not (tmp_path / "ledger").exists()


def test_a_cluster_that_is_not_there_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are carried out, health names both causes, closing ends the process."""
    cluster = nowhere()
    monkeypatch.setenv("TIGERBEETLE_CLUSTER_ID", str(cluster.cluster_id))
    monkeypatch.setenv("TIGERBEETLE_REPLICAS", ",".join(cluster.replicas))
    monkeypatch.setenv("TIGERBEETLE_TIMEOUT_SECONDS", "0.2")
    caplog.set_level(logging.INFO, "nostro")
    with open_ledger(tmp_path / "ledger") as ledger:
        assert isinstance(ledger, Ledger)
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        transfer = Transfer(
            id=1, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1
        )
        ledger.create_transfers([transfer])
        health = health_when(mirror_of(ledger), lambda said: said.state is MirrorState.RETRYING)
        assert not health.connected
        assert not health.is_healthy
        assert (health.position, health.lag_events) == (0, 3)
        assert health.last_error is not None
        assert "cannot be reached" in health.last_error
        assert "its id is not 3" in health.last_error
        until(lambda: any("its id is not 3" in each for each in caplog.messages))
        assert ledger.lookup_accounts([2])[0].credits_posted == 5
        assert is_running(health.process_id)
    assert not is_running(health.process_id)
    assert caplog.messages[0] == (
        f"Accounting backend: journal (data: {tmp_path / 'ledger'}), mirrored to TigerBeetle"
        f" ({cluster})"
    )
    with Ledger.open(tmp_path / "ledger", read_only=True) as ledger:
        assert ledger.mirror is None


def test_a_mirror_that_died_is_started_again(tmp_path: Path) -> None:
    """Whatever killed it."""
    with Ledger.open(tmp_path / "ledger", mirror=nowhere()) as ledger:
        mirror = mirror_of(ledger)
        first = health_when(mirror, lambda _: True).process_id
        os.kill(first, signal.SIGKILL)
        second = health_when(mirror, lambda said: said.process_id != first).process_id
    assert not is_running(second)


def test_the_mirror_ends_with_the_process_of_its_ledger(tmp_path: Path) -> None:
    """Also when that is killed."""
    cluster = nowhere()
    program = textwrap.dedent("""
        import sys, time
        from nostro import Ledger
        from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
        cluster = ClusterConfiguration(3, (sys.argv[2],), timeout_seconds=0.2)
        with Ledger.open(sys.argv[1], mirror=cluster) as ledger:
            while (health := ledger.mirror.health()) is None:
                time.sleep(0.01)
            print(health.process_id, flush=True)
            time.sleep(60)
    """)
    command = [sys.executable, "-c", program, str(tmp_path / "ledger"), cluster.replicas[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        mirror = int(process.stdout.readline())
        assert is_running(mirror)
        process.kill()
    until(lambda: not is_running(mirror))


def test_two_mirrors_of_one_ledger_are_one_too_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second steps back and says so; the ledger goes on."""
    cluster = nowhere()
    with Ledger.open(tmp_path / "ledger", mirror=cluster) as ledger:
        health_when(mirror_of(ledger), lambda said: said.state is MirrorState.RETRYING)
        second = MirrorProcess(tmp_path / "ledger", cluster)
        try:
            until(lambda: any("another process" in each for each in caplog.messages))
        finally:
            second.close()
