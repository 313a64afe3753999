"""Running totals and the groups that carry them on when they are merged, against plain integers."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from nostro import AMOUNT_MAX
from nostro.journal.rows import u128_words
from nostro.journal.storage.files import Storage
from nostro.projections.indexes import groups
from nostro.projections.indexes.group_run import Columns, GroupFormat, GroupRun
from nostro.projections.indexes.groups import Groups, group
from nostro.projections.indexes.run_file import RunFiles, Span
from nostro.projections.indexes.running_totals import EMPTY, Totals, running_totals

EDGES: Final = [0, 1, 2**32, 2**63, 2**64 - 1, 2**64, 2**127, AMOUNT_MAX]
AMOUNT: Final = st.one_of(st.integers(0, 9), st.sampled_from(EDGES), st.integers(0, AMOUNT_MAX))
SMALL: Final = st.integers(0, 2**62)
ENTRY: Final = st.tuples(st.integers(0, 3), AMOUNT)
FORMAT: Final = GroupFormat(".sums", {"key": Columns((np.uint32,), totals=1)})
FRAME: Final = bytes(32)


def totals_of(amounts: list[int]) -> Totals:
    words = np.array([u128_words(amount) for amount in amounts], np.uint64).reshape(-1, 2)
    return Totals(words[:, 0], words[:, 1])


@given(st.lists(st.lists(st.one_of(AMOUNT, SMALL), min_size=1, max_size=6), max_size=5))
@example([[2**63, 2**63 - 1], [1]])
@example([[2**63, 2**63]])
@example([[1, AMOUNT_MAX], [2**64 - 1, 1]])
def test_each_group_adds_up_from_zero(amounts: list[list[int]]) -> None:
    """Modulo 2**128, and without high words where none is needed."""
    ends = np.cumsum([len(part) for part in amounts], dtype=np.int64)
    found = running_totals(totals_of([a for part in amounts for a in part]), ends)
    expected = [total % 2**128 for part in amounts for total in accumulate(part)]
    assert found.integers() == expected
    assert len(found.high) == (len(expected) if any(t >> 64 for t in expected) else 0)


@given(st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=9))
def test_totals_add_and_subtract_like_integers(pairs: list[tuple[int, int]]) -> None:
    """Modulo 2**128, carries and borrows included."""
    left, right = (totals_of(list(side)) for side in zip(*pairs, strict=True))
    assert left.plus(right).integers() == [(a + b) % 2**128 for a, b in pairs]
    assert left.minus(right).integers() == [(a - b) % 2**128 for a, b in pairs]


def test_low_words_alone_carry_too() -> None:
    """Two columns without high words may need them together."""
    left, right = (Totals(np.array([2**64 - 1, 5], np.uint64), EMPTY) for _ in range(2))
    assert left.plus(right).integers() == [2**65 - 2, 10]
    assert Totals(right.low[::-1], EMPTY).minus(left).integers() == [
        (6 - 2**64) % 2**128,
        2**64 - 6,
    ]


@given(st.lists(st.lists(ENTRY, max_size=12), min_size=2, max_size=4), st.integers(1, 6))
@example([[(0, 2**64 - 1)], [(0, 1)]], 9)
@example([[(0, 1), (1, 1)], [], [(0, 2), (2, 3)]], 1)
def test_merged_runs_go_on_adding(parts: list[list[tuple[int, int]]], piece: int) -> None:
    """What is written of several runs is what one run of all their values would be."""
    entries = [entry for part in parts for entry in part]
    runs, position = [], 1
    for part in parts:
        span = Span(position, position + 2 * len(part), FRAME)
        runs.append(GroupRun(span, {"key": _group(part)}))
        position = span.position_last + 1
    with TemporaryDirectory() as folder, patch.object(groups, "PIECE", piece):
        files, path = RunFiles(Storage(), Path(folder), bytes(16)), Path(folder) / "merged.sums"
        FORMAT.write(files, path, Span(1, position - 1, FRAME), runs)
        merged = FORMAT.read(files, path)
    positions = [
        run.span.position_first - 1 + number
        for run, part in zip(runs, parts, strict=True) for number in range(len(part))
    ]  # fmt: skip
    found = merged.groups["key"]
    for key in range(4):
        mine = [(p, amount) for p, (k, amount) in zip(positions, entries, strict=True) if k == key]
        start, end = found.bounds(key)
        assert found.values[0][start:end].tolist() == [p for p, _ in mine]
        sums = [total % 2**128 for total in accumulate(amount for _, amount in mine)]
        assert found.totals[0].part(slice(start, end)).integers() == sums


def _group(part: list[tuple[int, int]]) -> Groups:
    keys = np.array([key for key, _ in part], np.uint64)
    numbers = np.arange(len(part), dtype=np.uint32)
    return group(keys, (numbers,), (totals_of([amount for _, amount in part]),))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.sampled_from([8, 20, 40, 64]))
def test_any_keys_are_sorted(keys: list[int], bits: int) -> None:
    """By radix where they are small enough; equal ones stay in order."""
    column = np.array([key % 2**bits for key in keys], np.uint64)
    found = group(column, (np.arange(len(keys)),))
    expected = sorted(range(len(keys)), key=lambda number: int(column[number]))
    assert found.values[0].tolist() == expected
    assert found.keys.tolist() == sorted(set(column.tolist()))
