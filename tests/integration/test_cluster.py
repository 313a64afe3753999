"""``nostro cluster`` with a stand-in for the server: what is made, kept running, stopped, refused.

The real server is in test_cluster_server.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nostro.tools.cli.application import application
from nostro.tools.cluster import lookup, process_lock
from nostro.tools.cluster.description import read_description, replica_lock, supervisor_lock
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import Supervisor
from tests.clusters import StandIn, make_client, make_stand_in
from tests.documents import PACKAGE_PATH
from tests.waiting import until


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The server's and the client's; whatever runs at the end is stopped."""
    stand_in = make_stand_in(tmp_path / "bin")
    make_client(tmp_path / "site", stand_in)
    monkeypatch.setenv("TIGERBEETLE_BINARY", str(stand_in.binary))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    yield stand_in
    for path in tmp_path.glob("*/cluster.json"):
        if path.parent.stat().st_uid == os.geteuid():
            path.parent.joinpath("state.json").unlink(missing_ok=True)
            stop_everything(path.parent)


def stop_everything(directory: Path) -> None:
    for lock in (supervisor_lock(directory), *directory.glob("replica-*.lock")):
        process_lock.kill(lock)


def nostro(*arguments: str) -> Result:
    return CliRunner().invoke(application, ["cluster", *arguments])


def good(*arguments: str) -> Result:
    result = nostro(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(code: int, *arguments: str) -> str:
    """What is said on standard error, once, with a hint."""
    result = nostro(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.count("nostro: ") == 1
    assert "\nhint: " in result.stderr
    return result.stderr


def status(directory: str = "tb") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        nostro("status", directory, "--json", "--timeout", "60").stdout
    )
    return found


def running(directory: str = "tb", count: int = 1) -> list[int | None]:
    return [process_lock.holder(replica_lock(Path(directory), index)) for index in range(count)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_cluster_is_made_started_asked_and_stopped(stand_in: StandIn) -> None:
    """Once made, it is the same one each time; its files are the owner's only."""
    assert "is running: 1 replica." in good("up", "tb").stdout
    description = read_description(Path("tb"))
    assert description.cluster_id == 0
    data = Path("tb/0_0.tigerbeetle")
    made = data.read_text(), data.stat().st_ino
    assert made[0].splitlines()[:3] == ["--cluster=0", "--replica=0", "--replica-count=1"]
    assert Path("tb").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in Path("tb").iterdir()} == {0o600}
    found = status()
    assert (found["healthy"], found["state"], found["answers"]) == (True, "healthy", True)
    [replica] = found["replicas"]
    assert replica["running"]
    assert replica["port_open"]
    assert replica["uptime_seconds"] >= 0
    assert (replica["restarts"], replica["data_file_bytes"]) == (0, len(made[0]))
    assert "is healthy." in good("status", "tb").stdout
    stopped = good("down", "tb")
    assert (stopped.stdout, stopped.stderr) == ("The cluster in tb is stopped.\n", "")
    assert running() == [None]
    assert process_lock.holder(supervisor_lock(Path("tb"))) is None
    assert "was not running." in good("down", "tb").stdout
    stopped = nostro("status", "tb")
    assert stopped.exit_code == 1
    assert "is stopped." in stopped.stdout
    good("up", "tb", "--quiet")
    assert (data.read_text(), data.stat().st_ino) == made
    assert read_description(Path("tb")) == description


def test_three_replicas_have_the_same_addresses_in_the_same_order(stand_in: StandIn) -> None:
    """Each with its own data file; what programs need is told as it is."""
    made = json.loads(good("up", "tb", "--replicas", "3", "--cluster-id", "7", "--json").stdout)
    assert made["environment"] == {
        "TIGERBEETLE_CLUSTER_ID": "7",
        "TIGERBEETLE_REPLICAS": ",".join(made["addresses"]),
    }
    assert len(set(made["addresses"])) == 3
    for index in range(3):
        arguments = Path(f"tb/7_{index}.tigerbeetle").read_text().splitlines()
        assert arguments[:3] == ["--cluster=7", f"--replica={index}", "--replica-count=3"]
        [started] = Path(f"tb/replica-{index}.log").read_text().splitlines()
        addresses = ",".join(made["addresses"])
        assert started.startswith(f"started with --addresses={addresses} --cache-grid=64MiB /")
        assert started.endswith(f"/tb/7_{index}.tigerbeetle")
    assert None not in running(count=3)
    assert json.loads(good("down", "tb", "--json").stdout)["processes_stopped"] == 4
    assert running(count=3) == [None] * 3


def test_memory_and_batches_are_as_asked(stand_in: StandIn) -> None:
    """--development asks for least; it can be given up, and memory may change."""
    log = Path("tb/replica-0.log")
    good("up", "tb", "--development")
    assert "--development" in Path("tb/0_0.tigerbeetle").read_text()
    assert "--cache-grid" not in log.read_text()
    assert "--development" in log.read_text()
    good("down", "tb")
    good("up", "tb", "--no-development", "--cache-grid", "1GiB")
    [*_, started] = log.read_text().splitlines()
    assert "--cache-grid=1024MiB" in started
    assert "--development" not in started
    good("down", "tb")
    assert "would shrink" in refused(2, "up", "tb", "--development")


def test_ports_may_change_between_starts(stand_in: StandIn) -> None:
    """The port asked for is the first, and without one it stays."""
    good("up", "tb")
    before = status()["addresses"]
    good("down", "tb")
    good("up", "tb")
    assert status()["addresses"] == before
    good("down", "tb")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(before[0].split(":")[1])))
        taken.listen()
        said = refused(2, "up", "tb")
        assert f"{before[0]}: another program listens there" in said
        assert running() == [None]
        good("up", "tb", "--port", "0")
    assert status()["addresses"] != before


def test_a_port_in_use_makes_no_cluster(stand_in: StandIn, tmp_path: Path) -> None:
    """It is looked at before anything is made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "another program" in refused(2, "up", "tb", "--port", str(port))
    assert not list(tmp_path.glob("tb*"))


def test_without_a_server_it_says_how_to_get_one(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So it does when the one that is named is missing, or something else."""
    monkeypatch.setenv("TIGERBEETLE_BINARY", str(tmp_path / "nothing"))
    assert "names" in refused(2, "up", "tb")
    monkeypatch.delenv("TIGERBEETLE_BINARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(2, "up", "tb")
    assert "TIGERBEETLE_BINARY" in said
    assert "https://github.com/tigerbeetle/tigerbeetle/releases" in said
    monkeypatch.setenv("TIGERBEETLE_BINARY", "/bin/false")
    assert "not a TigerBeetle server" in refused(2, "up", "tb")
    monkeypatch.setenv("TIGERBEETLE_BINARY", str(stand_in.binary))
    stand_in.does("odd-version")
    assert "some other program 1.0" in refused(2, "up", "tb")
    assert not Path("tb").exists()
    monkeypatch.delenv("TIGERBEETLE_BINARY")
    monkeypatch.setenv("PATH", str(stand_in.binary.parent), prepend=os.pathsep)
    stand_in.does()
    good("up", "tb")


def test_a_format_that_fails_leaves_nothing(stand_in: StandIn, tmp_path: Path) -> None:
    """The server's own words are shown, and the next try begins from nothing."""
    stand_in.does("format-fails-1")
    said = refused(1, "up", "tb", "--replicas", "3")
    assert "replica 1" in said
    assert "error: no room on this disk" in said
    assert not list(tmp_path.glob("tb*"))
    stand_in.does()
    good("up", "tb", "--replicas", "3")


@pytest.mark.parametrize("name", ["other.txt", "0_0.tigerbeetle"])
def test_a_directory_with_something_else_is_left_alone(
    stand_in: StandIn, tmp_path: Path, name: str
) -> None:
    """Also when it is a data file, whoever made it."""
    Path("tb").mkdir()
    Path("tb", name).write_text("precious")
    before = contents(tmp_path)
    assert "not a cluster's directory" in refused(2, "up", "tb")
    assert "not a cluster's directory" in refused(2, "status", "tb")
    assert "not a cluster's directory" in refused(2, "down", "tb")
    assert contents(tmp_path) == before
    assert "not a directory" in refused(2, "up", f"tb/{name}")
    assert "no such directory" in refused(2, "down", "nowhere")


def test_a_directory_of_somebody_else_is_refused(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of it, a new cluster too."""
    good("up", "tb")
    good("down", "tb")
    Path("empty").mkdir()
    before = contents(Path("tb"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 12_345)  # only root can give a directory away
        for arguments in (("up", "tb"), ("status", "tb"), ("down", "tb"), ("up", "empty")):
            assert "belongs to user" in refused(2, *arguments)
    assert contents(Path("tb")) == before
    assert not contents(Path("empty"))


@pytest.mark.parametrize(
    "wish", [("--cluster-id", "8"), ("--cluster-id", "0"), ("--replicas", "3")]
)
@pytest.mark.parametrize("is_running", [True, False])
def test_what_never_changes_is_refused(
    stand_in: StandIn, wish: tuple[str, str], is_running: bool
) -> None:
    """Another id, another number of replicas: of a cluster that runs, and of one that does not."""
    good("up", "tb", "--cluster-id", "7")
    if not is_running:
        good("down", "tb")
    before, processes = contents(Path("tb")), running()
    assert "never changes" in refused(2, "up", "tb", *wish)
    assert (contents(Path("tb")), running()) == (before, processes)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--replicas", "2"),
        ("--replicas", "0"),
        ("--cluster-id", "-1"),
        ("--cluster-id", str(2**128)),
        ("--cluster-id", "0x7"),
        ("--port", "65534"),
        ("--port", "-1"),
        ("--cache-grid", "64"),
        ("--cache-grid", "16MiB"),
        ("--cache-grid", "2000GiB"),
        ("--timeout", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(stand_in: StandIn, arguments: tuple[str, str]) -> None:
    """Before anything is made."""
    refused(2, "up", "tb", *arguments)
    assert not Path("tb").exists()


def test_a_lost_data_file_is_not_made_again(stand_in: StandIn) -> None:
    """A fresh one would not know what the lost one has promised."""
    good("up", "tb", "--replicas", "3")
    good("down", "tb")
    Path("tb/0_1.tigerbeetle").unlink()
    said = refused(3, "up", "tb")
    assert "0_1.tigerbeetle: the data file is gone" in said
    assert "tigerbeetle recover" in said
    assert not Path("tb/0_1.tigerbeetle").exists()
    assert running(count=3) == [None] * 3


def test_a_damaged_description_is_refused(stand_in: StandIn) -> None:
    """The file is named, and nothing is started."""
    good("up", "tb")
    good("down", "tb")
    Path("tb/cluster.json").write_text("{}")
    for command in ("up", "status", "down"):
        assert "tb/cluster.json: " in refused(3, command, "tb")


def test_a_replica_that_dies_at_the_start_is_told_with_its_log(stand_in: StandIn) -> None:
    """The end of its log is shown, and the others are stopped again."""
    stand_in.does("dies-1")
    said = refused(1, "up", "tb", "--replicas", "3")
    assert "replica 1 ended with exit code 3" in said
    assert "tb/replica-1.log" in said
    assert "panic: the data file is torn" in said
    assert running(count=3) == [None] * 3
    assert process_lock.holder(supervisor_lock(Path("tb"))) is None
    stand_in.does()
    good("up", "tb")


@pytest.mark.parametrize(
    ("word", "seconds", "said"),
    [
        ("unanswered", "8", "no answer to a look-up in 8 s"),
        ("refused", "60", "the client says: ValueError('release too old')"),
        ("mute-2", "1", "not every port is open after 1 s"),
    ],
)
def test_a_cluster_that_does_not_get_well_is_stopped(
    stand_in: StandIn, word: str, seconds: str, said: str
) -> None:
    """It is said what was missing. A client that waits for ever does not hold anything up."""
    stand_in.does(word)
    assert said in refused(1, "up", "tb", "--replicas", "3", "--timeout", seconds)
    assert running(count=3) == [None] * 3


def test_an_open_port_is_not_an_answer(stand_in: StandIn) -> None:
    """The status tells a cluster that listens from one that answers."""
    good("up", "tb")
    stand_in.does("unanswered")
    result = nostro("status", "tb", "--timeout", "0.5")
    assert result.exit_code == 1
    assert "is not answering." in result.stdout
    assert "no answer to a look-up in 0.5 s" in result.stdout
    assert "open" in result.stdout


def test_a_lookup_that_hangs_is_ended(stand_in: StandIn) -> None:
    """Its process is gone when its time is up."""
    stand_in.does("unanswered")
    with lookup.start_lookup(0, "127.0.0.1:1") as wait:
        until(stand_in.client_process)
        assert wait(0.1) is None
    client = stand_in.client_process()
    assert client is not None
    with pytest.raises(ProcessLookupError):
        os.kill(client, 0)
    assert lookup.look_up(0, "127.0.0.1:1", seconds=0.1) == lookup.Answer(
        reason="no answer to a look-up in 0.1 s"
    )


def test_without_the_client_it_says_what_was_seen(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ports only, and that this is all."""
    monkeypatch.setitem(sys.modules, "tigerbeetle", None)  # as if it were not installed
    stand_in.does("unanswered")
    said = "no look-up was made: an open port shows that a process listens, not that"
    assert said in good("up", "tb").stdout
    assert said in good("status", "tb").stdout
    assert status()["answers"] is None
    good("down", "tb")
    stand_in.does("mute-0")
    assert "not every port" in refused(1, "up", "tb", "--timeout", "1")


def test_a_cluster_that_runs_is_left_as_it_is(stand_in: StandIn) -> None:
    """Starting it again says what it is; what would need a restart is refused."""
    made = json.loads(good("up", "tb", "--json").stdout)
    processes = running()
    again = good("up", "tb", "--json", "--port", "0")
    assert {**json.loads(again.stdout), "answer_seconds": 0} == {**made, "answer_seconds": 0}
    assert "already runs this cluster" in again.stderr
    assert "with other options" in refused(2, "up", "tb", "--cache-grid", "128MiB")
    assert "with other options" in refused(2, "up", "tb", "--port", "19999")
    assert "already runs this cluster" in refused(2, "up", "tb", "--foreground")
    assert running() == processes


def test_a_replica_that_dies_is_started_again(stand_in: StandIn) -> None:
    """And the status says so; a later `up` does not take the old death for a new one."""
    good("up", "tb", "--replicas", "3")
    before = running(count=3)
    assert process_lock.send(replica_lock(Path("tb"), 1), signal.SIGKILL) == before[1]
    until(lambda: running(count=3)[1] not in {None, before[1]})
    until(lambda: status()["healthy"])
    found = status()
    assert [replica["restarts"] for replica in found["replicas"]] == [0, 1, 0]
    assert found["replicas"][1]["ended"] == "was ended by SIGKILL"
    assert "The last run of replica 1 was ended by SIGKILL" in good("status", "tb").stdout
    assert [running(count=3)[index] for index in (0, 2)] == [before[0], before[2]]
    good("up", "tb")
    log = Path("tb/supervisor.log").read_text()
    assert "replica 1 was ended by SIGKILL; it restarts in 0.5 s" in log


def test_what_keeps_dying_is_started_ever_more_slowly(stand_in: StandIn) -> None:
    """The pause doubles up to its limit."""
    good("up", "tb")
    good("down", "tb")
    stand_in.does("dies-0")
    lines: list[str] = []
    directory = Path("tb")
    supervising = Supervisor(
        directory,
        read_description(directory),
        stand_in.binary,
        log=lines.append,
        pauses_seconds=(0.01, 0.04),
    )
    supervising.start()

    def pauses() -> list[str]:
        supervising.poll()
        return [line.rpartition(" in ")[2] for line in lines if "restarts" in line]

    until(lambda: len(pauses()) == 4)
    supervising.stop()
    assert pauses() == ["0.01 s", "0.02 s", "0.04 s", "0.04 s"]


def test_what_does_not_end_is_killed_aloud(stand_in: StandIn) -> None:
    """After the time that was given, and not before it is said."""
    stand_in.does("deaf-1")
    good("up", "tb", "--replicas", "3")
    result = good("down", "tb", "--timeout", "0.3")
    assert "replica 1 did not end in 0.3 s: SIGKILL" in result.stderr
    assert "replica 0" not in result.stderr
    assert "is stopped." in result.stdout
    assert running(count=3) == [None] * 3
    assert process_lock.holder(supervisor_lock(Path("tb"))) is None


def test_a_supervisor_kills_what_does_not_end(stand_in: StandIn) -> None:
    """In the foreground nobody else does; it is said aloud there too."""
    good("up", "tb")
    good("down", "tb")
    stand_in.does("deaf-0")
    directory, lines = Path("tb"), list[str]()
    log = Path("tb/replica-0.log")
    log.unlink()
    supervising = Supervisor(
        directory, read_description(directory), stand_in.binary, log=lines.append
    )
    supervising.start()
    until(log.read_text)  # by now it is deaf
    supervising.stop(seconds=0.2)
    assert lines[1:] == ["replica 0 did not end in 0.2 s: SIGKILL", "replica 0 has stopped"]
    assert running() == [None]


def test_a_supervisor_that_hangs_is_killed_with_its_replicas(stand_in: StandIn) -> None:
    """Stopped by a debugger, say: `down` gets by without it."""
    good("up", "tb")
    process_lock.send(supervisor_lock(Path("tb")), signal.SIGSTOP)
    result = good("down", "tb", "--timeout", "0.3")
    assert "the supervisor did not end in 0.3 s: SIGKILL" in result.stderr
    assert running() == [None]
    assert process_lock.holder(supervisor_lock(Path("tb"))) is None


@pytest.mark.parametrize("command", ["up", "down"])
def test_replicas_without_a_supervisor_are_found(stand_in: StandIn, command: str) -> None:
    """They are shown, stopped by `down`, and started anew with a supervisor by `up`."""
    good("up", "tb", "--replicas", "3")
    before = running(count=3)
    process_lock.kill(supervisor_lock(Path("tb")))
    assert running(count=3) == before
    result = nostro("status", "tb")
    assert result.exit_code == 1
    assert "is degraded." in result.stdout
    assert "a replica that ends does not restart" in result.stdout
    result = good(command, "tb")
    if command == "down":
        assert running(count=3) == [None] * 3
    else:
        assert "replica 0, 1, 2 ran without a supervisor: stopped" in result.stderr
        assert status()["healthy"]
        assert not set(running(count=3)) & set(before)


def test_process_ids_in_files_are_not_believed(stand_in: StandIn) -> None:
    """Whatever stands in them, only who holds a lock is signalled."""
    good("up", "tb")
    good("down", "tb")
    with subprocess.Popen(["/bin/sleep", "600"]) as innocent:
        state = {
            "supervisor": innocent.pid,
            "replicas": [
                {"process_id": innocent.pid, "started_at_ns": 1, "restarts": 0, "ended": ""}
            ],
        }
        Path("tb/state.json").write_text(json.dumps(state))
        for name in ("supervisor.lock", "replica-0.lock"):
            Path("tb", name).write_text(str(innocent.pid))
        assert not status()["replicas"][0]["running"]
        assert "was not running." in good("down", "tb").stdout
        assert innocent.poll() is None
        good("up", "tb")
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_foreground_a_signal_stops_all(stand_in: StandIn, number: signal.Signals) -> None:
    """Cleanly, and a replica that dies before is started again."""
    command = [
        sys.executable,
        "-m",
        "nostro",
        "cluster",
        "up",
        "tb",
        "--foreground",
        "--json",
    ]
    root = PACKAGE_PATH
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ["PYTHONPATH"]])}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["cluster_id"] == "0"
        assert status()["healthy"]
        assert status()["supervisor_process_id"] == process.pid
        [before] = running()
        process_lock.kill(replica_lock(Path("tb"), 0))
        until(lambda: running()[0] not in {None, before})
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait() == 0, said
    assert "replica 0 has stopped" in said
    assert running() == [None]


def test_an_interruption_while_waiting_stops_what_was_started(stand_in: StandIn) -> None:
    """Ctrl-C before the first answer leaves nothing behind."""
    stand_in.does("unanswered")
    root = PACKAGE_PATH
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ["PYTHONPATH"]])}
    for extra in ([], ["--foreground"]):
        command = [sys.executable, "-m", "nostro", "cluster", "up", "tb", *extra]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            until(lambda: running() != [None])
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
            assert process.returncode == 130
        assert "nostro: interrupted" in said
        assert running() == [None]
        assert process_lock.holder(supervisor_lock(Path("tb"))) is None


def test_stopping_tells_how_many_processes_there_were(stand_in: StandIn) -> None:
    """From Python too."""
    good("up", "tb", "--replicas", "3")
    assert stop_cluster(Path("tb"), log=lambda _: None) == 4
    assert stop_cluster(Path("tb"), log=lambda _: None) == 0
