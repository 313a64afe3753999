"""Amounts between text and the integer minor units that the journal holds, exactly.

Nothing here touches a float: ``12.30`` with a scale of 2 is the integer 1230. Files write amounts
with marks, currencies and signs of many countries; they are never guessed, and nothing is read that
has two meanings. Without a group mark ``3.000`` may be three or three thousand, so it is refused. A
power of ten is refused, because a spreadsheet that writes ``1.2E+06`` has dropped digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from nostro.journal import AMOUNT_MAX

SCALE_MAX: Final = 38
"""More decimals than this could not hold a single whole unit in 128 bits."""

_SIGNS: Final = "+\\-\u2212"
_SPACES: Final = " \u00a0\u202f"
_APOSTROPHES: Final = "'\u2019"
_DIGITS_MAX: Final = 200
_GROUP: Final = 3


@attrs.frozen
class AmountError(ValueError):
    """Text that is no amount: ``reason`` is the kind of fault, ``text`` what was read."""

    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.text!r}"


class WrittenAmounts:
    """Reads the amounts of one column into signed minor units, and writes them in one way."""

    def __init__(
        self,
        scale: int,
        *,
        decimal_mark: str = ".",
        group_mark: str = "",
        currency: Iterable[str] = (),
        positive: Iterable[str] = (),
        negative: Iterable[str] = (),
    ) -> None:
        """Say how amounts look.

        Args:
            group_mark: the mark between each three digits; a space means any kind of space.
            currency: texts that may stand before or after the number.
            positive, negative: patterns with ``#`` for the number, for example ``(#)``.
        """
        self._scale = scale
        self._decimal_mark = decimal_mark
        self._group_mark = group_mark
        self._pattern = _pattern(decimal_mark, group_mark, tuple(currency))
        self._shapes = [
            (before, after, sign)
            for sign, shapes in ((1, positive), (-1, negative))
            for before, _, after in (shape.partition("#") for shape in shapes)
        ]

    def read(self, text: str) -> int:
        """Return the minor units.

        Raises:
            AmountError: empty, not written as described, ambiguous, beyond 128 bits, or more
                decimals than the scale.
        """
        text = text.strip()
        match = self._pattern.fullmatch(text)
        sign = 1
        if match is None:
            match, sign = self._shaped(text)
        outer, inner, whole, part = match.group("sign", "inner", "whole", "part")
        part, signs = part or "", outer + inner
        if not text:
            raise AmountError("amount is empty", text)
        if not whole + part or len(signs) > 1:
            raise AmountError("amount is not a number", text)
        for mark in self._group_mark and set(whole) - set("0123456789"):
            whole = whole.replace(mark, "")
        if len(whole) + len(part) > _DIGITS_MAX:
            raise AmountError("amount is beyond 128 bits", text)
        self._check_decimals(whole, part, text)
        scale = self._scale
        units = int(whole + part[:scale].ljust(scale, "0") or "0")
        if units > AMOUNT_MAX:
            raise AmountError("amount is beyond 128 bits", text)
        return units if (sign < 0) == (signs not in ("", "+")) else -units

    def write(self, units: int) -> str:
        """Return the amount in this column's own marks, with all decimals."""
        whole, part = divmod(abs(units), 10**self._scale)
        text = f"{whole:,}".replace(",", self._group_mark)
        sign = "-" if units < 0 else ""
        return (
            f"{sign}{text}{self._decimal_mark}{part:0{self._scale}d}"
            if self._scale
            else sign + text
        )

    def _check_decimals(self, whole: str, part: str, text: str) -> None:
        extra = part[self._scale :]
        if extra.strip("0"):
            raise AmountError(f"amount has more than {self._scale} decimals", text)
        looks_grouped = len(part) == _GROUP and 0 < len(whole) <= _GROUP and whole[0] != "0"
        if extra and looks_grouped and not self._group_mark:
            raise AmountError(
                "amount has two meanings, decimals or thousands: set amount.group_mark", text
            )

    def _shaped(self, text: str) -> tuple[re.Match[str], int]:
        for before, after, sign in self._shapes:
            if len(text) > len(before + after) and text.startswith(before) and text.endswith(after):
                inner = text[len(before) : len(text) - len(after)].strip()
                match = self._pattern.fullmatch(inner)
                if match is not None and not match["sign"] and not match["inner"]:
                    return match, sign
        if text.lstrip("+-").lower() in {"nan", "snan", "inf", "infinity"}:
            raise AmountError("amount is not a finite number", text)
        raise AmountError("amount is not a number", text)


def format_amount(units: int, scale: int, *, group: bool = False) -> str:
    """Return minor units as decimal text with exactly ``scale`` decimals.

    ``group`` puts a comma between each three digits of the whole part.
    """
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), 10**scale)
    text = f"{sign}{whole:,}" if group else f"{sign}{whole}"
    return f"{text}.{part:0{scale}d}" if scale else text


def _pattern(decimal_mark: str, group_mark: str, currency: tuple[str, ...]) -> re.Pattern[str]:
    mark = re.escape(decimal_mark)
    alike = next((marks for marks in (_SPACES, _APOSTROPHES) if group_mark in marks), group_mark)
    group = rf"[{re.escape(alike)}]"
    grouped = rf"\d{{1,3}}(?:{group}\d{{3}})+|" if group_mark else ""
    names = "|".join(re.escape(name) for name in sorted(currency, key=len, reverse=True))
    before = rf"(?:(?:{names})[{_SPACES}]?)?" if currency else ""
    after = rf"(?:[{_SPACES}]?(?:{names}))?" if currency else ""
    return re.compile(
        rf"(?P<sign>[{_SIGNS}]?){before}(?P<inner>[{_SIGNS}]?)"
        rf"(?P<whole>{grouped}\d*)(?:{mark}(?P<part>\d*))?{after}",
        re.ASCII,
    )
