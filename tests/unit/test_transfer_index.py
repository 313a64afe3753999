"""The index of transfer ids: found like in a dictionary, in runs that merge, rebuilt when lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import AMOUNT_MAX, Account, CorruptCheckpoint, CreateTransferStatus, Ledger, Transfer
from nostro.journal.rows import u128_words
from nostro.journal.storage.files import Storage
from nostro.projections.indexes import id_filter
from nostro.projections.indexes.groups import Groups, are_sound
from nostro.projections.indexes.run_file import RunFiles, Span, open_run, write_run
from nostro.projections.indexes.running_totals import Totals
from nostro.projections.indexes.transfer_index import IDS, Column, TransferIndex
from tests.clocks import HandClock

SOME_ID: Final = st.one_of(
    st.integers(0, 60),
    st.integers(2**64 - 20, 2**64 + 20),
    st.integers(0, AMOUNT_MAX),
    st.sampled_from([2**64 * n + 5 for n in range(6)]),
)
OWNER: Final = b"\x05" * 16
FRAME: Final = b"\x06" * 32


def write_ids(path: Path, span: Span, columns: list[Column]) -> None:
    """Write a run of ids whose columns may be wrong, but not its hashes."""
    counts = [len(column) for column in columns]
    write_run(files_at(path), path, IDS, span, counts, enumerate(columns))


def files_at(path: Path, owner: bytes = OWNER) -> RunFiles:
    return RunFiles(Storage(), path.parent, owner)


def column(ids: list[int]) -> Column:
    return np.array([u128_words(id_) for id_ in ids], np.uint64)


@given(st.lists(st.lists(SOME_ID, min_size=1, max_size=30), max_size=8), st.data())
def test_it_finds_what_a_dictionary_finds(batches: list[list[int]], data: st.DataObject) -> None:
    """Every id at its position and no other, frozen or not, merged or not, before and after."""
    index, known, position = TransferIndex(), dict[int, int](), 0
    for batch in batches:
        fresh = list(dict.fromkeys(id_ for id_ in batch if id_ not in known))
        if fresh:
            index.add(column(fresh), range(position + 1, position + 1 + len(fresh)))
            known |= {id_: position + number for number, id_ in enumerate(fresh, 1)}
            position += len(fresh)
        if data.draw(st.booleans(), "freeze"):
            index.freeze()
            assert_same(index, known)
            index.finish_freeze(position, FRAME)
    assert_same(index, known)
    assert index.id_max == max(known, default=0)
    assert len(index) == len(known)
    with TemporaryDirectory() as folder:
        files = RunFiles(Storage(), Path(folder), OWNER)
        index.stack.store(files)
        assert_same(index, known)
        if data.draw(st.booleans(), "merge") and index.stack.runs:
            index.stack.merge(files, index.stack.runs)
            index.stack.sweep(files)
            assert_same(index, known)
        again = TransferIndex()
        for name in files.names(IDS.suffix):
            again.stack.append(again.stack.read(files, name), stored=True)
        again.know_greatest()
    assert again.stack.position == index.stack.position
    assert_same(again, {id_: p for id_, p in known.items() if p <= again.stack.position})


def assert_same(index: TransferIndex, known: dict[int, int]) -> None:
    near = {id_ + step for id_ in known for step in (-1, 0, 1, 2**64)} | {0, AMOUNT_MAX}
    assert {id_: index.find(id_) for id_ in near} == {id_: known.get(id_) for id_ in near}
    absent = sorted(id_ for id_ in near - known.keys() if 0 <= id_ <= AMOUNT_MAX)
    assert not index.contains_any(column(absent))
    for id_ in list(known)[:20]:
        assert index.contains_any(column([*absent[:3], id_, *absent[3:6]]))


def test_runs_of_similar_size_are_merged(tmp_path: Path) -> None:
    """After many freezes there are only a few runs, which cover every position without a gap."""
    index, position = TransferIndex(), 0
    files = RunFiles(Storage(), tmp_path, OWNER)
    for size in [3, 1, 4, 1, 5, 9, 2, 6, 5, 3] * 30:
        positions = range(position + 1, position + size + 1)
        index.add(column(list(positions)), positions)
        position += size
        index.freeze()
        index.finish_freeze(position, FRAME)
        index.stack.store(files)
        while runs := index.stack.due():
            index.stack.merge(files, runs)
            index.stack.sweep(files)
    assert len(index.stack.runs) <= 15
    assert len(list(tmp_path.iterdir())) == len(index.stack.runs)
    bounds = [(run.span.position_first, run.span.position_last) for run in index.stack.runs]
    assert bounds[0][0] == 1
    assert bounds[-1][1] == position
    assert all(a[1] + 1 == b[0] for a, b in pairwise(bounds))


def test_a_stretch_without_transfers_is_a_run_too() -> None:
    """Positions that only accounts stand at are covered, so that the next run follows on."""
    index = TransferIndex()
    index.freeze()
    index.finish_freeze(5, FRAME)
    (run,) = index.stack.runs
    assert (run.span, run.size) == (Span(1, 5, FRAME), 0)
    index.add(column([9]), range(6, 7))
    index.freeze()
    index.finish_freeze(6, FRAME)
    assert (index.find(9), index.find(8)) == (6, None)


@pytest.mark.parametrize("cut", [0, 50, 231, -1])
def test_a_file_that_is_no_run_is_refused(cut: int, tmp_path: Path) -> None:
    """Cut short, of another owner, or with any bit flipped: never taken for sound."""
    index = TransferIndex()
    index.add(column([5, 6]), range(1, 3))
    index.freeze()
    index.finish_freeze(2, FRAME)
    (run,) = index.stack.runs
    path = tmp_path / IDS.name(run.span)
    columns = [run.high, run.low, run.positions, run.filter]
    write_ids(path, run.span, columns)
    data = path.read_bytes()
    assert open_run(files_at(path), path, IDS)[0] == run.span
    with pytest.raises(CorruptCheckpoint):
        open_run(files_at(path, b"\x07" * 16), path, IDS)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CorruptCheckpoint):
            open_run(files_at(path), path, IDS)
    path.write_bytes(data[:cut])
    with pytest.raises(CorruptCheckpoint):
        open_run(files_at(path), path, IDS)


ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed ledger with several runs: 30 ids, of which every fifth failed for good."""
    with Ledger.open(tmp_path / "ledger", clock=HandClock()) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        for first, count in ((1, 20), (21, 8), (29, 2)):
            batch = [attrs.evolve(ONE, id=id_) for id_ in range(first, first + count)]
            ledger.create_transfers(
                [
                    attrs.evolve(t, debit_account_id=t.debit_account_id if t.id % 5 else 404)
                    for t in batch
                ]
            )
            ledger.checkpoint()
    assert len(id_runs(tmp_path / "ledger")) == 3
    return tmp_path / "ledger"


def id_runs(path: Path) -> list[Path]:
    return sorted((path / "indexes").glob("*.ids"))


def _remove_all(files: list[Path]) -> None:
    for file in files:
        file.unlink()


def _cut_all(files: list[Path]) -> None:
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])


LOSSES: Final[dict[str, Callable[[list[Path]], object]]] = {
    "nothing": lambda files: files,
    "the first": lambda files: files[0].unlink(),
    "the middle": lambda files: files[1].unlink(),
    "the last": lambda files: files[2].unlink(),
    "all": _remove_all,
    "all, cut short": _cut_all,
    "the first, emptied": lambda files: files[0].write_bytes(b""),
    "one, for a foreign one": lambda files: files[1].write_bytes(files[2].read_bytes()),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())
def test_lost_runs_are_read_from_the_journal_again(
    path: Path, lose: Callable[[list[Path]], object]
) -> None:
    """Whatever is missing or damaged, every id is known after opening, and written down anew."""
    lose(id_runs(path))
    for _ in range(2):
        with Ledger.open(path, clock=HandClock()) as ledger:
            results = ledger.create_transfers([attrs.evolve(ONE, id=id_) for id_ in range(1, 31)])
            for id_, result in enumerate(results, 1):
                failed = id_ % 5 == 0
                assert result.status is (
                    CreateTransferStatus.ID_ALREADY_FAILED
                    if failed
                    else CreateTransferStatus.EXISTS
                )
            assert len(ledger.lookup_transfers(range(1, 31))) == 24
            ledger.create_transfers([attrs.evolve(ONE, id=100 + ledger.position)])


def test_ids_are_found_while_others_become_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other thread does between the look into what is recent and the one into runs.

    Patched: only so does the other thread run exactly between the two looks.
    """
    for asked in (3, 105):
        index = TransferIndex()
        index.add(column(list(range(1, 11))), range(1, 11))
        index.freeze()
        index.add(column(list(range(100, 110))), range(11, 21))
        learn = index._learn  # private: no other thread runs at a chosen step

        def finished_meanwhile(
            index: TransferIndex = index, learn: Callable[[], object] = learn
        ) -> object:
            recent = learn()
            if index._frozen:  # private: no other thread runs at a chosen step
                index.finish_freeze(10, FRAME)
            return recent

        # private: no other thread runs at a chosen step
        monkeypatch.setattr(index, "_learn", finished_meanwhile)
        if asked == 3:
            assert index.find(3) == 3
        else:
            assert index.contains_any(column([105]))
        assert len(index.stack.runs) == 1


@pytest.mark.parametrize("step", [1, 2**17, 2**64, 2**70 + 3])
def test_the_filter_holds_what_was_added_and_little_else(step: int) -> None:
    """Every id that was added, in one go or in several; of others about one in thirty."""
    ids = column([step * number for number in range(40_000)])
    low, high = ids[:, 0].copy(), ids[:, 1].copy()
    count = 20_000
    whole, parts = (np.zeros(id_filter.words_for(count), np.uint64) for _ in range(2))
    id_filter.add(whole, low[:count], high[:count])
    for start in range(0, count, 3_000):
        part = slice(start, min(start + 3_000, count))
        id_filter.add(parts, low[part], high[part])
    assert (whole == parts).all()
    assert id_filter.may_hold(whole, low[:count], high[:count]).all()
    others = np.count_nonzero(id_filter.may_hold(whole, low[count:], high[count:]))
    assert others < 0.06 * count
    nothing = np.zeros(id_filter.words_for(0), np.uint64)
    assert not id_filter.may_hold(nothing, low, high).any()


def test_the_filter_is_where_the_format_says() -> None:
    """Known bits for a known id: what is on disk must be read for ever."""
    filter_ = np.zeros(10, np.uint64)
    id_filter.add(filter_, np.array([7], np.uint64), np.array([9], np.uint64))
    mask = 2**64 - 1
    mixed = 7 * 0x9E3779B97F4A7C15 & mask
    mixed ^= mixed >> 32 ^ 9
    mixed = mixed * 0xC2B2AE3D27D4EB4F & mask
    mixed ^= mixed >> 32
    mixed = mixed * 0x165667B19E3779F9 & mask
    mixed ^= mixed >> 32
    bits = 0
    for shift in (0, 6, 12, 18):
        bits |= 1 << (mixed >> shift & 63)
    expected = [0] * 10
    expected[(mixed >> 32) * 10 >> 32] = bits
    assert filter_.tolist() == expected


def _columns(**changes: list[int]) -> list[Column]:
    """Of a run of one id, 7, at position 1; some of them changed."""
    filter_ = np.zeros(1, np.uint64)
    id_filter.add(filter_, np.array([7], np.uint64), np.zeros(1, np.uint64))
    columns = {"high": [0], "low": [7], "positions": [1], "filter": filter_.tolist(), **changes}
    return [np.array(one, np.uint64) for one in columns.values()]


@pytest.mark.parametrize(
    "changes",
    [
        {"high": []},
        {"low": [7, 8]},
        {"positions": []},
        {"filter": []},
        {"positions": [0]},
        {"positions": [2]},
        {"positions": [2**64 - 1]},
    ],
)
def test_columns_that_do_not_fit_one_another_are_no_run(
    changes: dict[str, list[int]], tmp_path: Path
) -> None:
    """Though every hash is right: a look-up would fail, or believe that an id is unused."""
    files = RunFiles(Storage(), tmp_path, OWNER)
    span = Span(1, 1, FRAME)
    write_ids(tmp_path / "run", span, _columns())
    assert TransferIndex().stack.read(files, "run").find(7) == 1
    write_ids(tmp_path / "run", span, _columns(**changes))
    with pytest.raises(CorruptCheckpoint, match="fit"):
        TransferIndex().stack.read(files, "run")


@pytest.mark.parametrize(("first", "last"), [(0, 5), (2, 1), (1, 2**63), (2**64 - 1, 2**64 - 1)])
def test_positions_that_no_journal_has_are_no_runs(first: int, last: int, tmp_path: Path) -> None:
    """A run begins with position 1 or later, and ends where it begins or later."""
    span = Span(first, last, FRAME)
    columns = [np.zeros(0, np.uint64)] * 4
    write_ids(tmp_path / "run", span, columns)
    with pytest.raises(CorruptCheckpoint, match="positions"):
        open_run(files_at(tmp_path / "run"), tmp_path / "run", IDS)


@pytest.mark.parametrize(
    ("keys", "ends", "positions", "low", "high"),
    [
        ([1, 2], [1], [0, 1], [5, 5], []),
        ([1, 2], [1, 3], [0, 1], [5, 5], []),
        ([1, 2], [2, 1], [0, 1], [5, 5], []),
        ([1, 2], [0, 2], [0, 1], [5, 5], []),
        ([2, 1], [1, 2], [0, 1], [5, 5], []),
        ([1, 1], [1, 2], [0, 1], [5, 5], []),
        ([1, 2], [1, 2], [0, 9], [5, 5], []),
        ([1, 2], [1, 2], [0, 1], [5], []),
        ([1, 2], [1, 2], [0, 1], [5, 5], [1]),
        ([], [], [0, 1], [5, 5], []),
    ],
)
def test_groups_that_do_not_add_up_are_none(
    keys: list[int], ends: list[int], positions: list[int], low: list[int], high: list[int]
) -> None:
    """Keys and ends rise, everything has one length, and no position lies outside the run."""

    def groups(*columns: list[int]) -> Groups:
        keys, ends, positions, low, high = (np.array(one, np.uint64) for one in columns)
        places = positions.astype(np.uint32), positions
        return Groups(keys, ends.astype(np.uint32), places, (Totals(low, high),))

    assert are_sound(groups([1, 2], [1, 2], [0, 1], [5, 5], [0, 1]), position_max=1)
    assert are_sound(groups([], [], [], [], []), position_max=1)
    assert not are_sound(groups(keys, ends, positions, low, high), position_max=1)


def test_a_mapped_file_is_read_only(tmp_path: Path) -> None:
    """Nobody but the superuser can open it for writing, as `cp` and `rsync --inplace` do."""
    with Ledger.open(tmp_path / "ledger") as ledger:
        ledger.create_accounts([Account(id=1, ledger=1, code=1), Account(id=2, ledger=1, code=1)])
        for id_ in range(1, 9):
            pay = Transfer(
                id=id_, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1
            )
            ledger.create_transfers([pay])
            ledger.checkpoint()
    runs = list((tmp_path / "ledger" / "indexes").iterdir())
    assert len(runs) >= 3
    assert {path.stat().st_mode & 0o777 for path in runs} == {0o400}
