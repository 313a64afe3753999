"""A writer never acknowledges into files that are no longer the ledger at its path."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from nostro import backup, verify
from nostro.journal.errors import LedgerLocked, WriterPoisoned
from nostro.journal.writing import own_files
from nostro.journal.writing.writer import Writer
from nostro.projections.ledger.ledger import Ledger
from tests.journals import append, commit, files_under, ids_in, open_writer, segment_names
from tests.ledgers import create_transfers, open_ledger, transfers_in, write_ledger
from tests.serving import served, transfer

Change = Callable[[Path], None]


def removed(name: str) -> Change:
    def change(path: Path) -> None:
        file_in(path, name).unlink()

    return change


def renamed(name: str) -> Change:
    def change(path: Path) -> None:
        file = file_in(path, name)
        file.rename(file.with_name("elsewhere"))

    return change


def replaced(name: str) -> Change:
    """As rsync does: the same bytes in a new file, which gets the name."""

    def change(path: Path) -> None:
        file = file_in(path, name)
        shutil.copy2(file, file.with_name("copy.tmp"))
        file.with_name("copy.tmp").rename(file)

    return change


def file_in(path: Path, name: str) -> Path:
    return path / "segments" / segment_names(path)[-1] if name == "segment" else path / name


def directory_renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def directory_removed(path: Path) -> None:
    shutil.rmtree(path)


def parent_renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def backup_in_its_place(path: Path) -> None:
    backup(path, path.with_name("backup"))
    path.rename(path.with_name("elsewhere"))
    path.with_name("backup").rename(path)


def segments_replaced(path: Path) -> None:
    (path / "segments").rename(path / "old")
    shutil.copytree(path / "old", path / "segments")


FILES: Final = ("LOCK", "HEAD", "segment")
CHANGES: Final = {
    **{f"{name} removed": removed(name) for name in FILES},
    **{f"{name} renamed": renamed(name) for name in FILES},
    **{f"{name} replaced": replaced(name) for name in FILES},
    **{
        change.__name__: change
        for change in (
            directory_renamed,
            directory_removed,
            parent_renamed,
            backup_in_its_place,
            segments_replaced,
        )
    },
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "parent").mkdir()
    return tmp_path / "parent" / "ledger"


def commit_until_settled(writer: Writer, path: Path) -> int:
    """Commit until the last change of the folder of the segments is long ago; the next id."""
    settled = (path / "segments").stat().st_ctime_ns + 50_000_000
    for number in itertools.count(1):
        commit(writer, number)
        if time.time_ns() > settled:
            return number + 1
    raise AssertionError


@every_change
def test_nothing_is_acknowledged_into_files_that_were_replaced(
    path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the next record nor any later one; and the error says what happened."""
    writer = open_writer(path, segment_bytes_max=1024 * 1024)
    number = commit_until_settled(writer, path)
    # private: the time between checks decides what is tested
    monkeypatch.setattr(own_files, "CHECK_SECONDS_MAX", 0.0)  # as if a tenth of a second had passed
    before = writer.head
    change(path)
    with pytest.raises(WriterPoisoned, match=r"(re\w+ed|put in place).*while") as caught:
        commit(writer, number)
    assert str(path) in str(caught.value)
    assert writer.head == before
    with pytest.raises(WriterPoisoned):
        append(writer, number)
    writer.close()


@pytest.mark.parametrize("name", [name for name in CHANGES if name[:4] not in ("HEAD", "LOCK")])
def test_events_that_would_be_lost_are_never_acknowledged(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even at once: the folder of the segments is looked at before each acknowledgement."""
    # private: the time between checks decides what is tested
    monkeypatch.setattr(own_files, "CHECK_SECONDS_MAX", 3_600.0)
    writer = open_writer(path, segment_bytes_max=1024 * 1024)
    number = commit_until_settled(writer, path)
    CHANGES[name](path)
    with pytest.raises(WriterPoisoned):
        commit(writer, number)
    writer.close()


@every_change
def test_a_ledger_that_is_idle_notices_too(path: Path, change: Change) -> None:
    """When asked whether it accepts writes, and when it is closed."""
    write_ledger(path, records=3)
    ledger = open_ledger(path)
    ledger.check_writable()
    change(path)
    with pytest.raises(WriterPoisoned):
        ledger.check_writable()
    ledger.close()


@every_change
def test_a_ledger_that_is_closed_afterwards_says_so(path: Path, change: Change) -> None:
    """What was written before is in other files than those at its path."""
    write_ledger(path, records=3)
    ledger = open_ledger(path)
    change(path)
    with pytest.raises(WriterPoisoned):
        ledger.close()
    ledger.close()


def test_a_second_writer_is_kept_out_without_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOCK is removed or replaced, and the first writer is still at work."""
    writer = open_writer(path)
    commit(writer, 1)
    for change in (removed("LOCK"), replaced("LOCK")):
        change(path)
        with pytest.raises(LedgerLocked):
            open_writer(path)
    # private: the time between checks decides what is tested
    monkeypatch.setattr(own_files, "CHECK_SECONDS_MAX", 0.0)
    with pytest.raises(WriterPoisoned, match="LOCK was replaced"):
        commit(writer, 2)
    writer.close()
    second = open_writer(path)
    commit(second, 3)
    second.close()
    assert ids_in(path) == [1, 2, 3]  # 2 was on disk, though nobody got an answer
    verify(path)


def test_a_backup_in_place_of_the_ledger_is_not_touched(path: Path) -> None:
    """Neither a new segment nor HEAD nor a manifest is written there: both ledgers are sound."""
    writer = open_writer(path)
    for first in range(1, 40):
        commit(writer, first)
    backup_in_its_place(path)
    restored = files_under(path)
    with pytest.raises(WriterPoisoned):
        commit(writer, 40)
    writer.close()
    assert files_under(path) == restored
    for ledger in (path, path.with_name("elsewhere")):
        assert ids_in(ledger) == list(range(1, 40))
        verify(ledger)
        open_writer(ledger).close()


def test_a_new_segment_gets_no_name_in_another_directory(path: Path) -> None:
    """Every record needs a new segment, so the first one after the change begins with one."""
    writer = open_writer(path)
    commit(writer, 1, 120)
    backup_in_its_place(path)
    restored = files_under(path)
    with pytest.raises(WriterPoisoned):
        commit(writer, 121, 120)
    writer.close()
    assert files_under(path) == restored


def test_no_derived_file_is_written_into_another_directory(path: Path) -> None:
    """A checkpoint there would name events that the backup does not have."""
    write_ledger(path, records=20)
    ledger = open_ledger(path)
    create_transfers(ledger, 1_000, 5)
    position = ledger.position
    backup_in_its_place(path)
    restored = files_under(path)
    with pytest.raises(WriterPoisoned):
        ledger.checkpoint()
    ledger.close()
    assert files_under(path) == restored
    for place in (path, path.with_name("elsewhere")):
        with open_ledger(place) as opened:
            assert opened.position == position


def test_a_ledger_survives_a_new_working_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the directory that it meant when the ledger was opened."""
    monkeypatch.chdir(path.parent)
    writer = Writer.open(Path("ledger"))
    monkeypatch.chdir("/")
    commit(writer, 1)
    writer.close()
    assert ids_in(path) == [1]


def test_what_changes_no_file_is_no_reason_to_stop(path: Path) -> None:
    """A look at the files, another name for one of them, other permissions, a file beside them."""
    writer = open_writer(path)
    commit(writer, 1)
    for name in FILES:
        file = file_in(path, name)
        file.read_bytes()
        file.chmod(0o600)
        (path.parent / name).hardlink_to(file)
    (path / "notes.txt").write_text("mine")
    commit(writer, 2)
    writer.close()
    assert ids_in(path) == [1, 2]


def test_everything_acknowledged_before_is_kept(path: Path) -> None:
    """In the files that were opened, wherever they are now."""
    write_ledger(path, records=3)
    ledger = open_ledger(path)
    create_transfers(ledger, 1_000, 3)
    directory_renamed(path)
    with pytest.raises(WriterPoisoned):
        create_transfers(ledger, 1_003, 3)
    with pytest.raises(WriterPoisoned):  # of the request that got no answer
        ledger.close()
    assert {1_000, 1_001, 1_002} <= set(transfers_in(path.with_name("elsewhere")))


# --- while another process writes -----------------------------------------------------------------

WRITING: Final = """
import itertools, sys
from nostro import Account, Ledger, Transfer, WriterPoisoned

ledger = Ledger.open(sys.argv[1])
ledger.create_accounts([Account(id=1, ledger=1, code=1), Account(id=2, ledger=1, code=1)])
try:
    for number in itertools.count(1):
        transfer = Transfer(
            id=number, debit_account_id=1, credit_account_id=2, amount=number, ledger=1, code=1
        )
        ledger.create_transfers([transfer])
        print(number, flush=True)
except WriterPoisoned as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("name", ["LOCK removed", "HEAD replaced", "backup_in_its_place"])
def test_a_process_that_writes_stops_and_has_lost_nothing(path: Path, name: str) -> None:
    """Every transfer that it acknowledged is in the files that it had opened."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    heard = [process.stdout.readline() for _ in range(50)]
    CHANGES[name](path)
    if name == "LOCK removed":
        with pytest.raises(LedgerLocked):
            Ledger.open(path)
    heard += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    assert "nothing more is written" in heard.pop()
    written = path.with_name("elsewhere") if name == "backup_in_its_place" else path
    acknowledged = [int(number) for number in heard]
    assert acknowledged == list(range(1, len(heard) + 1))
    with Ledger.open(written) as ledger:
        assert len(ledger.lookup_transfers(acknowledged)) == len(acknowledged)
    verify(written)
    Ledger.open(path).close()
    verify(path)


@pytest.mark.parametrize("name", ["LOCK removed", "HEAD removed", "segment removed"])
def test_a_server_is_not_ready_any_more(path: Path, name: str) -> None:
    """Before anybody tries to write, and for good; what it tells a client is that it must stop."""
    with served(path) as server:
        server.begin()
        server.good("GET", "/ready")
        CHANGES[name](path)
        answer = server.ask("GET", "/ready")
        assert (answer.status_code, "removed" in answer.text) == (503, True)
        answer = server.ask("POST", "/transfers", [transfer(1)])
        assert (answer.status_code, "removed" in answer.text) == (503, True)
        assert server.ask("GET", "/ready").status_code == 503
