"""Eight processes that want the same ledger at the same moment: one gets it, every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from nostro.journal.upkeep.verification import verify
from tests.figures import Figure
from tests.journals import commit, ids_in, open_writer

PROCESSES: Final = 8
RACES: Final = 50
RACES_LONG: Final = 200

RACER: Final = """
import sys
from pathlib import Path
from nostro import LedgerLocked
from tests.journals import commit, open_writer

for line in iter(sys.stdin.readline, ""):
    writer = None
    try:
        writer = open_writer(Path(line.strip()))
        print("won", flush=True)
    except LedgerLocked:
        print("locked", flush=True)
    sys.stdin.readline()  # until everybody has an answer
    if writer is not None:
        commit(writer, writer.head.position + 1)
        writer.close()
    print("done", flush=True)
"""


def tell(racers: list[subprocess.Popen[str]], line: str) -> list[str]:
    """Say it to all at once; what each answers."""
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(line + "\n")
        racer.stdin.flush()
    return [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]


@pytest.mark.slow
def test_of_eight_processes_one_wins_every_time(ram: Path, figure: Figure, is_long: bool) -> None:
    """Where a ledger is and where none was before; what each winner wrote is there in the end."""
    races = RACES_LONG if is_long else RACES
    old = ram / "ledger"
    writer = open_writer(old)
    commit(writer, 1)
    writer.close()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    try:
        for race in range(races):
            path = ram / f"new-{race}" / "ledger" if race % 2 else old
            assert sorted(tell(racers, str(path))) == ["locked"] * (PROCESSES - 1) + ["won"], race
            assert tell(racers, "") == ["done"] * PROCESSES
            expected = 1 if race % 2 else race // 2 + 2
            assert ids_in(path) == list(range(1, expected + 1))
            assert verify(path).position == expected
    finally:
        for racer in racers:
            racer.communicate(timeout=60)
    assert [racer.returncode for racer in racers] == [0] * PROCESSES
    figure(
        "the race for the lock", "one winner each time", seed=None, races=races, processes=PROCESSES
    )
