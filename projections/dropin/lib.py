"""Integers of TigerBeetle's protocol: checks of their widths, and 128-bit integers."""

from __future__ import annotations

import ctypes
from operator import index
from typing import Final, Self

__all__ = ["IntegerOverflowError", "NativeError", "c_uint128", "validate_uint"]

_MASK_64: Final = 2**64 - 1


class NativeError(Exception):
    """Never raised here: there is no native library to load."""


class IntegerOverflowError(ValueError):
    """A field is negative, or does not fit in its width."""


def validate_uint(*, bits: int, name: str, number: int) -> None:
    """Check that ``number`` is in 0 to 2**bits - 1.

    Raises:
        IntegerOverflowError: it is not.
        TypeError: it cannot be compared with an integer.
    """
    if hasattr(number, "__index__"):  # Also numpy's, which do not compare with every integer.
        number = index(number)
    if number > 2**bits - 1:
        raise IntegerOverflowError(f"{name}={number} does not fit in {bits} bits")
    if number < 0:
        raise IntegerOverflowError(f"{name}={number} is negative")


class c_uint128(ctypes.Structure):  # noqa: N801 - the original's name
    """16 bytes, low half first."""

    _fields_ = (("_low", ctypes.c_uint64), ("_high", ctypes.c_uint64))

    @classmethod
    def from_param(cls, obj: int) -> Self:
        """The value of any integer, modulo 2**128."""
        return cls(obj & _MASK_64, obj >> 64 & _MASK_64)

    def to_python(self) -> int:
        return int(self._high << 64 | self._low)
