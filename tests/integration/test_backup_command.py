"""``nostro backup`` and ``nostro restore``, beside a writer that goes on writing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nostro import BackupReport, Ledger, audit, journal, verify
from tests.documents import PACKAGE_PATH
from tests.integration.test_cli import contents, good, objects, run
from tests.integration.test_cli_processes import err, nostro, out
from tests.journals import flip
from tests.ledgers import open_ledger, transfers_in, write_ledger

WRITER = """
import sys
from tests.ledgers import create_accounts, create_transfers, open_ledger

ledger = open_ledger(sys.argv[1])
create_accounts(ledger)
first = 1
while True:
    create_transfers(ledger, first, 1 + first % 7)
    first += 1 + first % 7
    print(first - 1, flush=True)
"""


INTERRUPTED = """
import os
from nostro.journal.storage.files import Storage
from nostro.tools.cli import main

def begin_sync(self, *place):
    os.kill(os.getpid(), NUMBER)

Storage.begin_sync = begin_sync
main()
"""


def interrupted(number: signal.Signals, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that gets a signal when it begins to write."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED.replace("NUMBER", str(int(number))), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": PACKAGE_PATH},
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes all the time, and says what was acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PACKAGE_PATH},
    ) as process:
        try:
            out(process).readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def books(tmp_path: Path) -> Path:
    write_ledger(tmp_path / "books", records=30)
    return tmp_path / "books"


def test_backups_beside_a_running_writer_are_prefixes(tmp_path: Path) -> None:
    """Each holds at least what was acknowledged before it began, sound and in balance."""
    books, copy = tmp_path / "books", tmp_path / "copy"
    last, found = 0, list[int]()
    with writing(books) as process:
        for _ in range(5):
            acknowledged = [int(out(process).readline()) for _ in range(40)]
            (told,) = objects("backup", books, copy, "--json", "--quiet")
            found = transfers_in(copy)
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= acknowledged[-1] > last
            assert verify(copy).position == told["position"] == len(found) + 8
            last = acknowledged[-1]
            assert process.poll() is None
    assert audit(copy).passed
    assert transfers_in(books)[: len(found)] == found


def test_what_a_backup_did_is_told(books: Path, tmp_path: Path) -> None:
    """As text and as JSON; the second time there is nothing to copy."""
    copy = tmp_path / "copy"
    text = good("backup", books, copy)
    assert f"{copy} holds every event up to position 68." in text
    (told,) = objects("backup", books, copy, "--json")
    (source,) = objects("verify", books, "--json")
    assert told["chain_hash"] == source["chain_hash"]
    assert (told["position_before"], told["position"], told["bytes_copied"]) == (68, 68, 0)
    assert "linked       " in good("backup", books, tmp_path / "linked", "--link")
    assert "Sound" in good("verify", copy)
    assert good("accounts", copy, "--json") == good("accounts", books, "--json")


def test_a_backup_to_a_bad_place_is_wrong_use(books: Path, tmp_path: Path) -> None:
    """Exit code 2, a word on what to do, and nothing changed anywhere."""
    other = tmp_path / "other"
    Ledger.open(other).close()
    before = contents(tmp_path)
    for destination in (books, books / "copy", other, tmp_path):
        result = run("backup", books, destination)
        assert result.exit_code == 2, result.output
        assert "hint: nothing was changed" in result.stderr
    assert run("backup", tmp_path / "none", tmp_path / "copy").exit_code == 2
    assert contents(tmp_path) == before


def test_a_damaged_source_ends_a_backup_with_3(books: Path, tmp_path: Path) -> None:
    """File, byte and cause are named; the backup before is as it was."""
    copy = tmp_path / "copy"
    good("backup", books, copy)
    with open_ledger(books) as ledger:
        position = ledger.position
    damaged = min((books / "segments").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    result = run("backup", books, tmp_path / "new", "-q")
    assert result.exit_code == 3
    assert str(damaged) in result.stderr
    assert verify(copy).position == position


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_backup_leaves_nothing_half(tmp_path: Path, number: signal.Signals) -> None:
    """No traceback, no temporary file, and the one before is there."""
    books, copy = tmp_path / "books", tmp_path / "copy"
    with writing(books) as process:
        for _ in range(20):
            out(process).readline()
        good("backup", books, copy)
        before = len(transfers_in(copy))
        for _ in range(1_000):
            out(process).readline()
    done = interrupted(number, "backup", str(books), str(copy))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (128 + number, "nostro: interrupted")
    assert verify(copy).position == before + 8
    assert not list(copy.rglob("*.tmp"))
    (told,) = objects("backup", books, copy, "--json")
    assert verify(copy).position == told["position"]


def test_progress_goes_to_standard_error(books: Path, tmp_path: Path) -> None:
    """Standard output has the answer alone."""
    with nostro("backup", books, tmp_path / "copy", "--json") as process:
        (line,) = out(process).read().splitlines()
        assert json.loads(line)["path"] == str(tmp_path / "copy")
        assert err(process).read() == ""


def test_the_backup_lets_the_writer_go_first(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it copies, its priority is the lowest."""
    seen = set()

    def watched(*paths: Path, **options: object) -> BackupReport:
        seen.add(os.getpriority(os.PRIO_PROCESS, 0))
        return real(*paths, **options)  # type: ignore[arg-type]

    real = journal.backup
    # private: the priority is back to what it was when the command ends
    monkeypatch.setattr(journal, "backup", watched)
    good("backup", books, tmp_path / "copy")
    assert seen == {19}


# --- restore --------------------------------------------------------------------------------------


def test_a_backup_is_restored_whole_or_in_part(books: Path, tmp_path: Path) -> None:
    """The part says that it is another ledger, what it left out, and where it is from."""
    copy, new, part = tmp_path / "copy", tmp_path / "new", tmp_path / "part"
    good("backup", books, copy)
    assert "It is the same ledger" in good("restore", copy, new)
    assert good("accounts", new, "--json") == good("accounts", books, "--json")
    text = good("restore", copy, part, "--until-position", 10)
    assert f"{part} holds every event up to position 9." in text
    assert "Positions 10 to 11 are one request" in text
    assert "It is another ledger; event 10 says where it is from." in text
    (event,) = objects("log", part, "--from", 10, "--json")
    (whole,) = objects("verify", books, "--json")
    assert (event["event"], event["position_kept"]) == ("ledger_restored", 9)
    assert event["from_ledger_id"] == whole["ledger_id"]
    assert f"restored from ledger {whole['ledger_id']}, up to position 9" in good("log", part)
    (then,) = objects("restore", copy, tmp_path / "then", "--until-time", "2001-09-09", "--json")
    assert (then["same_ledger"], then["position"]) == (True, 68)
    (early,) = objects("restore", copy, tmp_path / "early", "--until-time", "2001-09-08", "--json")
    assert (early["same_ledger"], early["position"], early["position_backup"]) == (False, 0, 68)
    assert "passed" in good("replay", part, "--check")


def test_a_bad_restore_changes_nothing(books: Path, tmp_path: Path) -> None:
    """Wrong use is 2, damage is 3, and what is there stays."""
    before = contents(tmp_path)
    for arguments in (
        (books, books),
        (books, tmp_path),
        (books, books / "new"),
        (tmp_path / "none", tmp_path / "new"),
        (books, tmp_path / "new", "--until-position", 69),
        (books, tmp_path / "new", "--until-position", 1, "--until-time", 1),
    ):
        result = run("restore", *arguments)
        assert result.exit_code == 2, result.output
    assert contents(tmp_path) == before
    damaged = min((books / "segments").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    result = run("restore", books, tmp_path / "new")
    assert result.exit_code == 3
    assert str(damaged) in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [[], ["--until-position", "50"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_restore_leaves_nothing(
    books: Path, tmp_path: Path, number: signal.Signals, options: list[str]
) -> None:
    """No ledger and no remains."""
    done = interrupted(number, "restore", str(books), str(tmp_path / "new"), *options)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (128 + number, "nostro: interrupted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books"]


# --- repair ---------------------------------------------------------------------------------------


def damage_second_segment(books: Path) -> Path:
    """Alter a byte in the middle; return the file."""
    path = sorted((books / "segments").iterdir())[1]
    flip(path)
    return path


def test_a_repair_is_told_before_it_is_done(books: Path, tmp_path: Path) -> None:
    """The dry run writes nothing and shows the command that does it; that makes a ledger."""
    events = objects("log", books, "--json")
    path = damage_second_segment(books)
    before = contents(tmp_path)
    (plan,) = objects("repair", books, tmp_path / "new", "--json")
    text = good("repair", books, tmp_path / "new")
    assert contents(tmp_path) == before
    assert text.startswith(f"{path}: damaged at byte ")
    lost, kept = plan["events_lost"], plan["position_kept"]
    assert isinstance(lost, int)
    assert isinstance(kept, int)
    assert (kept + lost, plan["applied"]) == (68, False)
    command = text.splitlines()[-1].split()
    assert command[-3:] == ["--apply", "--lose", str(lost)]
    assert "describes the repair" in good(*command[1:])
    assert contents(books) == {name: data for name, data in before.items() if books in name.parents}
    repaired = objects("log", tmp_path / "new", "--json")
    assert repaired[:-1] == events[:kept]
    assert (repaired[-1]["event"], repaired[-1]["events_lost"]) == ("ledger_repaired", lost)
    assert f"repaired from ledger {plan['ledger_id_before']}" in good("log", tmp_path / "new")
    assert "Sound" in good("verify", tmp_path / "new")
    assert "passed" in good("replay", tmp_path / "new", "--check")
    (told,) = objects("repair", books, tmp_path / "more", "--apply", "--lose", lost, "--json")
    assert (told["applied"], told["position"]) == (True, kept + 1)


def test_a_bad_repair_changes_nothing(books: Path, tmp_path: Path) -> None:
    """A sound ledger, another number, half of the options, a place that is taken."""
    assert run("repair", books, tmp_path / "new").exit_code == 2
    damage_second_segment(books)
    before = contents(tmp_path)
    for arguments in (
        ("--apply",),
        ("--lose", 3),
        ("--apply", "--lose", 1_000),
    ):
        result = run("repair", books, tmp_path / "new", *arguments)
        assert result.exit_code == 2, result.output
    (plan,) = objects("repair", books, tmp_path / "new", "--json")
    for place in (books, books / "new", tmp_path):
        result = run("repair", books, place, "--apply", "--lose", plan["events_lost"])
        assert result.exit_code == 2, result.output
    assert contents(tmp_path) == before


def test_an_interrupted_repair_leaves_nothing(books: Path, tmp_path: Path) -> None:
    """No ledger, and no remains."""
    damage_second_segment(books)
    (plan,) = objects("repair", books, tmp_path / "new", "--json")
    done = interrupted(
        signal.SIGINT, "repair", str(books), str(tmp_path / "new"), "--apply", "--lose",
        str(plan["events_lost"]),
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "nostro: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["books"]
