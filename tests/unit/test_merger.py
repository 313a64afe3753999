"""Merging runs: beside everything else, without a gap, and undone by whatever stops it."""

from __future__ import annotations

import errno
import logging
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import Account, Ledger, QueryFilter, Transfer
from nostro.journal.rows import u128_words
from nostro.journal.storage.files import Storage
from nostro.projections.indexes.merger import RUNS_MAX, Merger
from nostro.projections.indexes.run_file import (
    FAN_OUT,
    NUMBER_MAX,
    RunFiles,
    Span,
    first_to_merge,
)
from nostro.projections.indexes.transfer_index import IDS, Column, TransferIndex
from tests.clocks import HandClock
from tests.crash.power_cut import Disk, Tape, fresh_directory
from tests.ledgers import index_stacks
from tests.storages import CHANGES, FaultyStorage, ObservedStorage, Operation
from tests.waiting import TIMEOUT_SECONDS, until

OWNER: Final = b"\x05" * 16
FRAME: Final = b"\x06" * 32
ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


def spans(sizes: Sequence[int]) -> list[Span]:
    """Consecutive, of these lengths."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [Span(a + 1, b, FRAME) for a, b in pairwise(ends)]


# --- which runs are merged ---


@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ([], 0),
        ([5], 1),
        ([5, 5], 2),
        ([5, 5, 5], 3),
        ([5, 5, 5, 5], 0),
        ([21, 5, 5, 5], 4),
        ([100, 5, 5, 5, 5], 1),
        ([20, 20, 20, 5, 5, 5, 5], 0),
        ([100, 1, 100], 1),
        ([0, 0, 0, 0], 0),
        ([NUMBER_MAX - 5, 1, 1, 1, 1], 1),
        ([NUMBER_MAX // 4 + 1] * 4, 4),
        ([NUMBER_MAX // 5 - 1] * 5, 0),
    ],
)
def test_runs_are_merged_when_enough_of_a_size_have_gathered(sizes: list[int], first: int) -> None:
    """From the oldest that becomes four times as large; never more than a run may hold."""
    assert FAN_OUT == 4
    assert first_to_merge(sizes, spans([max(1, size) for size in sizes])) == first


def test_a_span_is_never_longer_than_a_run_may_describe() -> None:
    """However few transfers stand in it."""
    assert first_to_merge([1] * 4, spans([NUMBER_MAX // 4 + 1] * 4)) == 4
    assert first_to_merge([1] * 5, spans([NUMBER_MAX, 1, 1, 1, 1])) == 1


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=300), st.booleans())
def test_there_are_never_many_runs_and_little_is_written_twice(
    added: list[int], same: bool
) -> None:
    """Each holds more than a third of all that follows it, so their number is a logarithm."""
    sizes: list[int] = []
    written = 0
    for size in [added[0]] * len(added) if same else added:
        sizes.append(size)
        first = first_to_merge(sizes, spans(sizes))
        if first < len(sizes):
            sizes[first:] = [sum(sizes[first:])]
            written += sizes[-1]
        assert first_to_merge(sizes, spans(sizes)) == len(sizes)
        assert all(3 * (s + 1) > sum(sizes[n + 1 :]) for n, s in enumerate(sizes[:-1]))
    if same:
        levels = int(np.log(len(added)) / np.log(FAN_OUT) + 1e-9)
        assert written <= levels * added[0] * len(added)
        assert len(sizes) <= (FAN_OUT - 1) * (levels + 1)


def test_only_what_is_in_files_is_merged(tmp_path: Path) -> None:
    """Nor what comes after it: what is merged must follow on one another."""
    index, files = TransferIndex(), RunFiles(Storage(), tmp_path, OWNER)
    for position in range(1, 5):
        index.add(column([position]), range(position, position + 1))
        index.freeze()
        index.finish_freeze(position, FRAME)
        assert index.stack.due() == ()
    index.stack.store(files)
    assert len(index.stack.due()) == 4
    assert index.stack.due(after=1) == ()
    assert index.stack.due(size_max=4) == ()


# --- the thread ---


class Held(ObservedStorage):
    """Holds the first write of a merged run until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.gate = threading.Event()
        self.is_broken = False
        self.attempts = 0
        self.written: list[str] = []
        """The names of merged runs, in order."""
        self.free: int | None = None

    def free_bytes(self, path: Path) -> int | None:  # noqa: ARG002 - the seam names it
        """As much as a test wants."""
        return self.free

    def before(self, operation: Operation) -> None:
        if threading.current_thread().name != "nostro-merge":
            return
        if operation.name == "create":
            self.attempts += 1
            if self.is_broken:
                raise OSError(errno.ENOSPC, "no room")
        if operation.name == "write":
            self.arrived.set()
            assert self.gate.wait(TIMEOUT_SECONDS)
        if operation.name == "rename" and operation.target is not None:
            self.written.append(operation.target.name)


def column(ids: Sequence[int]) -> Column:
    return np.array([u128_words(id_) for id_ in ids], np.uint64)


def put(index: TransferIndex, files: RunFiles, count: int) -> None:
    """Make a run of as many ids more, at their own positions, and store it."""
    first = index.stack.position + 1
    index.add(column(range(first, first + count)), range(first, first + count))
    index.freeze()
    index.finish_freeze(first + count - 1, FRAME)
    index.stack.store(files)


def assert_whole(index: TransferIndex) -> None:
    """Each id is found at its position, in runs that follow on one another."""
    bounds = [(run.span.position_first, run.span.position_last) for run in index.stack.runs]
    assert bounds[0][0] == 1
    assert bounds[-1][1] == index.stack.position
    assert all(a[1] + 1 == b[0] for a, b in pairwise(bounds))
    some = range(1, index.stack.position + 1, 1 + index.stack.position // 1_000)
    assert all(index.find(id_) == id_ for id_ in some)


def loaded(folder: Path) -> TransferIndex:
    index = TransferIndex()
    files = RunFiles(Storage(), folder, OWNER)
    for name in files.names(IDS.suffix):
        index.stack.append(index.stack.read(files, name), stored=True)
    index.know_greatest()
    return index


@pytest.fixture
def sizes() -> list[int]:
    return [10] * 4


@pytest.fixture
def held(
    tmp_path: Path, sizes: list[int]
) -> Iterator[tuple[TransferIndex, RunFiles, Held, Merger]]:
    """An index whose merger is at runs of these sizes, four of ten, and cannot go on."""
    storage = Held()
    index, files = TransferIndex(), RunFiles(storage, tmp_path, OWNER)
    merger = Merger([index.stack], files)
    for size in sizes:
        put(index, files, size)
    merger.start()
    assert storage.arrived.wait(TIMEOUT_SECONDS)
    try:
        yield index, files, storage, merger
    finally:
        storage.gate.set()
        merger.close()
        index.stack.release()


Fixture = tuple[TransferIndex, RunFiles, Held, Merger]


def test_runs_are_found_added_and_stored_while_others_are_merged(held: Fixture) -> None:
    """Nobody waits for a merge, and what looks at old runs goes on doing so."""
    index, files, storage, merger = held
    old = index.stack.runs
    put(index, files, 10)
    assert index.stack.is_stored
    assert len(index.stack.runs) == 5
    assert_whole(index)
    storage.gate.set()
    until(lambda: len(index.stack.runs) == 2)
    assert [run.size for run in index.stack.runs] == [40, 10]
    assert_whole(index)
    assert [run.find(5 + 10 * number) for number, run in enumerate(old)] == [5, 15, 25, 35]
    until(lambda: len(list(files.folder.iterdir())) == 2)
    assert_whole(loaded(files.folder))
    assert not merger.is_behind


def test_new_runs_are_merged_before_a_large_merge_ends(held: Fixture) -> None:
    """Between its pieces; so there are never many runs, however long it takes."""
    index, files, storage, merger = held
    for _ in range(4):
        put(index, files, 10)
    merger.wake()
    storage.written.clear()
    storage.gate.set()
    until(lambda: len(index.stack.runs) == 2)
    merger.close()
    assert [int(name[:20]) for name in storage.written] == [41, 1], "the newer four first"
    assert [run.size for run in index.stack.runs] == [40, 40]
    assert_whole(index)
    assert_whole(loaded(files.folder))


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([70_000] * 4, [70_000] * 4),
        ([10] * 4, [40]),
        ([70_000] * 4 + [2] * 4, [70_000] * 4 + [8]),
    ],
    ids=["large", "small", "both"],
)
def test_closing_stops_a_large_merge_only(held: Fixture, left: list[int]) -> None:
    """Nothing is left of the large one, and nothing is lost; a small one takes no time.

    The small runs behind it are merged: a program that opens a ledger for a moment, again and
    again, would leave a run each.
    """
    index, files, storage, merger = held
    closing = threading.Thread(target=merger.close)
    closing.start()
    until(merger._closing.is_set)  # private: nothing outside shows that close() has begun
    storage.gate.set()
    closing.join(TIMEOUT_SECONDS)
    assert not closing.is_alive()
    assert [run.size for run in index.stack.runs] == left
    assert len(list(files.folder.iterdir())) == len(index.stack.runs)
    assert_whole(index)
    assert_whole(loaded(files.folder))


def merge_now(merger: Merger) -> None:
    """Merge what is due, at once and in this thread."""
    merger._retry_at = 0.0  # private: after a failure it rests for minutes
    merger._merge_due()  # private: the thread would merge at a moment of its own


def test_a_merge_that_fails_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not with every new run, and with all runs in use meanwhile; nobody has to wait for it."""
    storage = Held()
    storage.is_broken = True
    storage.gate.set()
    index, files = TransferIndex(), RunFiles(storage, tmp_path, OWNER)
    merger = Merger([index.stack], files)
    with caplog.at_level(logging.WARNING, "nostro"):
        merger.start()
        for _ in range(RUNS_MAX + 1):
            put(index, files, 10)
            merger.wake()
        until(lambda: caplog.records)
        merger.wake()
        # private: nothing outside shows that it has looked
        until(lambda: not merger._news.is_set())
        assert [record.getMessage() for record in caplog.records] == [
            "no merge of .ids: [Errno 28] no room"
        ]
        assert storage.attempts == 1
        assert not merger.is_behind
        assert_whole(index)
    merger.close()
    assert_whole(loaded(tmp_path))


def test_a_failure_is_tried_again_in_time(tmp_path: Path) -> None:
    """Though there are no new runs that would wake the thread."""
    storage = Held()
    storage.is_broken = True
    storage.gate.set()
    index, files = TransferIndex(), RunFiles(storage, tmp_path, OWNER)
    for _ in range(4):
        put(index, files, 10)
    merger = Merger([index.stack], files, retry_seconds=0.01)
    merger.start()
    until(lambda: storage.attempts > 2)
    storage.is_broken = False
    until(lambda: len(index.stack.runs) == 1)
    merger.close()
    assert_whole(loaded(tmp_path))


def test_what_fails_again_and_again_is_tried_less_often(tmp_path: Path) -> None:
    """Up to a while; and as soon as before once it has succeeded."""
    storage = Held()
    storage.gate.set()
    storage.free = 0
    index, files = TransferIndex(), RunFiles(storage, tmp_path, OWNER)
    for _ in range(4):
        put(index, files, 10)
    merger, waits = Merger([index.stack], files), []
    for _ in range(9):
        merge_now(merger)
        waits.append(round(merger._retry_seconds))  # private: they add up to half an hour
    assert waits == [10, 20, 40, 80, 160, 320, 640, 640, 640]
    storage.free = None
    merge_now(merger)
    assert len(index.stack.runs) == 1
    assert merger._retry_after == waits[0]  # private: nobody waits that long


@pytest.mark.parametrize("missing", [0, 1, None])
def test_the_last_room_on_the_disk_is_the_journals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, missing: int | None
) -> None:
    """Nothing is written where a merge would leave less room than it takes."""
    storage = Held()
    storage.gate.set()
    index, files = TransferIndex(), RunFiles(storage, tmp_path, OWNER)
    for _ in range(4):
        put(index, files, 10)
    needed = 2 * sum(file.stat().st_size for file in tmp_path.iterdir())
    storage.free = None if missing is None else needed - missing
    merger = Merger([index.stack], files)
    merger.start()
    until(lambda: "bytes must be free" in caplog.text or len(index.stack.runs) == 1)
    merger.close()
    assert len(index.stack.runs) == (4 if missing else 1)
    assert len(list(tmp_path.iterdir())) == len(index.stack.runs)


def test_free_room_is_what_the_system_says(tmp_path: Path) -> None:
    """As shutil reads it, of the same disk."""
    free = Storage().free_bytes(tmp_path)
    assert free is not None
    assert abs(free - shutil.disk_usage(tmp_path).free) < 2**30  # others write, too


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("for_ever", [False, True])
def test_whatever_a_merge_meets_nothing_is_lost(tmp_path: Path, code: int, for_ever: bool) -> None:
    """Each operation fails in turn: the files load right, and are merged on a disk that is well."""
    fail_at, failures = 0, 1
    while failures:
        fail_at += 1
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        index, files = TransferIndex(), RunFiles(Storage(), folder, OWNER)
        for _ in range(4):
            put(index, files, 3)
        storage = FaultyStorage(fail_at, code, for_ever=for_ever, only={*CHANGES, "read", "close"})
        merger = Merger([index.stack], attrs.evolve(files, storage=storage))
        merge_now(merger)
        failures = len(storage.failed)
        assert_whole(index)
        assert not list(folder.glob("*.tmp")) or for_ever
        assert_loads(folder, 12)
        storage.repair()
        merge_now(merger)
        assert [run.size for run in index.stack.runs] == [12]
        assert len(list(folder.glob("*.ids"))) == 1
    assert fail_at > 10


def assert_loads(folder: Path, position: int) -> None:
    """What opening a ledger does with these files: the longest first, where one follows on."""
    files = RunFiles(Storage(), folder, OWNER)
    index = TransferIndex()
    runs = [index.stack.read(files, name) for name in files.names(IDS.suffix)]
    for run in sorted(runs, key=lambda r: (r.span.position_first, -r.span.position_last)):
        if run.span.position_first == index.stack.position + 1:
            index.stack.append(run, stored=True)
    index.know_greatest()
    assert index.stack.position == position
    assert_whole(index)


def test_the_power_may_fail_at_any_moment_of_a_merge(tmp_path: Path) -> None:
    """What the disk then holds, merged run or parts or both, describes every position."""
    folder = tmp_path / "runs"
    folder.mkdir()
    index, files = TransferIndex(), RunFiles(Storage(), folder, OWNER)
    for _ in range(4):
        put(index, files, 3)
    disk, tape, chance = Disk(folder), Tape(), random.Random(3)
    merge_now(Merger([index.stack], attrs.evolve(files, storage=tape)))
    assert [run.size for run in index.stack.runs] == [12]
    names = [operation.name for operation in tape.operations]
    assert names.count("unlink") == 4
    for operation in [None, *tape.operations]:
        if operation is not None:
            disk.apply(operation)
        for _ in range(20):
            cut = fresh_directory(tmp_path)
            disk.after_power_cut(cut, chance)
            assert_loads(cut, 12)
            shutil.rmtree(cut)


# --- in a ledger ---


def begin(path: Path, *, storage: Storage | None = None, checkpoint_events: int = 10**9) -> Ledger:
    ledger = Ledger.open(
        path,
        clock=HandClock(),
        storage=storage,
        checkpoint_events=checkpoint_events,
        checkpoint_seconds=3_600,
    )
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
    return ledger


def move(ledger: Ledger, first: int, last: int) -> None:
    ledger.create_transfers([attrs.evolve(ONE, id=id_) for id_ in range(first, last + 1)])


def assert_complete(ledger: Ledger, last: int) -> None:
    """Every look-up and query finds what was written, up to ``last`` at least."""
    found = [transfer.id for transfer in ledger.query_transfers(QueryFilter(limit=8_000))]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= last
    assert [t.id for t in ledger.lookup_transfers(range(1, last + 1))] == found[:last]


def test_queries_and_readers_go_on_while_runs_are_merged(tmp_path: Path) -> None:
    """In the process that writes and in others that open the ledger at any moment."""
    path, done, written = tmp_path / "ledger", threading.Event(), [0]
    errors: list[BaseException] = []

    def ask(opened: Ledger | None) -> None:
        try:
            while not done.is_set():
                last = written[0]
                if opened is not None:
                    assert_complete(opened, last)
                else:
                    with Ledger.open(path, read_only=True) as reader:
                        assert_complete(reader, last)
        except BaseException as error:  # noqa: BLE001 - the main thread is told
            errors.append(error)

    with begin(path, checkpoint_events=8) as ledger:
        threads = [threading.Thread(target=ask, args=(who,)) for who in (ledger, None)]
        for thread in threads:
            thread.start()
        for first in range(1, 600, 4):
            move(ledger, first, first + 3)
            written[0] = first + 3
        done.set()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
        assert not errors, errors
        assert_complete(ledger, 600)
        until(lambda: not any(stack.due() for stack in index_stacks(ledger)))
    with Ledger.open(path, read_only=True) as reader:
        assert reader.report.events_replayed == 0
        assert_complete(reader, 600)
        for stack in index_stacks(reader):
            assert len(stack.runs) < 20


class MergedMeanwhile(Storage):
    """Merges the runs of the index of ids just after they were listed."""

    def __init__(self, folder: Path, ledger_id: bytes) -> None:
        super().__init__()
        self._merge = (RunFiles(Storage(), folder, ledger_id),)
        self.merged = 0

    def names(self, path: Path) -> list[str]:
        names = super().names(path)
        if path.name == "indexes" and not self.merged:
            (files,) = self._merge
            index = TransferIndex()
            for name in files.names(IDS.suffix):
                index.stack.append(index.stack.read(files, name), stored=True)
            self.merged = len(index.stack.runs)
            index.stack.merge(files, index.stack.runs)
            index.stack.sweep(files)
        return names


def test_a_reader_whose_runs_are_merged_while_it_opens_looks_again(tmp_path: Path) -> None:
    """It does not read the whole journal for what is in another file now."""
    path = tmp_path / "ledger"
    with begin(path) as ledger:
        for first in (1, 41, 61):
            move(ledger, first, first + (39 if first == 1 else 19))
            ledger.checkpoint()
        ledger_id = ledger.ledger_id
    storage = MergedMeanwhile(path / "indexes", ledger_id)
    with Ledger.open(path, read_only=True, storage=storage) as reader:
        assert storage.merged > 1
        assert reader.report.events_replayed == 0
        assert_complete(reader, 80)


def test_leftovers_of_a_crash_are_removed_by_the_next_writer(tmp_path: Path) -> None:
    """The merged run counts, and its parts go."""
    path, kept = tmp_path / "ledger", tmp_path / "kept"
    with begin(path) as ledger:
        for first in range(1, 81, 20):
            move(ledger, first, first + 19)
            ledger.checkpoint()
            if first == 41:
                until(lambda: not any(stack.due() for stack in index_stacks(ledger)))
                shutil.copytree(path / "indexes", kept)
        until(lambda: len(index_stacks(ledger)[0].runs) == 1)
    for file in kept.iterdir():
        shutil.copy(file, path / "indexes" / file.name)
    assert len(list((path / "indexes").glob("*.ids"))) > 1
    with Ledger.open(path, read_only=True) as reader:
        assert_complete(reader, 80)
    assert len(list((path / "indexes").glob("*.ids"))) > 1, "who reads removes nothing"
    with Ledger.open(path) as ledger:
        until(lambda: len(list((path / "indexes").glob("*.ids"))) == 1)
        assert_complete(ledger, 80)


def test_writers_wait_while_there_are_too_many_runs(tmp_path: Path) -> None:
    """As long as merges are under way that will make them fewer."""
    storage = Held()
    with begin(tmp_path / "ledger", storage=storage) as ledger:
        for first in range(1, 2 * RUNS_MAX + 2, 2):
            move(ledger, first, first + 1)
            ledger.checkpoint()
            assert first < 7 or storage.arrived.wait(TIMEOUT_SECONDS)
        writer = threading.Thread(target=move, args=(ledger, first + 2, first + 3))
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        storage.gate.set()
        writer.join(TIMEOUT_SECONDS)
        assert not writer.is_alive()
        assert_complete(ledger, first + 3)


def test_a_ledger_with_a_merge_that_fails_is_a_ledger(tmp_path: Path) -> None:
    """Checkpoints are written, and nobody waits."""
    last = 2 * (RUNS_MAX + 2)
    storage = Held()
    storage.is_broken = True
    with begin(tmp_path / "ledger", storage=storage) as ledger:
        for first in range(1, last, 2):
            move(ledger, first, first + 1)
            assert ledger.checkpoint().position == ledger.position
        assert_complete(ledger, last)
        assert len(list((tmp_path / "ledger" / "indexes").glob("*.ids"))) > RUNS_MAX
    storage.is_broken = False
    storage.gate.set()
    with Ledger.open(tmp_path / "ledger", storage=storage) as ledger:
        until(lambda: len(index_stacks(ledger)[0].runs) < 4)
        assert_complete(ledger, last)
