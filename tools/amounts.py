"""Amounts between decimal text and the integer minor units that the journal holds, exactly.

Nothing here ever touches a float: ``12.30`` with a scale of 2 is the integer 1230.
"""

from __future__ import annotations

import decimal
from typing import Final

import attrs

from nostro.journal import AMOUNT_MAX

SCALE_MAX: Final = 38
"""More decimals than this could not hold a single whole unit in 128 bits."""

_DIGITS_MAX: Final = 200  # far beyond u128, small enough that no text makes a huge integer
_ALLOWED: Final = frozenset("0123456789+-.eE")


@attrs.frozen
class AmountError(ValueError):
    """Text that is no amount: ``reason`` is the kind of fault, ``text`` what was read."""

    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.text!r}"


def parse_amount(text: str, scale: int) -> int:
    """Return the signed integer of minor units that ``text`` means with ``scale`` decimals.

    ``"1.5"`` is 150 at scale 2. Trailing zeros beyond the scale are no loss and are accepted.

    Raises:
        AmountError: empty, not a number, NaN or infinite, beyond 128 bits, or more decimals
            than ``scale`` can hold.
    """
    text = text.strip()
    if not text:
        raise AmountError("amount is empty", text)
    number = _number(text)
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise AmountError("amount is not a finite number", text)
    units = _units(digits, exponent + scale, text, scale)
    return -units if sign else units


def format_amount(units: int, scale: int, *, group: bool = False) -> str:
    """Return minor units as decimal text with exactly ``scale`` decimals.

    ``group`` puts a comma between each three digits of the whole part.
    """
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), 10**scale)
    text = f"{sign}{whole:,}" if group else f"{sign}{whole}"
    return f"{text}.{part:0{scale}d}" if scale else text


def _number(text: str) -> decimal.Decimal:
    # Decimal also reads "1_000" and other alphabets' digits; a ledger should not guess.
    if not _ALLOWED.issuperset(text):
        lowered = text.lstrip("+-").lower()
        if lowered in {"nan", "snan", "inf", "infinity"}:
            raise AmountError("amount is not a finite number", text)
        raise AmountError("amount is not a number", text)
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise AmountError("amount is not a number", text) from None


def _units(digits: tuple[int, ...], exponent: int, text: str, scale: int) -> int:
    if not any(digits):
        return 0
    if len(digits) > _DIGITS_MAX or exponent > _DIGITS_MAX:
        raise AmountError("amount is beyond 128 bits", text)
    value = int("".join(map(str, digits)))
    power: int = 10 ** min(abs(exponent), _DIGITS_MAX + 1)
    units, rest = (value * power, 0) if exponent >= 0 else divmod(value, power)
    if rest:
        raise AmountError(f"amount has more than {scale} decimals", text)
    if units > AMOUNT_MAX:
        raise AmountError("amount is beyond 128 bits", text)
    return units
