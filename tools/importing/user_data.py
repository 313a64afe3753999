"""Cells that a transfer carries along in its user_data fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nostro.tools.importing.errors import RowRefused
from nostro.tools.importing.ids import derived_id
from nostro.tools.importing.mapping import UserDataRule

_DIGITS_MAX: Final = 39  # of 2**128


def user_data_reader(
    namespace: str, rule: UserDataRule | None, bits: int, at: dict[str, int]
) -> Callable[[list[str]], int]:
    """Return what reads the number out of a row's cells; 0 where there is no rule, or no text.

    The returned function raises RowRefused where the cell does not fit the field.
    """
    if rule is None:
        return lambda _: 0
    index, name = at[rule.column], rule.column
    if rule.as_ == "hash":
        return lambda cells: (
            derived_id(namespace, "data", cells[index], bits=bits) if cells[index] else 0
        )
    read = _integer_data if rule.as_ == "integer" else _text_data
    return lambda cells: read(cells[index], name, bits)


def _integer_data(text: str, column: str, bits: int) -> int:
    if not text:
        return 0
    digits = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
    if not digits or int(text) >> bits:
        raise RowRefused(f"user data is not an integer of {bits} bits", f"{column}={text!r}")
    return int(text)


def _text_data(text: str, column: str, bits: int) -> int:
    data = text.encode()
    if len(data) * 8 > bits:
        raise RowRefused(f"user data is longer than {bits // 8} bytes", f"{column}={text!r}")
    return int.from_bytes(data, "big")
