"""The index of transfer ids: found like in a dictionary, in runs that merge, rebuilt when lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal import AMOUNT_MAX, Account, CorruptCheckpoint, CreateTransferStatus, Transfer
from journal.rows import u128_words
from projections import Ledger
from projections.transfer_index import Column, Run, TransferIndex, decode_run, encode_run
from tests.clocks import HandClock

IDS: Final = st.one_of(
    st.integers(0, 60),
    st.integers(2**64 - 20, 2**64 + 20),
    st.integers(0, AMOUNT_MAX),
    st.sampled_from([2**64 * n + 5 for n in range(6)]),
)
OWNER: Final = b"\x05" * 16
FRAME: Final = b"\x06" * 32


def column(ids: list[int]) -> Column:
    return np.array([u128_words(id_) for id_ in ids], np.uint64)


@given(st.lists(st.lists(IDS, min_size=1, max_size=30), max_size=8), st.data())
def test_it_finds_what_a_dictionary_finds(batches: list[list[int]], data: st.DataObject) -> None:
    """Every id at its position and no other, frozen or not, merged or not, before and after."""
    index, known, position = TransferIndex(), dict[int, int](), 0
    for batch in batches:
        fresh = list(dict.fromkeys(id_ for id_ in batch if id_ not in known))
        if fresh:
            index.add(column(fresh), position + 1)
            known |= {id_: position + number for number, id_ in enumerate(fresh, 1)}
            position += len(fresh)
        if data.draw(st.booleans(), "freeze"):
            index.freeze()
            assert_same(index, known)
            index.finish_freeze(position, FRAME)
    assert_same(index, known)
    assert index.id_max == max(known, default=0)
    assert len(index) == len(known)
    reread = [
        decode_run(encode_run(run, ledger_id=OWNER), path=Path("x"), ledger_id=OWNER)
        for run in index.runs
    ]
    again = TransferIndex()
    for run in reread:
        again.add_run(run)
    frozen = {id_: p for id_, p in known.items() if reread and p <= reread[-1].position_last}
    assert_same(again, frozen)


def assert_same(index: TransferIndex, known: dict[int, int]) -> None:
    near = {id_ + step for id_ in known for step in (-1, 0, 1, 2**64)} | {0, AMOUNT_MAX}
    assert {id_: index.find(id_) for id_ in near} == {id_: known.get(id_) for id_ in near}


def test_runs_of_similar_size_are_merged() -> None:
    """After many freezes there are only a few runs, which cover every position without a gap."""
    index, position = TransferIndex(), 0
    for size in [3, 1, 4, 1, 5, 9, 2, 6, 5, 3] * 30:
        index.add(column(list(range(position + 1, position + size + 1))), position + 1)
        position += size
        index.freeze()
        index.finish_freeze(position, FRAME)
    sizes = [len(run.positions) for run in index.runs]
    assert len(sizes) <= 10
    assert all(before >= 2 * after for before, after in pairwise(sizes))
    bounds = [(run.position_first, run.position_last) for run in index.runs]
    assert bounds[0][0] == 1
    assert bounds[-1][1] == position
    assert all(a[1] + 1 == b[0] for a, b in pairwise(bounds))


def test_a_stretch_without_transfers_is_a_run_too() -> None:
    """Positions that only accounts stand at are covered, so that the next run follows on."""
    index = TransferIndex()
    index.freeze()
    (run,) = index.finish_freeze(5, FRAME)
    assert (run.position_first, run.position_last, len(run.positions)) == (1, 5, 0)
    index.add(column([9]), 6)
    index.freeze()
    index.finish_freeze(6, FRAME)
    assert (index.find(9), index.find(8)) == (6, None)


def test_an_id_taken_in_during_a_freeze_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's thread cannot set the greatest id back under the writer's feet."""
    index = TransferIndex()
    index.add(column([5]), 1)
    index.freeze()
    whole_range = Run.range.fget  # type: ignore[attr-defined]

    def taking_one_more(run: Run) -> tuple[int, int]:
        if len(index) == 1:  # the first time that the thread asks
            index.add(column([9]), 2)
        bounds: tuple[int, int] = whole_range(run)
        return bounds

    monkeypatch.setattr(Run, "range", property(taking_one_more))
    index.finish_freeze(1, FRAME)
    assert index.id_max == 9
    assert index.find(9) == 2


@pytest.mark.parametrize("cut", [0, 50, 111, -1])
def test_a_file_that_is_no_run_is_refused(cut: int) -> None:
    """Cut short, of another owner, or with any bit flipped: never taken for sound."""
    index = TransferIndex()
    index.add(column([5, 6]), 1)
    index.freeze()
    (run,) = index.finish_freeze(2, FRAME)
    data = encode_run(run, ledger_id=OWNER)
    with pytest.raises(CorruptCheckpoint):
        decode_run(data[:cut], path=Path("x"), ledger_id=OWNER)
    with pytest.raises(CorruptCheckpoint):
        decode_run(data, path=Path("x"), ledger_id=b"\x07" * 16)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptCheckpoint):
            decode_run(bytes(flipped), path=Path("x"), ledger_id=OWNER)


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
    assert len(list((tmp_path / "ledger" / "indexes").iterdir())) == 3
    return tmp_path / "ledger"


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
    lose(sorted((path / "indexes").iterdir()))
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
