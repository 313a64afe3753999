"""Adding 128-bit amounts in columns, against Python's own integers."""

from __future__ import annotations

from typing import Final

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from nostro import AMOUNT_MAX
from nostro.journal.rows import field_ints, u128_words
from nostro.projections.state.u128 import Words, add_at

EDGES: Final = [0, 1, 2**32 - 1, 2**32, 2**64 - 1, 2**64, 2**96 - 1, 2**96, 2**127, AMOUNT_MAX]
VALUES: Final = st.one_of(st.integers(0, AMOUNT_MAX), st.sampled_from(EDGES), st.integers(0, 9))
ROWS: Final = 5
COLUMN: Final = 2


def table(values: list[int]) -> Words:
    """``u64[n, 6]`` with the values in columns 2 and 3 and all ones around them."""
    words = np.full((len(values), 6), 2**64 - 1, np.uint64)
    words[:, COLUMN : COLUMN + 2] = [u128_words(value) for value in values]
    return words


def columns_of(amounts: list[int]) -> Words:
    return np.array([u128_words(amount) for amount in amounts], np.uint64).reshape(-1, 2)


@given(
    st.lists(VALUES, min_size=ROWS, max_size=ROWS),
    st.lists(st.tuples(st.integers(0, ROWS - 1), VALUES), max_size=40),
)
@example([0] * ROWS, [(0, 2**64 - 1)] * 2)
@example([2**32 - 1] * ROWS, [(1, 2**32 - 1)] * 9)
@example([AMOUNT_MAX] + [0] * (ROWS - 1), [(0, 0)])
@example([0] * ROWS, [])
def test_sums_are_pythons(values: list[int], postings: list[tuple[int, int]]) -> None:
    """Whatever is added, as often as it is to the same place: exact sums, neighbours untouched."""
    expected = list(values)
    taken = []
    for slot, amount in postings:
        if expected[slot] + amount <= AMOUNT_MAX:  # the rules let nothing else through
            expected[slot] += amount
            taken.append((slot, amount))
    words = table(values)
    slots = np.array([slot for slot, _ in taken], np.int64)
    add_at(words, COLUMN, slots, columns_of([amount for _, amount in taken]))
    assert field_ints(words[:, COLUMN : COLUMN + 2]) == expected
    assert (np.delete(words, [COLUMN, COLUMN + 1], axis=1) == 2**64 - 1).all()


def test_a_large_batch_at_one_place_does_not_wrap() -> None:
    """65,536 times the largest 64-bit amount, all to one account, is the exact product."""
    count = 65_536
    words = table([7])
    slots = np.zeros(count, np.int64)
    add_at(words, COLUMN, slots, columns_of([2**64 - 1] * count))
    assert field_ints(words[:, COLUMN : COLUMN + 2]) == [7 + count * (2**64 - 1)]
