"""When the disk, the client or the server itself fails in the middle of a request."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import pytest

from nostro import Account, AsyncLedger, Reader, WriterPoisoned
from nostro.tools.server.application import Access
from nostro.tools.server.running import STOP_SECONDS, Server, listen, url
from tests.disks import FullDisk, HeldDisk
from tests.ledgers import pipeline
from tests.serving import ACCOUNTS, served, transfer
from tests.storages import EIO, FaultyStorage
from tests.waiting import TIMEOUT_SECONDS, until

ACCESS: Final = Access(None, frozenset({"127.0.0.1"}))


def test_a_full_disk_refuses_and_writing_resumes(tmp_path: Path) -> None:
    """507, nothing written, and no path of this machine in the message; look-ups go on."""
    disk = FullDisk(suffix=".segment")
    with served(tmp_path / "ledger", storage=disk) as it:
        it.begin()
        # private: only then does the next record need room
        pipeline(it.ledger._ledger)._writer._file.cut()  # so that the next record needs room
        disk.full = True
        error = it.refused("POST", "/transfers", [transfer(1)])
        assert (error["status"], error["type"]) == (507, "journal_full")
        assert error["outcome"] == "nothing_written"
        assert str(tmp_path) not in error["message"]
        assert it.good("GET", "/accounts/1")["id"] == "1"
        disk.full = False
        assert it.good("POST", "/transfers", [transfer(1)])[0]["status"] == "CREATED"


def test_a_disk_that_failed_is_not_ready_and_the_outcome_is_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """503 from then on for what writes, /ready and metrics say so; what was there is still read."""
    disk = FaultyStorage(1, EIO, for_ever=True, only=())
    with served(tmp_path / "ledger", storage=disk, closes=WriterPoisoned) as it:
        it.begin()
        disk.only = {"sync_data"}
        for path, body in (("/transfers", [transfer(1)]), ("/accounts", ACCOUNTS)):
            error = it.refused("POST", path, body)
            assert (error["status"], error["type"]) == (503, "writer_poisoned")
            assert error["outcome"] == "unknown"
            assert "send the same ids again" in error["message"]
            assert str(tmp_path) not in error["message"]
            assert caplog.messages[-1].startswith(f"POST {path} failed: {tmp_path}")
        ready = it.refused("GET", "/ready")
        assert (ready["status"], ready["type"]) == (503, "not_ready")
        assert "the disk failed (fdatasync: Input/output error)" in ready["message"]
        assert "nostro_writable 0.0" in it.ask("GET", "/metrics").text
        assert it.good("GET", "/health")["position"] == 2
        assert it.good("GET", "/accounts/1")["debits_posted"] == "0"
        disk.repair()


def test_a_ledger_that_is_closed_is_not_ready(tmp_path: Path) -> None:
    """Nothing was written, and that is said."""
    with served(tmp_path / "ledger") as it:
        it.begin()
        it.runner.run(it.ledger.close())
        assert it.refused("GET", "/ready")["status"] == 503
        error = it.refused("POST", "/transfers", [transfer(1)])
        assert (error["type"], error["outcome"]) == ("ledger_closed", "nothing_written")
        assert it.refused("GET", "/accounts/1")["status"] == 503


def test_our_own_bug_is_logged_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500; the traceback is in the log, and nothing of it in the answer."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    with served(tmp_path / "ledger") as it:
        # private: a bug of ours cannot be ordered from outside
        monkeypatch.setattr(it.ledger, "create_transfers", fail)
        error = it.refused("POST", "/transfers", [])
        assert it.good("GET", "/health")["status"] == "ok"
    assert (error["status"], error["type"], error["outcome"]) == (500, "internal", "unknown")
    assert "secret" not in error["message"]
    [record] = caplog.records
    assert record.exc_info is not None
    assert "a secret" in str(record.exc_info[1])
    assert record.levelno == logging.ERROR


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    """The server gives up after its limit and answers with 408."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.sleep(TIMEOUT_SECONDS)

    with served(tmp_path / "ledger", body_seconds=0.01) as it:
        # The transport asks for parts without end, so it is the server that gives up.
        error = it.refused("POST", "/accounts", parts())
    assert (error["status"], error["outcome"]) == (408, "nothing_written")


# --- over sockets, with a disk that can be held ---------------------------------------------------


def over_sockets(
    path: Path,
    disk: HeldDisk,
    use: Callable[[Server, socket.socket], Coroutine[Any, Any, None]],
    *,
    stop_seconds: float = STOP_SECONDS,
) -> None:
    """Serve a ledger with two accounts, and run ``use`` beside it; the server is stopped then."""

    async def run() -> None:
        ledger = await AsyncLedger.open(path, storage=disk)
        with listen("127.0.0.1", 0) as listening:
            try:
                await ledger.create_accounts([Account(id=n, ledger=1, code=1) for n in (1, 2)])
                server = Server(ledger, ACCESS, stop_seconds=stop_seconds)
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                try:
                    await use(server, listening)
                finally:
                    disk.release()
                    server.stop()
                    await serving
            finally:
                await ledger.close()

    asyncio.run(run())


async def post(listening: socket.socket, body: object) -> tuple[Any, asyncio.StreamWriter]:
    """A request that is sent, and the connection it was sent on."""
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    content = json.dumps(body).encode()
    head = (
        f"POST /transfers HTTP/1.1\r\nhost: {url(listening).removeprefix('http://')}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


async def post_and_hold(
    disk: HeldDisk, listening: socket.socket
) -> tuple[Any, asyncio.StreamWriter]:
    """A request for one transfer that waits for the held disk, and its connection."""
    disk.hold()
    streams = await post(listening, [transfer(1)])
    await asyncio.to_thread(disk.arrived.wait, TIMEOUT_SECONDS)
    return streams


def transfers_in(path: Path) -> int:
    return sum(record.header.event_count for record in Reader(path).records()) - len(ACCOUNTS)


def test_who_hangs_up_does_not_stop_what_has_begun(tmp_path: Path) -> None:
    """The transfer is in the journal, although nobody was there to be told."""
    disk = HeldDisk()

    async def use(server: Server, listening: socket.socket) -> None:
        _, writer = await post_and_hold(disk, listening)
        writer.transport.abort()
        [connection] = server.server_state.connections
        await asyncio.to_thread(until, lambda: connection not in server.server_state.connections)
        disk.release()

    over_sockets(tmp_path / "ledger", disk, use)
    assert transfers_in(tmp_path / "ledger") == 1


def test_a_server_that_stops_answers_what_is_under_way(tmp_path: Path) -> None:
    """Nobody new is let in meanwhile."""
    disk = HeldDisk()

    async def use(server: Server, listening: socket.socket) -> None:
        reader, writer = await post_and_hold(disk, listening)
        server.stop()
        await asyncio.to_thread(until, lambda: not server.servers[0].is_serving())
        with pytest.raises(OSError):  # noqa: PT011 - refused, or reset, as the system likes
            await (await post(listening, []))[0].readexactly(1)
        disk.release()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b'"status":"CREATED"}]')
        writer.close()

    over_sockets(tmp_path / "ledger", disk, use)
    assert transfers_in(tmp_path / "ledger") == 1


def test_a_server_with_nothing_to_do_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no clock, even if a client keeps its connection open."""
    waits: list[float] = []

    async def use(server: Server, listening: socket.socket) -> None:
        reader, writer = await post(listening, [transfer(1)])
        await reader.readuntil(b"]")
        sleep = asyncio.sleep

        async def noted(seconds: float) -> None:
            waits.append(seconds)
            await sleep(seconds)

        monkeypatch.setattr(asyncio, "sleep", noted)
        server.stop()
        assert await reader.read() == b""
        await asyncio.to_thread(until, lambda: not server.server_state.connections)
        writer.close()

    over_sockets(tmp_path / "ledger", HeldDisk(), use)
    assert sum(waits) < 0.1


def test_a_stop_that_does_not_wait_any_longer_loses_nothing_either(tmp_path: Path) -> None:
    """A request is given up while the disk is at it; closing the ledger finishes it."""
    disk = HeldDisk()

    async def use(server: Server, listening: socket.socket) -> None:
        _, writer = await post_and_hold(disk, listening)
        tasks = list(server.server_state.tasks)
        server.stop()
        await asyncio.wait(tasks)
        writer.close()

    over_sockets(tmp_path / "ledger", disk, use, stop_seconds=0.05)
    assert transfers_in(tmp_path / "ledger") == 1


def test_a_body_that_ends_early_writes_nothing(tmp_path: Path) -> None:
    """Half a request is none."""
    disk = HeldDisk()

    async def use(server: Server, listening: socket.socket) -> None:
        _, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(
            b"POST /transfers HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: 9999\r\n\r\n" + json.dumps([transfer(1)]).encode()
        )
        await writer.drain()
        await asyncio.to_thread(until, lambda: server.server_state.tasks)
        tasks = list(server.server_state.tasks)
        writer.close()
        await asyncio.wait(tasks)

    over_sockets(tmp_path / "ledger", disk, use)
    assert transfers_in(tmp_path / "ledger") == 0
