"""Adding 128-bit amounts in columns. numpy has no integer wider than 64 bits."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_LOW_32: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)


def add_at(words: Words, column: int, slots: npt.NDArray[np.int64], amounts: Words) -> bool:
    """Add ``amounts[i]`` to the u128 at ``words[slots[i], column]``, repeated slots included.

    Whether it is known that no high word has changed.

    Args:
        words: ``u64[n, w]``, changed in place; a u128 is two neighbouring words, low word first.
        slots: ``i64[m]``, m at most 2**31.
        amounts: ``u64[m, 2]``, low word first.

    Sums are modulo 2**128; the rules refuse a transfer that would exceed it, so only
    :func:`negative` amounts make use of that.
    """
    if _stays_narrow(words, column, slots, amounts):
        np.add.at(words[:, column], slots, amounts[:, 0])
        return True
    touched, place = np.unique(slots, return_inverse=True)
    sums = [_sum_limb(amounts, limb, place, len(touched)) for limb in range(4)]
    carry = np.zeros(len(touched), np.uint64)
    for word in range(2):
        base = words[touched, column + word]
        low = (base & _LOW_32) + sums[2 * word] + carry
        high = (base >> _32) + sums[2 * word + 1] + (low >> _32)
        words[touched, column + word] = (low & _LOW_32) | (high << _32)
        carry = high >> _32
    return False


def _stays_narrow(words: Words, column: int, slots: npt.NDArray[np.int64], amounts: Words) -> bool:
    """Whether all of it fits in the low words, whatever comes together."""
    return bool(
        len(slots)
        and not amounts[:, 1].any()
        and int(words[slots, column].max()) + len(slots) * int(amounts[:, 0].max()) < 2**64
    )


def negative(amounts: Words) -> Words:
    """``u64[n, 2]`` to add instead of taking ``amounts`` away: 2**128 less each of them."""
    inverted = ~amounts
    inverted[:, 0] += np.uint64(1)
    inverted[:, 1] += inverted[:, 0] == 0
    return inverted


def _sum_limb(amounts: Words, limb: int, place: npt.NDArray[np.intp], count: int) -> Words:
    """``u64[count]``: 32-bit limb number ``limb`` of the amounts, summed by place."""
    values = amounts[:, limb // 2]
    values = values >> _32 if limb % 2 else values & _LOW_32
    sums = np.zeros(count, np.uint64)
    if values.any():
        np.add.at(sums, place, values)
    return sums
