"""The lock: one writer, whatever else runs, forks or crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from nostro.journal.errors import LedgerLocked
from nostro.journal.storage.directory import Directory, Lock
from nostro.journal.storage.files import Storage
from nostro.journal.writing.writer import Writer
from tests.journals import commit, files_under, ids_in, open_writer
from tests.storages import CHANGES, RecordingStorage

RACER: Final = """
import sys
from pathlib import Path
from nostro import LedgerLocked, Writer

sys.stdin.readline()
try:
    writer = Writer.open(Path(sys.argv[1]))
except LedgerLocked:
    print("locked", flush=True)
else:
    print("won", flush=True)
sys.stdin.readline()
"""

FORKER: Final = """
import os, sys
from pathlib import Path
from nostro import LedgerClosed, LedgerLocked, Writer

path = Path(sys.argv[1])
writer = Writer.open(path)
from_child, to_parent = os.pipe()
from_parent, to_child = os.pipe()
if os.fork() == 0:
    os.close(to_child)
    try:
        Writer.open(path)
    except LedgerLocked:
        os.write(to_parent, b"locked ")
    try:
        writer.append(b"", kind=3, event_count=1, timestamp_min=1, timestamp_max=1, generation=0)
    except LedgerClosed:
        os.write(to_parent, b"closed ")
    writer.close()
    os.close(to_parent)
    os.read(from_parent, 1)  # the child lives on until the parent is gone
    os._exit(0)
os.close(to_parent)
with os.fdopen(from_child) as pipe:
    said = pipe.read()
try:
    Writer.open(path)
except LedgerLocked:
    said += "parent_keeps_it "
writer.close()
Writer.open(path).close()
print(said + "free")
os.write(to_child, b"x")
os.wait()
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    writer = open_writer(path)
    commit(writer, 1)
    writer.close()
    return path


def test_a_second_writer_is_refused_having_written_nothing(ledger: Path) -> None:
    """It learns so at once, and not one byte, file or name has changed."""
    writer = open_writer(ledger)
    before = files_under(ledger)
    storage = RecordingStorage()
    with pytest.raises(LedgerLocked) as caught:
        open_writer(ledger, storage=storage)
    assert caught.value.path == ledger
    assert {one.name for one in storage.operations} & CHANGES <= {"open_write"}
    assert files_under(ledger) == before
    commit(writer, 2)
    writer.close()
    assert ids_in(ledger) == [1, 2]


def test_the_lock_comes_before_anything_else_is_opened(ledger: Path) -> None:
    """Until the lock is held, no other file is touched, nor made in a new ledger."""
    storage = RecordingStorage()
    open_writer(ledger, storage=storage).close()
    assert storage.story()[0] == ("open_write", "LOCK")
    storage = RecordingStorage()
    new = ledger.with_name("new")
    open_writer(new, storage=storage).close()
    assert storage.story()[:3] == [
        ("make_directory", "new"), ("sync_directory", new.parent.name), ("create", "LOCK"),
    ]  # fmt: skip


def test_a_closed_writer_lets_the_next_one_in(ledger: Path) -> None:
    """The lock lasts as long as the writer, and leaves nothing that must be cleaned up."""
    for first in (2, 3, 4):
        writer = open_writer(ledger)
        commit(writer, first)
        writer.close()
    assert ids_in(ledger) == [1, 2, 3, 4]


def test_a_writer_that_could_not_be_opened_does_not_keep_the_lock(ledger: Path) -> None:
    """Whatever made opening fail, the next attempt meets no lock."""
    head = ledger / "HEAD"
    good = head.read_bytes()
    head.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(Exception, match="HEAD"):
            open_writer(ledger)
    head.write_bytes(good)
    open_writer(ledger).close()


def test_a_lock_file_that_is_missing_is_made_anew(ledger: Path) -> None:
    """The file holds nothing, so losing it loses nothing."""
    (ledger / "LOCK").unlink()
    open_writer(ledger).close()
    assert (ledger / "LOCK").read_bytes() == b""


def test_a_lock_can_be_taken_by_one_only(ledger: Path) -> None:
    """Within a process, two locks exclude each other like two processes do."""
    directory = Directory(ledger)
    lock = Lock(Storage(), directory)
    with pytest.raises(LedgerLocked):
        Lock(Storage(), directory)
    lock.release()
    Lock(Storage(), directory).release()


@pytest.mark.parametrize("fresh", [False, True])
def test_of_eight_processes_one_wins(ledger: Path, tmp_path: Path, fresh: bool) -> None:
    """Started together, exactly one gets the ledger, also when none was there before."""
    path = tmp_path / "new" / "ledger" if fresh else ledger
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(8)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
    for racer in racers:
        racer.communicate("end\n")
    assert sorted(answers) == ["locked"] * 7 + ["won"]
    Writer.open(path).close()


def test_a_forked_child_neither_has_nor_keeps_the_lock(tmp_path: Path) -> None:
    """A child cannot write, cannot prolong its parent's lock, and does not end it either."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKER, str(tmp_path / "ledger")],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["locked", "closed", "parent_keeps_it", "free"]
