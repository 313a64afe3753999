"""Amounts: decimal text to integers, exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro import AMOUNT_MAX
from nostro.tools.amounts import SCALE_MAX, AmountError, WrittenAmounts, format_amount


@pytest.mark.parametrize(
    ("text", "scale", "units"),
    [
        ("700.00", 2, 70000),
        ("700", 2, 70000),
        (" 0.01 ", 2, 1),
        ("+1.5", 2, 150),
        ("-1.5", 2, -150),
        (".5", 1, 5),
        ("5.", 1, 50),
        ("0", 0, 0),
        ("-0.00", 2, 0),
        ("1.50", 1, 15),  # zeros beyond the scale are no loss
        ("0.1", 1, 1),
        (str(AMOUNT_MAX), 0, AMOUNT_MAX),
        ("3402823669209384634633746074317682114.55", 2, AMOUNT_MAX),
    ],
)
def test_decimal_text_becomes_its_exact_minor_units(text: str, scale: int, units: int) -> None:
    """No digit is lost and none is made up, up to the last of 128 bits."""
    assert WrittenAmounts(scale).read(text) == units


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "amount is empty"),
        ("   ", "amount is empty"),
        ("NaN", "amount is not a finite number"),
        ("-inf", "amount is not a finite number"),
        ("Infinity", "amount is not a finite number"),
        ("sNaN", "amount is not a finite number"),
        ("1.005", "amount has more than 2 decimals"),
        (str(AMOUNT_MAX), "amount is beyond 128 bits"),
        ("1e3", "amount is not a number"),
        ("1e999999999", "amount is not a number"),
        ("9" * 10_000, "amount is beyond 128 bits"),
        ("1_000", "amount is not a number"),
        ("1,000", "amount is not a number"),
        ("٣", "amount is not a number"),
        ("12 34", "amount is not a number"),
        ("0x10", "amount is not a number"),
        ("1.2.3", "amount is not a number"),
        ("--1", "amount is not a number"),
        ("e", "amount is not a number"),
    ],
)
def test_what_is_no_amount_is_refused_with_its_reason(text: str, reason: str) -> None:
    """Every way to be wrong is told apart."""
    with pytest.raises(AmountError) as caught:
        WrittenAmounts(2).read(text)
    assert caught.value.reason == reason


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX), st.integers(0, SCALE_MAX))
def test_what_is_written_is_read_back(units: int, scale: int) -> None:
    """Formatting and parsing undo each other for every amount and scale."""
    assert WrittenAmounts(scale).read(format_amount(units, scale)) == units


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20
    )
)
def test_a_decimal_is_read_as_what_it_is(number: Decimal) -> None:
    """The text of a decimal with four places is that many ten-thousandths."""
    assert WrittenAmounts(4).read(format(number, "f")) == int(number.scaleb(4))


@pytest.mark.parametrize(
    ("units", "scale", "text"),
    [
        (0, 0, "0"),
        (0, 2, "0.00"),
        (5, 2, "0.05"),
        (-123456789, 2, "-1,234,567.89"),
        (1000, 0, "1,000"),
    ],
)
def test_amounts_are_shown_with_their_decimals(units: int, scale: int, text: str) -> None:
    """Grouped for people, always with all decimals."""
    assert format_amount(units, scale, group=True) == text
