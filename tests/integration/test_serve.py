"""``nostro serve`` as a process: what it says, whom it answers, and how it ends."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from click.testing import CliRunner

from nostro import Ledger, verify
from nostro.tools.cli.application import application
from tests.documents import PACKAGE_PATH, blocks
from tests.integration.test_cli_processes import SECONDS_MAX, err, nostro, out
from tests.journals import files_under
from tests.ports import free_port
from tests.serving import transfer
from tests.waiting import until

CLIENTS: Final = 50
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - what is tested


@contextlib.contextmanager
def serving(
    *args: object, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process, and what it says once it answers."""
    with nostro(
        "serve", *args, "--port", 0, "--json", stdout=subprocess.PIPE, **environment
    ) as process:
        line = out(process).readline()
        assert line, err(process).read()
        yield process, json.loads(line)


def post(client: httpx.Client, *ids: int) -> list[str]:
    answer = client.post("/transfers", json=[transfer(id_) for id_ in ids])
    assert answer.status_code == 200, answer.text
    return [result["status"] for result in answer.json()]


def transfer_ids(books: Path, count: int) -> set[int]:
    """Those from 1 to ``count`` that are in the ledger."""
    with Ledger.open(books, read_only=True) as ledger:
        return {found.id for found in ledger.lookup_transfers(range(1, count + 1))}


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_everything_is_there(books: Path, number: signal.Signals) -> None:
    """Exit code 0, a checkpoint, no complaint; the ledger is free again."""
    with nostro("serve", books, "--port", 0) as process:
        assert out(process).readline() == f"Accounting backend: journal (data: {books})\n"
        listening = out(process).readline()
        match = re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+)\n", listening)
        assert match is not None
        with httpx.Client(base_url=match[1]) as client:
            assert post(client, 1, 2) == ["CREATED"] * 2
            assert client.get("/accounts/2").json()["credits_posted"] == "10"
            process.send_signal(number)  # while a connection is open
            assert process.wait(SECONDS_MAX) == 0
        assert out(process).read() == ""
        assert err(process).read() == ""
    with Ledger.open(books, create=False) as ledger:
        assert ledger.report.events_replayed == 0
        assert ledger.lookup_accounts([2])[0].credits_posted == 10


def test_many_clients_write_at_once(books: Path) -> None:
    """Every acknowledged transfer of 50 connections is in the journal, which is sound."""
    each = 20

    def pay(url: str, number: int) -> list[str]:
        with httpx.Client(base_url=url, timeout=SECONDS_MAX) as client:
            return [status for n in range(each) for status in post(client, 1 + number * each + n)]

    with serving(books) as (process, said), ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: pay(said["url"], number), range(CLIENTS)))
        process.terminate()
        assert process.wait(SECONDS_MAX) == 0
    assert answers == [["CREATED"] * each] * CLIENTS
    assert len(transfer_ids(books, CLIENTS * each)) == CLIENTS * each
    assert verify(books).position == 2 + CLIENTS * each


def test_what_was_acknowledged_survives_kill_9(books: Path) -> None:
    """Of eight connections that write without end; what was sent again exists once."""
    clients, each, enough = 8, 10_000, 100
    acknowledged: list[int] = []
    plenty = threading.Event()

    def pay(url: str, number: int) -> None:
        with httpx.Client(base_url=url) as client, contextlib.suppress(httpx.TransportError):
            for n in range(1, each):
                post(client, n * clients + number)
                acknowledged.append(n * clients + number)
                if len(acknowledged) > enough:
                    plenty.set()

    with serving(books) as (process, said), ThreadPoolExecutor(clients) as pool:
        paying = [pool.submit(pay, said["url"], number) for number in range(clients)]
        assert plenty.wait(SECONDS_MAX)
        process.kill()
        for each_paying in paying:
            each_paying.result(SECONDS_MAX)
    assert len(acknowledged) > enough
    assert set(acknowledged) <= transfer_ids(books, max(acknowledged) + clients)
    with serving(books) as (process, said), httpx.Client(base_url=said["url"]) as client:
        assert post(client, acknowledged[-1]) == ["EXISTS"]
        assert said["position"] >= 2 + len(acknowledged)


def test_a_cluster_that_is_away_is_told_and_stops_nothing(books: Path) -> None:
    """The mirror begins with the server; /health and /metrics say how it does; it ends with it."""
    pytest.importorskip("tigerbeetle")
    address = f"127.0.0.1:{free_port()}"
    environment = {"TIGERBEETLE_CLUSTER_ID": "3", "TIGERBEETLE_REPLICAS": address,
                   "TIGERBEETLE_TIMEOUT_SECONDS": "0.2"}  # fmt: skip
    with (
        serving(books, **environment) as (process, said),
        httpx.Client(base_url=said["url"]) as client,
    ):
        assert said["backend"] == (
            f"journal (data: {books}), mirrored to TigerBeetle (cluster: 3, replicas: {address})"
        )
        assert post(client, 1) == ["CREATED"]
        until(lambda: client.get("/health").json()["mirror"]["state"] == "retrying")
        answer = client.get("/health")
        assert answer.status_code == 200
        mirror = answer.json()["mirror"]
        assert (mirror["connected"], mirror["healthy"], mirror["lag_events"]) == (False, False, 3)
        assert address not in answer.text
        assert client.get("/ready").status_code == 200
        assert post(client, 2) == ["CREATED"]
        assert 'nostro_mirror_connected{cluster="3"} 0' in client.get("/metrics").text
        assert "cannot be reached" in err(process).readline()
        process.terminate()
        assert process.wait(SECONDS_MAX) == 0
    assert transfer_ids(books, 2) == {1, 2}


def refused(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(application, ["serve", *map(str, args)])
    assert result.stdout == ""
    return result.exit_code, result.stderr


def test_what_cannot_be_served_is_told_and_left_alone(books: Path, tmp_path: Path) -> None:
    """Exit code 2, what is wrong, what to do; not a byte is changed."""
    before = files_under(tmp_path)
    keys = tmp_path / "missing.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for args, message, hint in (
            ((tmp_path / "nowhere",), "no such directory", "nostro init DIR"),
            ((books, "--port", taken.getsockname()[1]), "Address already in use", "--port 0"),
            ((books, "--host", "192.0.2.1"), "cannot listen on 192.0.2.1", "nothing was changed"),
            ((books, "--host", "no.such.host.invalid"), "cannot listen", "nothing was changed"),
            ((books, "--host", "a" * 100), "cannot listen", "nothing was changed"),
            ((books, "--host", EVERYWHERE, "--port", 0), "needs keys", "--keys FILE"),
            ((books, "--host", "::", "--port", 0), "needs keys", "--keys FILE"),
            ((books, "--allowed-host", "http://a/"), "is not a host name", "--help"),
            ((books, "--allowed-host", "a:80"), "is not a host name", "--help"),
        ):  # fmt: skip
            code, told = refused(*args)
            assert (code, message in told, hint in told) == (2, True, True), told
    code, told = refused(books, "--keys", keys)
    assert (code, "missing.toml: No such file" in told) == (1, True)
    assert files_under(tmp_path) == before


def test_a_ledger_that_is_open_elsewhere_is_left_alone(books: Path) -> None:
    """One writes; it goes on."""
    with Ledger.open(books) as ledger:
        before = files_under(books)
        code, told = refused(books, "--port", 0)
        assert (code, "already open for writing" in told) == (2, True)
        assert files_under(books) == before
        assert ledger.is_open


def test_keys_that_others_may_read_are_refused(books: Path, tmp_path: Path) -> None:
    """Before the ledger is touched."""
    keys = tmp_path / "keys.toml"
    keys.write_text("", encoding="utf-8")
    keys.chmod(0o644)
    before = files_under(books)
    code, told = refused(books, "--keys", keys, "--port", 0)
    assert (code, "its mode is 0644" in told, "chmod 600" in told) == (2, True, True)
    assert files_under(books) == before


def test_half_a_cluster_is_refused(books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As wherever a mirror would start."""
    monkeypatch.setenv("TIGERBEETLE_CLUSTER_ID", "3")
    code, told = refused(books, "--port", 0)
    assert (code, "TIGERBEETLE_REPLICAS" in told) == (2, True)


def test_without_the_extra_it_says_what_to_install(books: Path) -> None:
    """And every other command works; none of them loads anything of it."""
    program = textwrap.dedent("""
        from importlib.machinery import PathFinder

        find = PathFinder.find_spec

        def find_spec(name, path=None, target=None):
            is_missing = name in {"starlette", "uvicorn", "prometheus_client"}
            return None if is_missing else find(name, path, target)

        PathFinder.find_spec = find_spec
        from nostro.tools.cli import main

        main()
    """)
    environ = {**os.environ, "PYTHONPATH": PACKAGE_PATH}
    for arguments, code in (
        (["serve", str(books)], 2), (["--help"], 0), (["serve", "--help"], 0),
        (["accounts", str(books)], 0),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True, text=True, check=False, env=environ,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        if code:
            assert (
                "packages that are not installed: starlette, uvicorn, prometheus_client"
                in done.stderr
            )
            assert "pip install 'nostro[server]'" in done.stderr


def test_an_access_log_is_written_when_asked_for(books: Path) -> None:
    """And not otherwise; a key is never in it."""
    for option, lines in ((("--access-log",), 1), ((), 0)):
        with serving(books, *option) as (process, said):
            httpx.get(f"{said['url']}/accounts/1", headers={"x-api-key": "secret"})
            process.terminate()
            assert process.wait(SECONDS_MAX) == 0
            told = err(process).read()
        assert told.count('"GET /accounts/1 HTTP/1.1" 200') == lines
        assert "secret" not in told


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_it_listens_at_other_addresses(books: Path, tmp_path: Path) -> None:
    """IPv6 loopback without keys; everywhere with them."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f"[a]\nrole = 'write'\nsha256 = '{'0' * 64}'\n", encoding="utf-8")
    keys.chmod(0o600)
    with serving(books, "--host", "::1") as (_, said):
        assert said["url"].startswith("http://[::1]:")
        assert httpx.get(f"{said['url']}/ready").status_code == 200
    with serving(books, "--host", EVERYWHERE, "--keys", keys) as (_, said):
        url = said["url"].replace(EVERYWHERE, "127.0.0.1")
        assert httpx.get(f"{url}/ready").status_code == 200
        assert httpx.get(f"{url}/accounts/1").status_code == 401


def test_a_body_that_is_too_large_is_answered(books: Path) -> None:
    """Over a socket too, where the client is still sending; the connection goes on."""
    with serving(books) as (_, said), httpx.Client(base_url=said["url"]) as client:
        headers = {"content-type": "application/json"}
        answer = client.post("/transfers", content=b" " * (64 << 20), headers=headers)
        assert answer.status_code == 413
        assert post(client, 1) == ["CREATED"]


def commands_of(text: str) -> list[tuple[str, str]]:
    """(command, what the document says that it prints), for each."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        lines = part.splitlines(keepends=True)
        end = 1
        while end < len(lines) and lines[end].startswith("    "):
            end += 1
        found.append(("".join(lines[:end]), "".join(lines[end:])))
    return found


def without_times(text: str) -> str:
    return re.sub(r'(?<="timestamp":")\d{19}', "…", text)


@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "jq", "openssl"))), reason="needs the guide's tools"
)
def test_the_guide_runs(tmp_path: Path) -> None:
    """Every command, in its order, prints what is shown; what is shown as text is the server's."""
    books = tmp_path / "books"
    assert CliRunner().invoke(application, ["init", str(books)]).exit_code == 0
    environ = {**os.environ, "KEY": ""}

    def run(command: str, url: str = "") -> str:
        script = command.replace("http://127.0.0.1:8080", url) + '\nprintf "\\f%s" "$KEY"'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True, text=True, check=True, cwd=tmp_path, env=environ,
        )  # fmt: skip
        printed, _, environ["KEY"] = done.stdout.rpartition("\f")
        return printed if printed.endswith("\n") or not printed else printed + "\n"

    sections = [
        commands_of(text)
        for language, text in blocks("docs/guides/server.md")
        if language == "console"
    ]
    *asking, making, with_keys = sections
    with serving(books) as (_, said):
        for command, expected in itertools.chain(*asking):
            assert without_times(run(command, said["url"])) == without_times(expected)
    script = "".join(command for command, _ in making)
    assert run(script) == ""
    keys = tmp_path / "keys.toml"
    assert (mode_of(keys), len(environ["KEY"])) == (0o600, 64)
    with serving(books, "--keys", keys) as (_, said):
        for command, expected in with_keys:
            assert run(command, said["url"]) == expected
        answer = httpx.post(
            f"{said['url']}/accounts", json=[], headers={"x-api-key": environ["KEY"]}
        )
        assert answer.status_code == 200
