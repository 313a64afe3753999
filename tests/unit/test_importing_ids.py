"""Ids that follow from names: the same on every machine, never a reserved one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import AMOUNT_MAX
from nostro.tools.ids import parse_id
from nostro.tools.importing.ids import derived_id


def test_an_id_is_the_first_128_bits_of_a_sha256_that_anybody_can_compute() -> None:
    """The rule in the guide gives the id: no secret, no salt, no byte order of the machine."""
    expected = hashlib.sha256(b"5:berka,8:transfer,6:695247,").hexdigest()[:32]
    assert derived_id("berka", "transfer", "695247") == int(expected, 16)


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_different_names_never_read_the_same(one: list[str], other: list[str]) -> None:
    """However the parts are cut, two different lists of parts give two ids."""
    assert (derived_id("n", "k", *one) == derived_id("n", "k", *other)) == (one == other)


@pytest.mark.parametrize("reserved", [bytes(32), b"\xff" * 32])
def test_a_reserved_id_is_never_given_out(reserved: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 and 2**128 - 1 are no ids, so a hash that gives one is taken again."""

    class Hash:
        def __init__(self, message: bytes) -> None:
            self._message = message

        def digest(self) -> bytes:
            return b"\x01" * 32 if self._message.endswith(b"again,") else reserved

    monkeypatch.setattr(hashlib, "sha256", Hash)
    assert derived_id("n", "k", "x") == int.from_bytes(b"\x01" * 16, "big")


@pytest.mark.parametrize("bits", [32, 64, 128])
def test_fewer_bits_are_the_leading_ones(bits: int) -> None:
    """The smaller fields hold the beginning of the same hash."""
    assert derived_id("n", "data", "x", bits=bits) == derived_id("n", "data", "x") >> (128 - bits)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), (" 576 ", 576), ("0x1F", 31), ("0X1f", 31), (str(AMOUNT_MAX - 1), AMOUNT_MAX - 1)],
)
def test_an_id_is_read_in_decimal_or_hexadecimal(text: str, expected: int) -> None:
    """Both ways of writing the same number give the same id."""
    assert parse_id(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "1.0",
        "1_000",
        "0x",
        "abc",
        "٣",
        str(AMOUNT_MAX),
        str(AMOUNT_MAX + 1),
        "9" * 5000,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """Nothing is rounded, wrapped or guessed into an id."""
    with pytest.raises(ValueError, match="id"):
        parse_id(text)
