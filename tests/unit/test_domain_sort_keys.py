"""Keys and index values sort as bytes as they do as values."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import InvalidField
from nostro.projections.domains.sort_keys import AFTER_ALL, sort_key, sort_keys
from nostro.projections.domains.values import INTEGER_MAX, INTEGER_MIN

numbers = st.integers(INTEGER_MIN, INTEGER_MAX) | st.integers(-300, 300)
texts = st.text(st.sampled_from("\x00\x01ab\x7f\x80ÿ\uffff\U00010000"), max_size=4)
binaries = st.binary(max_size=4) | st.lists(st.sampled_from([0, 1, 255])).map(bytes)
scalars = st.none() | st.booleans() | numbers | texts | binaries


def rank(value: object) -> tuple[int, Any]:
    """None < bool < int < str < bytes, and within a type its own order."""
    return [type(None), bool, int, str, bytes].index(type(value)), 0 if value is None else value


@given(scalars, scalars)
def test_bytes_sort_as_values(one: object, other: object) -> None:
    """The order is None < bool < int < str < bytes, and equality is exact."""
    assert (sort_key(one) < sort_key(other)) == (rank(one) < rank(other))
    assert (sort_key(one) == sort_key(other)) == (rank(one) == rank(other))


@given(st.lists(scalars, max_size=3), st.lists(scalars, max_size=3))
def test_tuples_sort_value_by_value(one: list[object], other: list[object]) -> None:
    """A compound key sorts by its first value, then by its second, and so on."""
    ranks = [rank(value) for value in one], [rank(value) for value in other]
    assert (sort_keys(one) < sort_keys(other)) == (ranks[0] < ranks[1])
    begins = one == other[: len(one)] and ranks[0] == ranks[1][: len(one)]
    prefix = sort_keys(one)
    assert (prefix <= sort_keys(other) < prefix + AFTER_ALL) == begins


class Level(enum.IntEnum):
    LOW = 1


def test_an_enum_sorts_as_its_value() -> None:
    """So a filter may name the member or its value."""
    assert sort_key(Level.LOW) == sort_key(1)


@pytest.mark.parametrize("value", [1.0, [], INTEGER_MAX + 1, INTEGER_MIN - 1, "\ud800", object])
def test_other_values_are_refused(value: object) -> None:
    """A value that no key has is an error, not an empty answer."""
    with pytest.raises(InvalidField):
        sort_key(value)
