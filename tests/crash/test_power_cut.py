"""Power cuts, simulated: whatever the disk may hold afterwards, every promise was kept."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from journal import writer as writer_module
from journal.codec import RecordKind
from journal.directory import Directory
from journal.head import newest
from journal.reader import Reader
from journal.rows import transfer_rows
from journal.storage import Storage
from journal.verification import verify
from projections.ledger import Ledger
from projections.restore import restore_state
from tests.crash.power_cut import Disk, Tape, fresh_directory
from tests.ledgers import create_accounts, create_transfers, open_ledger, pipeline, transfer

STATES: Final = 2_500
STATES_LONG: Final = 100_000
SECOND_CUTS: Final = 0.3
"""Of the states, in which the power fails again during recovery."""

SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))


@attrs.frozen
class Truth:
    """What the workload wrote: the state and the chain's last link after each record."""

    states: dict[int, bytes]
    links: dict[int, bytes]


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEAD is synced only where the order of operations demands it, so the tape is always alike."""
    monkeypatch.setattr(writer_module, "HEAD_SYNC_SECONDS_MAX", 3_600)


def create_group(ledger: Ledger, first: int, sizes: list[int]) -> int:
    """Several requests decided one after the other and written as one group; the next number."""
    tickets = []
    for size in sizes:
        rows = transfer_rows([transfer(number) for number in range(first, first + size)])
        tickets.append(pipeline(ledger).decide(RecordKind.TRANSFERS, rows)[1])
        first += size
    for ticket in tickets:
        assert ticket is not None
    pipeline(ledger).finish()
    return first


def workload(path: Path, tape: Tape) -> None:
    """Creation, groups, rotation, checkpoints, closing, opening again, and an abrupt end."""
    chance = random.Random(7)
    first = 1
    ledger = open_ledger(path, tape)
    for life in range(3):
        create_accounts(ledger)
        tape.promise(ledger.position)
        for number in range(10):
            sizes = [chance.randint(1, 6) for _ in range(chance.choice((1, 1, 2, 3)))]
            first = create_group(ledger, first, sizes)
            tape.promise(ledger.position)
            if number in (4, 8):
                ledger.checkpoint()
        if life < 2:
            ledger.close()
            ledger = open_ledger(path, tape)
    ledger._checkpointer._writable = False  # the third life never ends in good order
    shutil.copytree(path, path.with_name("end"))
    operations = len(tape.operations)
    ledger.close()
    del tape.operations[operations:]


@pytest.fixture
def tape_and_truth(ram: Path) -> tuple[Tape, Truth]:
    tape, path = Tape(), ram / "original" / "ledger"
    path.parent.mkdir()
    workload(path, tape)
    end = path.with_name("end")
    states, links = {}, {0: bytes(32)}
    for record in Reader(end).records():
        links[record.position_last] = record.sha256
    for position in links:
        restored = restore_state(
            Storage(), Directory(end), position_max=position, use_checkpoints=False
        )
        states[position] = restored.state.sha256()
    assert len(list((end / "segments").iterdir())) >= 4
    assert len(list((end / "checkpoints").iterdir())) == 2
    return tape, Truth(states, links)


def check_recovery(path: Path, truth: Truth, *, promised: int, storage: Storage) -> int:
    """Open the ledger in ``path``; how far it reaches. It is a prefix that holds the promise."""
    with open_ledger(path, storage) as ledger:
        position = ledger.position
        assert position >= promised, f"{promised - position} acknowledged events lost"
        assert position in truth.states, "the journal ends inside a request"
        assert ledger.state_sha256() == truth.states[position]
        assert ledger._writer is not None
        assert ledger._writer.head.frame_sha256 == truth.links[position]
        if isinstance(storage, Tape):
            storage.promise(position)
    return position


def check_witness(path: Path) -> None:
    """HEAD, where it is, knows of all that rests on it: checkpoints, and every sealed segment."""
    if not (path / "HEAD").exists():
        return
    position = newest((path / "HEAD").read_bytes(), path=path / "HEAD").position
    for checkpoint in (path / "checkpoints").glob("*.checkpoint"):
        assert int(checkpoint.stem.rsplit("-", 1)[1]) <= position, checkpoint.name
    for segment in (path / "segments").glob("*.segment"):
        assert int(segment.stem) - 1 <= position, segment.name


def check_writing(path: Path, position: int) -> None:
    """The recovered ledger goes on, and all of it verifies."""
    assert verify(path).position == position
    with open_ledger(path) as ledger:
        create_accounts(ledger)
        create_transfers(ledger, 1_000_000, 2)
        position = ledger.position
    assert verify(path).position == position


def cuts(tape: Tape, disk: Disk, states: int) -> Iterator[tuple[int, random.Random]]:
    """For every operation, so many moments right after it, each with its own chance."""
    each = -(-states // len(tape.operations))
    for number, operation in enumerate(tape.operations, 1):
        disk.apply(operation)
        for sample in range(each):
            yield number, random.Random(f"{SEED}-{number}-{sample}")


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_no_power_cut_breaks_a_promise(
    ram: Path, tape_and_truth: tuple[Tape, Truth], is_long: bool
) -> None:
    """At every operation, for thousands of disks: nothing lost, invented, reordered or refused."""
    tape, truth = tape_and_truth
    (ram / "empty").mkdir()
    disk = Disk(ram / "original")
    disk._top.durable.clear()
    for number, chance in cuts(tape, disk, STATES_LONG if is_long else STATES):
        target = fresh_directory(ram)
        disk.after_power_cut(target, chance)
        promised = tape.promised(number)
        again = chance.random() < SECOND_CUTS
        try:
            check_witness(target / "ledger")
            if again:
                promised = cut_again(target, truth, promised, chance)
            position = check_recovery(
                target / "ledger", truth, promised=promised, storage=Storage()
            )
            check_writing(target / "ledger", position)
        except BaseException as error:
            last = tape.operations[number - 1]
            error.add_note(
                f"NOSTRO_SEED={SEED}, after operation {number}: {last.name} {last.path.name},"
                f" again={again}, left in {target}"
            )
            raise
        shutil.rmtree(target)


def cut_again(target: Path, truth: Truth, promised: int, chance: random.Random) -> int:
    """Recover, and have the power fail during that; what is promised from then on."""
    before = Disk(target)
    tape = Tape()
    check_recovery(target / "ledger", truth, promised=promised, storage=tape)
    number = chance.randint(0, len(tape.operations))
    for operation in tape.operations[:number]:
        before.apply(operation)
    shutil.rmtree(target)
    target.mkdir()
    before.after_power_cut(target, chance)
    return max(promised, tape.promised(number))


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
    disk = Disk(ram / "a")
    disk._top.durable.clear()
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
