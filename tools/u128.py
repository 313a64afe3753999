"""128-bit columns of the row layouts, made of Python integers and compared with one.

A u128 column is ``u64[n, 2]``, low word first; see :data:`nostro.ACCOUNT`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_MASK_64 = 2**64 - 1


def u128_column(values: Iterable[int]) -> Words:
    """Return integers below 2**128 as ``u64[n, 2]``."""
    packed = b"".join([value.to_bytes(16, "little") for value in values])
    return np.frombuffer(packed, "<u8").reshape(-1, 2)


def u128_equal(column: Words, value: int) -> npt.NDArray[np.bool_]:
    """Return ``bool[n]``: where the column holds ``value``."""
    low, high = np.uint64(value & _MASK_64), np.uint64(value >> 64)
    equal: npt.NDArray[np.bool_] = (column[:, 0] == low) & (column[:, 1] == high)
    return equal
