"""The command line as a process: pipes, signals and terminals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

from nostro import Account, Ledger, Reader, Transfer
from tests.documents import PACKAGE_PATH
from tests.integration.test_cli import MAPPING

ROOT: Final = Path(__file__).resolve().parents[2]
HEADER: Final = "id,day,customer,kind,amount\n"
SECONDS_MAX: Final = 30


@contextlib.contextmanager
def nostro(
    *args: object, stdout: int | None = subprocess.PIPE, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A running command; killed at the end if it did not end by itself."""
    with subprocess.Popen(
        [sys.executable, "-m", "nostro", *map(str, args)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PACKAGE_PATH, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def err(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stderr is not None
    return process.stderr


def pay(ledger: Ledger, id: int) -> None:
    ledger.create_transfers(
        [Transfer(id=id, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1)]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_followed_events_appear_as_they_become_durable(books: Path, number: signal.Signals) -> None:
    """Another process's transfers are shown at once; a signal ends it cleanly."""
    with nostro("log", books, "--follow", "--json") as process, Ledger.open(books) as ledger:
        shown = [json.loads(out(process).readline()) for _ in range(2)]
        for n in (10, 11):
            pay(ledger, n)
            shown.append(json.loads(out(process).readline()))
        process.send_signal(number)
        assert process.wait(SECONDS_MAX) == 0
        assert err(process).read() == ""
    assert [event["position"] for event in shown] == [1, 2, 3, 4]
    assert [event["id"] for event in shown] == ["1", "2", "10", "11"]


def test_following_ends_when_nobody_reads_any_more(books: Path) -> None:
    """Without a new event, too: an idle follower does not outlive its reader."""
    with nostro("log", books, "--follow") as process:
        out(process).readline()
        out(process).close()
        assert process.wait(SECONDS_MAX) == 0
        assert err(process).read() == ""


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    """``nostro log | head`` ends with exit code 0 and no complaint."""
    with Ledger.open(tmp_path / "books") as ledger:
        ledger.create_accounts([Account(id=n, ledger=1, code=1) for n in range(1, 5_001)])
    for command in ("log", "accounts"):
        with nostro(command, tmp_path / "books", "--json") as process:
            out(process).readline()
            out(process).close()
            assert process.wait(SECONDS_MAX) == 0
            assert err(process).read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_interrupted_says_what_is_in(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Whole batches stay, the exit code names the signal; the same command completes it."""
    (tmp_path / "m.toml").write_text(MAPPING, encoding="utf-8")
    whole, count = tmp_path / "rows.csv", 20_000
    rows = [f"r{n},2001-02-01,{1 + n % 7},in,1.00\n" for n in range(count)]
    whole.write_text(HEADER + "".join(rows), encoding="utf-8")
    books = tmp_path / "books"
    Ledger.open(books).close()  # so that it can be followed at once
    events = 8 + 100  # the accounts, and a batch
    arguments = ("import", books, whole, "-m", tmp_path / "m.toml", "--batch-rows", 100)
    with nostro(*arguments) as process:
        assert wait_for_events(books, events)
        process.send_signal(number)
        assert process.wait(SECONDS_MAX) == 128 + number
        told = err(process).read()
    match = re.search(r"interrupted; ([0-9,]+)00 rows are in", told)
    assert match is not None, told
    posted = 100 * int(match[1].replace(",", ""))
    assert "hint: run the same command to continue" in told
    assert "Traceback" not in told
    with nostro("import", books, whole, "-m", tmp_path / "m.toml", "--json") as process:
        report = json.loads(out(process).read())
    assert (report["already_there"], report["transfers_created"]) == (posted, count - posted)


def test_a_terminal_of_80_columns_is_kept_to(books: Path) -> None:
    """Tables fit, and NO_COLOR leaves no colour."""
    with Ledger.open(books) as ledger:
        ledger.create_accounts([Account(id=2**127 + n, ledger=1, code=1) for n in range(3)])
        pay(ledger, 10)
    for args in (
        ("accounts", books),
        ("statement", books, 1),
        ("balance", books, 1, 2**127),
        ("log", books),
    ):
        text = on_terminal(*args)
        assert max(map(len, text.replace("\x1b[0m", "").splitlines())) <= 80
        assert not any(f"\x1b[{colour}m" in text for colour in range(30, 38))


def on_terminal(*args: object) -> str:
    """What the command writes to a terminal of 80 columns, without styles but for colours."""
    master, slave = pty.openpty()
    with nostro(*args, stdout=slave, COLUMNS="80", TERM="xterm-256color", NO_COLOR="1") as process:
        os.close(slave)
        data = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while block := os.read(master, 4096):
                data += block
        os.close(master)
        assert process.wait(SECONDS_MAX) == 0
    text = data.decode()
    for style in ("\x1b[1m", "\x1b[2m", "\x1b[0m"):
        text = text.replace(style, "")
    return text


def wait_for_events(books: Path, count: int) -> bool:
    """Return True once the ledger has so many events, False when they do not come."""
    records = Reader(books).follow(timeout_seconds=SECONDS_MAX)
    return any(record.position_last >= count for record in records)
