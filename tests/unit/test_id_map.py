"""The map from ids to row numbers finds what a dictionary finds."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import AMOUNT_MAX
from nostro.journal.rows import u128_words
from nostro.projections.state import id_map
from nostro.projections.state.id_map import MISSING, IdMap
from nostro.projections.state.u128 import Words

IDS: Final = st.one_of(
    st.integers(0, 40),
    st.integers(0, AMOUNT_MAX),
    st.integers(0, 40).map(lambda number: number << 64),
    st.integers(0, 40).map(lambda number: number << 50),
)


def words(ids: list[int]) -> Words:
    return np.array([u128_words(id_) for id_ in ids], np.uint64).reshape(-1, 2)


@given(st.lists(st.lists(IDS, max_size=40), max_size=6), st.lists(IDS, max_size=40))
def test_it_finds_what_a_dictionary_finds(batches: list[list[int]], others: list[int]) -> None:
    """After each batch: every id at its row, and what was never added nowhere."""
    known: dict[int, int] = {}
    keys = words([])
    table = IdMap(lambda: keys)
    for batch in [*batches, []]:
        fresh = [id_ for id_ in dict.fromkeys(batch) if id_ not in known]
        keys = words([*known, *fresh])
        known |= {id_: len(known) + number for number, id_ in enumerate(fresh)}
        table.add(len(known))
        asked = [*known, *others, *[id_ ^ 1 for id_ in known]]
        found = [known.get(id_, MISSING) for id_ in asked]
        assert table.find(words(asked)).tolist() == found
        assert [table.find_one(*u128_words(id_)) for id_ in asked] == found


@pytest.mark.parametrize("step", [1, 2**20, 2**49, 2**64, 2**80, 2**113])
def test_many_ids_of_any_pattern_are_found(step: int) -> None:
    """It grows, and ids that differ in few bits do not fall on one another."""
    ids = words([number * step for number in range(30_000)])
    table = IdMap(lambda: ids)
    for count in range(1_000, len(ids) + 1, 1_000):
        table.add(count)
    assert table.find(ids).tolist() == list(range(len(ids)))
    absent = ids.copy()
    absent[:, 0] ^= np.uint64(2**63 + 2**21)
    assert (table.find(absent) == MISSING).all()


def test_ids_on_one_slot_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every search begins at the same slot it only takes longer."""

    def same(low: Words, *_: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.full(len(low), 2_040, np.int64)

    # private: 300 ids with one hash are too long to look for
    monkeypatch.setattr(id_map, "_hash", same)
    ids = words(list(range(300)))
    table = IdMap(lambda: ids)
    table.add(100)
    table.add(200)
    assert table.find(ids).tolist() == [*range(200), *[MISSING] * 100]
