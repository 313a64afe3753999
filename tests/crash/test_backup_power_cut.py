"""Power cuts while a backup, a restore or a repair is under way, simulated at every operation."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from nostro import backup, plan_repair, repair, restore, verify
from tests.crash.power_cut import Disk, Tape, fresh_directory
from tests.journals import commit, flip, ids_in, open_writer, segment_names

STATES: Final = 300
ENDS: Final = (15, 40, 75)
"""How far the journal had come at each backup."""


def extend(path: Path, last: int) -> None:
    writer = open_writer(path)
    for number in range(writer.head.position + 1, last + 1):
        commit(writer, number)
    writer.close()


def states_of(tape: Tape, root: Path, ram: Path) -> list[tuple[Path, int]]:
    """What the disk may hold after a power cut, and what had been promised by then."""
    chance = random.Random(3)
    states = []
    for _ in range(STATES):
        count = chance.randint(1, len(tape.operations))
        disk = Disk(root, {})
        for operation in tape.operations[:count]:
            if root in operation.path.parents or operation.path == root:
                disk.apply(operation)
        path = fresh_directory(ram)
        disk.after_power_cut(path, chance)
        states.append((path, tape.promised(count)))
    return states


def test_the_backup_before_survives_every_power_cut(ram: Path) -> None:
    """It verifies, reads and opens, and the next backup goes on from whatever is there."""
    source, root, tape = ram / "source", ram / "root", Tape()
    root.mkdir()
    for end in ENDS:
        extend(source, end)
        backup(source, root / "copy", storage=tape)
        tape.promise(end)
    seen = set()
    for state, promised in states_of(tape, root, ram):
        copy = state / "copy"
        position = 0
        if promised or (copy / "HEAD").exists():
            position = verify(copy).position
            assert position in ENDS
            assert position >= promised
            assert ids_in(copy) == list(range(1, position + 1))
            trial = state / "trial"
            shutil.copytree(copy, trial)
            open_writer(trial).close()
            assert ids_in(trial)[:position] == list(range(1, position + 1))
        seen.add((promised, position))
        assert backup(source, copy).position == ENDS[-1]
        assert verify(copy).position == ENDS[-1]
        shutil.rmtree(state)
    assert {promised for promised, _ in seen} == {0, *ENDS}
    assert len(seen) > len(ENDS) + 1  # some finished, though nobody was told


def _whole(source: Path, new: Path, tape: Tape) -> int:
    restore(source, new, storage=tape)
    return 75


def _part(source: Path, new: Path, tape: Tape) -> int:
    restore(source, new, until_position=50, storage=tape)
    return 51


def _repaired(source: Path, new: Path, tape: Tape) -> int:
    path = source / "segments" / segment_names(source)[2]
    flip(path, -30)
    plan = plan_repair(source)
    return repair(source, new, lose=plan.events_lost, storage=tape).position


@pytest.mark.parametrize("make", [_whole, _part, _repaired])
def test_what_is_built_is_there_whole_or_not_at_all(
    ram: Path, make: Callable[[Path, Path, Tape], int]
) -> None:
    """Under its name; and once it was promised, it is there."""
    source, root, tape = ram / "source", ram / "root", Tape()
    root.mkdir()
    extend(source, ENDS[-1])
    position = make(source, root / "new", tape)
    tape.promise(position)
    there = 0
    for state, promised in states_of(tape, root, ram):
        if promised or (state / "new").exists():
            assert verify(state / "new").position == position
            there += 1
        shutil.rmtree(state)
    assert there
