"""The kernel says who holds a lock, and nobody else is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nostro.tools.cluster import launch, process_lock
from nostro.tools.cluster.errors import AlreadyRunning
from tests.waiting import until


@contextmanager
def launched(lock: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that holds the lock, as a replica does."""
    command = [sys.executable, "-I", "-S", launch.__file__, str(lock), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_launched_program_holds_its_lock_while_it_lives(tmp_path: Path) -> None:
    """Across exec the lock and the process id stay; with the program the lock ends."""
    lock = tmp_path / "lock"
    assert process_lock.holder(lock) is None
    with launched(lock, "/bin/sh", "-c", "echo here; exec sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"  # so it is the program by now
        assert process_lock.holder(lock) == process.pid
        assert process_lock.send(lock, signal.SIGTERM) == process.pid
        assert process.wait() == -signal.SIGTERM
        assert process_lock.holder(lock) is None
        assert process_lock.send(lock, signal.SIGTERM) is None
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_second_program_is_not_started(tmp_path: Path) -> None:
    """It says why, and the first goes on."""
    lock = tmp_path / "lock"
    with launched(lock, "/bin/sleep", "600") as first:
        until(lambda: process_lock.holder(lock))
        with launched(lock, "/bin/sleep", "600") as second:
            assert second.stderr is not None
            assert b"already running" in second.stderr.read()
            assert second.wait() == launch.LOCKED_EXIT
        assert process_lock.holder(lock) == first.pid


def test_a_stale_file_names_nobody(tmp_path: Path) -> None:
    """What a file says is not read: a lock that nobody holds is free, whatever stands in it."""
    lock = tmp_path / "lock"
    lock.write_text(str(os.getpid()))
    assert process_lock.holder(lock) is None
    assert process_lock.send(lock, signal.SIGKILL) is None


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    """Another process is refused with the holder's id, until it is let go of."""
    lock = tmp_path / "lock"
    take = (
        "import sys, pathlib\n"
        "from nostro.tools.cluster import process_lock\n"
        "try:\n"
        "    process_lock.take(pathlib.Path(sys.argv[1]))\n"
        "except process_lock.AlreadyRunning as error:\n"
        "    print(error.process_id)\n"
    )

    def other() -> str:
        return subprocess.run(
            [sys.executable, "-c", take, str(lock)], check=True, capture_output=True, text=True
        ).stdout.strip()

    process_lock.take(lock)
    assert process_lock.holder(lock) == os.getpid()
    assert other() == str(os.getpid())
    assert process_lock.holder(lock) == os.getpid()  # asking has not let go of it
    assert other() == str(os.getpid())
    process_lock.release(lock)
    assert process_lock.holder(lock) is None
    assert other() == ""


def test_taking_what_another_process_holds_is_refused(tmp_path: Path) -> None:
    """With its id."""
    lock = tmp_path / "lock"
    with launched(lock, "/bin/sleep", "600") as process:
        until(lambda: process_lock.holder(lock))
        with pytest.raises(AlreadyRunning) as refused:
            process_lock.take(lock)
        assert refused.value.process_id == process.pid
    process_lock.take(lock)
    process_lock.release(lock)


def test_a_lock_file_is_not_opened_through_a_link(tmp_path: Path) -> None:
    """Whoever put it there decides nothing."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        process_lock.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
