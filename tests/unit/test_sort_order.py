"""The order that sorts keys: what numpy's own sorts give, in less time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nostro.projections.indexes.sort_order import order_of_pairs, stable_order

WORDS = st.one_of(
    st.integers(0, 3),
    st.integers(2**16 - 2, 2**16 + 2),
    st.integers(2**32 - 2, 2**32 + 2),
    st.integers(2**63, 2**63 + 2**17),
    st.integers(0, 2**64 - 1),
)


@given(st.lists(WORDS, max_size=60), st.integers(0, 2**64 - 1))
def test_keys_are_sorted_and_equal_ones_stay_in_order(words: list[int], base: int) -> None:
    """Whatever lies between the least and the greatest, and wherever they lie."""
    for values in (words, [base] * 3 + [(base + word) % 2**64 for word in words]):
        keys = np.array(values, np.uint64)
        assert stable_order(keys).tolist() == np.argsort(keys, kind="stable").tolist()


def test_keys_that_span_each_number_of_digits_are_sorted() -> None:
    """One digit, two, and more; many keys, of which some are equal."""
    random = np.random.default_rng(5)
    for bits in (1, 15, 16, 17, 31, 32, 33, 63):
        keys = random.integers(2**63, 2**63 + 2**bits, 5_000, dtype=np.uint64)
        assert (stable_order(keys) == np.argsort(keys, kind="stable")).all()


@given(st.lists(st.tuples(WORDS, WORDS), max_size=60), st.booleans())
def test_pairs_are_sorted_by_both_words(pairs: list[tuple[int, int]], is_sorted: bool) -> None:
    """As Python sorts tuples, sorted before or not, with ties in the first word or without."""
    if is_sorted:
        pairs.sort()
    high, low = np.array(pairs, np.uint64).reshape(-1, 2).T
    assert [pairs[number] for number in order_of_pairs(high, low)] == sorted(pairs)
