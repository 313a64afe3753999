"""Power cuts, simulated: whatever the disk may hold afterwards, every promise was kept."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from nostro.journal.storage.files import Storage
from tests.crash.choices import Every
from tests.crash.exploring import Figures, Point, explore, moments
from tests.crash.forking import as_they_end, cores
from tests.crash.memory import MemoryStorage, taken
from tests.crash.power_cut import Disk, Tape, fresh_directory
from tests.figures import Figure

WORKLOADS: Final = 9
WORKLOADS_LONG: Final = 400
SAMPLES: Final = 512
"""Of each moment at which there are too many states to try them all."""
STATES: Final = 100_000
STATES_LONG: Final = 5_000_000
AT_ONCE: Final = 2
"""Workloads for each core: some of the time they wait for threads of theirs."""
FULLY: Final = 2_500
"""So many of the states at least are opened as ledgers, and gone on with."""

SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))
CUT: Final = os.environ.get("NOSTRO_CUT")
"""One state, as a failing test names it."""


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_no_power_cut_breaks_a_promise(
    ram: Path, figure: Figure, tell: Callable[[str], None], is_long: bool
) -> None:
    """At every sync, for thousands of disks: nothing lost, invented, reordered or refused."""
    if CUT is not None:
        number, moment, index = map(int, CUT.split("-"))
        (one,) = tried(ram, range(number, number + 1), (number, moment, index))
        assert one.states == 1
        return
    workloads = WORKLOADS_LONG if is_long else WORKLOADS
    figures = Figures()
    for done, found in enumerate(tried(ram, range(workloads), None), 1):
        figures.add(found)
        tell(f"{done} of {workloads} workloads: {figures}")
    assert figures.states >= (STATES_LONG if is_long else STATES)
    assert figures.fully >= FULLY
    assert figures.merged > 0
    figure(
        "simulated power cuts",
        "nothing lost, invented, reordered or refused",
        seed=SEED,
        workloads=workloads,
        states=figures.states,
        cut_again_in_recovery=figures.again,
        opened_and_gone_on_with=figures.fully,
    )


def tried(folder: Path, workloads: range, only: Point | None) -> Iterator[Figures]:
    """Explore the workloads, each in a process of its own, as they end."""
    return as_they_end(
        AT_ONCE * cores(),
        [partial(explore, folder / str(number), SEED, number, SAMPLES, only)
         for number in workloads],
    )  # fmt: skip


def test_the_disk_keeps_what_was_synced_and_may_lose_the_rest(ram: Path) -> None:
    """The simulation itself: synced bytes and names are always there, others only sometimes."""
    (ram / "a").mkdir()
    tape = Tape()
    file = tape.create(ram / "a" / "file")
    tape.write(file, b"x" * 1024, 0)
    tape.sync(file)
    tape.sync_directory(ram / "a")
    tape.write(file, b"y" * 1024, 512)
    tape.rename(ram / "a" / "file", ram / "a" / "renamed")
    tape.close(file)
    disk = Disk(ram / "a", {})
    for operation in tape.operations:
        disk.apply(operation)
    seen = set()
    for seed in range(300):
        target = fresh_directory(ram)
        disk.after_power_cut(target, random.Random(seed))
        (found,) = target.iterdir()
        content = found.read_bytes()
        assert content.startswith(b"x" * 512)
        assert len(content) in (1024, 1536)
        seen.add((found.name, content))
    x, y, zero = b"x" * 512, b"y" * 512, bytes(512)
    expected = [x + x, x + y, x + x + y, x + y + y, x + x + zero, x + y + zero]
    assert seen == {(name, content) for name in ("file", "renamed") for content in expected}


def test_each_combination_is_chosen_once() -> None:
    """Also where what is asked depends on what was answered."""
    every, seen = Every(), []
    while True:
        size = every.size([1, 2, 3])
        seen.append((size, *(every.sector([b"a", b"b"]) for _ in range(size))))
        if not every.step():
            break
    expected = [(size, *rest) for size in (1, 2, 3) for rest in product((b"a", b"b"), repeat=size)]
    assert seen == expected


def test_moments_before_syncs_are_all_that_matter(ram: Path) -> None:
    """Whatever is possible after any operation is possible, promises and all, at such a moment."""
    path = ram / "a"
    path.mkdir()
    tape = Tape()
    file = tape.create(path / "file")
    tape.write(file, b"x", 0)
    tape.write(file, b"y", 0)
    tape.sync_data(file)
    tape.promise(1)
    tape.write(file, b"z", 0)
    tape.sync_directory(path)
    tape.sync(file)
    tape.promise(2)
    tape.close(file)
    states = [states_after(path, tape, number) for number in range(len(tape.operations) + 1)]
    found = moments(tape)
    for number, possible in enumerate(states):
        promised = tape.promised(number)
        covering = [states[one] for one in found if tape.promised(one) >= promised]
        assert any(possible <= one for one in covering), number


def states_after(path: Path, tape: Tape, number: int) -> set[str]:
    """Every state that the disk may be in after so many operations."""
    disk = Disk(path, {})
    for operation in tape.operations[:number]:
        disk.apply(operation)
    every = Every()
    found: set[str] = set()
    while True:
        found.add(repr(disk.state(every)))
        if not every.step():
            return found


def test_files_in_memory_are_as_on_a_disk(ram: Path) -> None:
    """After the same operations there are the same files, and the same calls are refused."""
    real, memory = ram / "real", ram / "memory"
    real.mkdir()
    in_memory = MemoryStorage()
    in_memory.load(memory, {})
    for storage, path in ((Storage(), real), (in_memory, memory)):
        storage.make_directory(path / "folder")
        file = storage.create(path / "folder" / "a")
        storage.write(file, b"abc", 5)
        storage.allocate(file, 8, 4)
        storage.truncate(file, 10)
        assert storage.size(file) == 10
        assert storage.read(file, 100, 4) == b"\0abc\0\0"
        assert storage.map(file)[5:8] == b"abc"
        storage.sync_data(file)
        storage.close(file)
        storage.close(storage.create(path / "b"))
        storage.rename(path / "folder" / "a", path / "b")
        assert storage.names(path) == ["b", "folder"]
        assert storage.exists(path / "folder")
        storage.close(storage.create_new(path / "folder" / "c"))
        storage.link(path / "folder" / "c", path / "folder" / "d")
        storage.unlink(path / "folder" / "c")
        with pytest.raises(OSError, match="empty"):
            storage.remove_directory(path / "folder")
        storage.unlink(path / "folder" / "d")
        for call in (storage.open_read, storage.open_write, storage.unlink, storage.names):
            with pytest.raises(FileNotFoundError):
                call(path / "missing")
        with pytest.raises(FileNotFoundError):
            storage.create(path / "missing" / "a")
        with pytest.raises(FileExistsError):
            storage.make_directory(path / "folder")
        with pytest.raises(FileExistsError):
            storage.create_new(path / "b")
        storage.remove_directory(path / "folder")
    assert in_memory.content(memory / "b") == taken(real)["b"]
