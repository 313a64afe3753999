"""Trying the states that a disk may be in after the power failed, thousands a second.

Between two syncs more and more states become possible, and none impossible; so all that can happen
is tried by trying the moments just before each sync, and the last one. Where 9 sectors or fewer are
unsynced each state is tried, else a sample. A state is served from memory to the recovery, and then
the journal is held byte by byte against the one that was written; some are also put on a real file
system, opened as ledgers, and gone on with.
"""

from __future__ import annotations

import random
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import attrs

from nostro.journal.format.head import newest
from nostro.journal.storage.directory import Directory
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing.writer import Writer
from nostro.projections.checkpoints.witnesses import derived_witnesses
from tests.crash.choices import Choices, Every, Sampled
from tests.crash.memory import MemoryStorage, Tree, put
from tests.crash.power_cut import Disk, Tape, fresh_directory
from tests.crash.recording import Truth, alike, record_workload
from tests.crash.script import accounts, open_ledger
from tests.ledgers import SEGMENT_BYTES_MAX, create_transfers
from tests.storages import CHANGES, SYNCS, Operation

EXHAUSTIVE_SECTORS: Final = 9
EXHAUSTIVE_STATES: Final = 4_096
"""Sectors with many versions, and names, may make more states of those; then they are sampled."""
SECOND_CUTS: Final = 0.3
"""Of the states, in which the power fails again during recovery."""
FULLY: Final = 40
"""Each so-manieth state is opened as a ledger, on a real file system."""

_CHANGING: Final = CHANGES - SYNCS - {"open_write"}

Point = tuple[int, int, int]
"""Which workload, after how many operations, and which of the states that are tried there."""


@attrs.define
class Figures:
    """What was tried."""

    states: int = 0
    exhausted: int = 0
    """Moments at which every state was tried."""
    sampled: int = 0
    again: int = 0
    """States in which the power failed again during recovery."""
    fully: int = 0
    """States that were opened as ledgers."""
    merged: int = 0
    """Files of merged runs that were removed in what was cut short."""

    def add(self, other: Figures) -> None:
        for field, value in attrs.asdict(other).items():
            setattr(self, field, getattr(self, field) + value)


S = TypeVar("S", bound=MemoryStorage)


class MemoryTape(Tape, MemoryStorage):
    """Files in memory, and a record of what is done to them."""


# --- the states ---


def moments(tape: Tape) -> list[int]:
    """The numbers of operations after which a state is possible that no later moment has."""
    found, is_news, promised = [], False, -1
    for number, operation in enumerate(tape.operations):
        if operation.name in _CHANGING:
            is_news = True
        elif operation.name not in SYNCS:
            continue
        elif is_news or tape.promised(number) > promised:
            found.append(number)
            is_news, promised = False, tape.promised(number)
    return [*found, len(tape.operations)]


def states_at(
    disk: Disk, seed: str, samples: int, figures: Figures
) -> Iterator[tuple[Choices, random.Random]]:
    """How to choose each state that is tried at a moment, and the chance for what follows."""
    sectors, states = disk.unsynced()
    if sectors <= EXHAUSTIVE_SECTORS and states <= EXHAUSTIVE_STATES:
        figures.exhausted += 1
        every, index = Every(), 0
        while True:
            yield every, random.Random(f"{seed}-{index}")
            index += 1
            if not every.step():
                return
    figures.sampled += 1
    for index in range(samples):
        chance = random.Random(f"{seed}-{index}")
        yield Sampled(chance), chance


def explore(folder: Path, seed: int, number: int, samples: int, only: Point | None) -> Figures:
    """Try states of the workload of that number, or only one, in a folder that is not there yet.

    Raises:
        AssertionError: a promise was broken; says how to see it again.
    """
    folder.mkdir()
    tape, truth = record_workload(folder / "written" / "ledger", f"{seed}-{number}")
    (folder / "disk" / "ledger" / "segments").mkdir(parents=True)
    disk = Disk(folder / "written", {})
    figures, done = Figures(), 0
    figures.merged = sum(
        one.name == "unlink" and one.path.parent.name == "indexes" for one in tape.operations
    )
    for moment in moments(tape):
        for operation in tape.operations[done:moment]:
            disk.apply(operation)
        done = moment
        if only is not None and moment != only[1]:
            continue
        trial = Trial(folder, tape, truth, moment, figures)
        for index, (choices, chance) in enumerate(
            states_at(disk, f"{seed}-{number}-{moment}", samples, figures)
        ):
            tree = disk.state(choices)
            if only is not None and index != only[2]:
                continue
            point = f"{number}-{moment}-{index}"
            try:
                with alike(f"{seed}-{point}"):
                    trial.check(tree, chance, fully=index % FULLY == 0)
            except Exception:  # noqa: BLE001 - it is told in words: not each kind can be sent on
                raise AssertionError(_report(seed, point, tape.operations[moment - 1])) from None
    shutil.rmtree(folder)
    return figures


def _report(seed: int, point: str, last: Operation) -> str:
    return (
        f"{traceback.format_exc()}\nafter {last.name} {last.path.name}\n"
        f"replay: NOSTRO_SEED={seed} NOSTRO_CUT={point}"
        " python -m pytest tests/crash/test_power_cut.py -k no_power_cut"
    )


# --- what must hold in each ---


@attrs.frozen
class Trial:
    """Checks states of one moment."""

    folder: Path
    tape: Tape
    truth: Truth
    moment: int
    figures: Figures

    def check(self, tree: Tree, chance: random.Random, *, fully: bool) -> None:
        self.figures.states += 1
        promised = self.tape.promised(self.moment)
        check_witness(tree)
        fully = fully or not is_made(tree)  # or it was made anew, and is another ledger
        if chance.random() < SECOND_CUTS:
            self.figures.again += 1
            tree, promised = self._cut_again(tree, promised, chance, fully=fully)
            check_witness(tree)
        if fully:
            self.figures.fully += 1
            with self._put(tree) as path:
                self._check_writing(path, self._open(path, promised))
        else:
            self._recover(self._served(tree, MemoryStorage()), promised)

    def _cut_again(
        self, tree: Tree, promised: int, chance: random.Random, *, fully: bool
    ) -> tuple[Tree, int]:
        """Recover, and have the power fail during that; what is promised from then on."""
        if fully:
            tape = Tape()
            with self._put(tree) as path:
                disk = Disk(path.parent, tree)
                self._open(path, promised, tape)
        else:
            served = self._served(tree, MemoryTape())
            tape, disk = served, Disk(self._root, tree)
            tape.promise(self._recover(served, promised))
        number = chance.randint(0, len(tape.operations))
        for operation in tape.operations[:number]:
            disk.apply(operation)
        return disk.state(Sampled(chance)), max(promised, tape.promised(number))

    # in memory

    @property
    def _root(self) -> Path:
        return self.folder / "disk"

    def _served(self, tree: Tree, storage: S) -> S:
        storage.load(self._root, tree)
        return storage

    def _recover(self, storage: MemoryStorage, promised: int) -> int:
        """Recover the journal; how far it reaches. It is what was written, to the last byte."""
        path = self._root / "ledger"
        writer = Writer.open(
            path,
            segment_bytes_max=SEGMENT_BYTES_MAX,
            storage=storage,
            witnesses=derived_witnesses,
        )
        head = writer.head
        assert head.position >= promised, f"{promised - head.position} acknowledged events lost"
        assert head.frame_sha256 == self.truth.links.get(head.position), "not as it was written"
        active = Directory(path).segment(head.segment_position).name
        names = storage.names(path / "segments")
        assert names[-1] == active
        for name in names:
            found = storage.content(path / "segments" / name)
            if name == active:
                assert not found[head.offset_bytes :].strip(b"\0")
                found = found[: head.offset_bytes]
                assert self.truth.segments[name].startswith(found)
            else:
                assert found == self.truth.segments[name]
        return head.position

    # on a real file system

    @contextmanager
    def _put(self, tree: Tree) -> Iterator[Path]:
        target = fresh_directory(self.folder)
        put(target, tree)
        yield target / "ledger"
        shutil.rmtree(target)

    def _open(self, path: Path, promised: int, tape: Tape | None = None) -> int:
        """Open the ledger; how far it reaches. It is a prefix that holds the promise."""
        with open_ledger(path, storage=tape) as ledger:
            position = ledger.position
            assert position >= promised, f"{promised - position} acknowledged events lost"
            assert position in self.truth.states, "the journal ends inside a request"
            assert ledger.state_sha256() == self.truth.states[position]
            assert ledger._writer is not None  # private: the HEAD file may lag behind the writer
            # private: the HEAD file may lag behind the writer
            assert ledger._writer.head.frame_sha256 == self.truth.links[position]
            if tape is not None:
                tape.promise(position)
        return position

    def _check_writing(self, path: Path, position: int) -> None:
        """The recovered ledger goes on, and all of it verifies."""
        assert verify(path).position == position
        with open_ledger(path) as ledger:
            ledger.create_accounts(accounts())
            create_transfers(ledger, 1_000_000, 2)
            position = ledger.position
        assert verify(path).position == position


def is_made(tree: Tree) -> bool:
    """Whether the making of the ledger was finished, so that its directories are all there."""
    ledger = tree.get("ledger")
    return isinstance(ledger, dict) and "HEAD" in ledger and "segments" in ledger


def check_witness(tree: Tree) -> None:
    """HEAD, where it is, knows of all that rests on it: checkpoints, and every sealed segment."""
    ledger = tree.get("ledger")
    if not isinstance(ledger, dict) or not isinstance(ledger.get("HEAD"), bytes):
        return
    head, checkpoints, segments = (ledger.get(n, {}) for n in ("HEAD", "checkpoints", "segments"))
    assert isinstance(head, bytes)
    position = newest(head, path=Path("HEAD")).position
    for name in checkpoints:
        if str(name).endswith(".checkpoint"):
            assert int(str(name).removesuffix(".checkpoint").rsplit("-", 1)[1]) <= position, name
    for name in segments:
        if str(name).endswith(".segment"):
            assert int(str(name).removesuffix(".segment")) - 1 <= position, name
