"""Following a journal from another process: no gap, no repetition, whatever the writer does."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import watchfiles

from nostro.journal.reading.reader import Cursor, Reader, Record
from tests.journals import (
    commit,
    open_writer,
    segment_names,
    write_journal,
)

FOLLOWER: Final = """
import sys
from nostro import Cursor, Reader

cursor = Cursor(position=int(sys.argv[2]))
for record in Reader(sys.argv[1]).follow(cursor, timeout_seconds=60):
    print(record.position_first, record.position_last, flush=True)
    if record.position_last >= int(sys.argv[3]):
        break
"""


def starts(records: Iterator[Record]) -> list[int]:
    return [record.position_first for record in records]


def followed(process: subprocess.Popen[str]) -> list[int]:
    """Every position that the other process was shown, in the order shown."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    spans = [map(int, line.split()) for line in output.splitlines()]
    return [position for first, last in spans for position in range(first, last + 1)]


@pytest.mark.parametrize("start", [1, 8])
def test_following_in_other_processes_misses_and_repeats_nothing(path: Path, start: int) -> None:
    """Through rotations, sealing and restarts of the writer, each record comes exactly once."""
    write_journal(path, 10)
    command = [sys.executable, "-c", FOLLOWER, str(path), str(start), "600"]
    followers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first = 11
    while first <= 600:
        writer = open_writer(path)
        for _ in range(40):
            commit(writer, first)
            first += 1
        writer.close()
    for follower in followers:
        assert followed(follower)[: 601 - start] == list(range(start, 601))
    assert len(segment_names(path)) > 30


def test_following_ends_when_told_or_when_nothing_comes(path: Path) -> None:
    """A stop is heeded between any two records; a time-out counts from the last one."""
    write_journal(path, 5)
    reader, stop = Reader(path), threading.Event()
    shown = []
    for record in reader.follow(stop=stop):
        shown.append(record.position_first)
        if len(shown) == 3:
            stop.set()
    assert shown == [1, 2, 3]
    assert starts(reader.follow(Cursor(position=4), timeout_seconds=0.01)) == [4, 5]


@pytest.mark.parametrize("error", [OSError("no more watches"), RuntimeError("not supported")])
def test_without_notifications_the_clock_wakes_followers(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Where the system reports no changes, HEAD is looked at again and again."""

    def broken(*_: Any, **__: Any) -> Generator[set[Any], None, None]:  # noqa: ANN401  # ignored
        yield from ()
        raise error

    monkeypatch.setattr(watchfiles, "watch", broken)
    write_journal(path, 1)
    writer = open_writer(path)
    reader, shown = Reader(path), []
    for record in reader.follow(timeout_seconds=30):
        shown.append(record.position_first)
        if len(shown) == 5:
            break
        commit(writer, len(shown) + 1)
    writer.close()
    assert shown == [1, 2, 3, 4, 5]
