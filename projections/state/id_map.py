"""Where each of many 128-bit ids stands in a table: id -> row number, a whole column at a time.

A hash table with linear probing that holds row numbers only; the ids themselves are in the table
it serves. Looking up 8,189 ids takes a tenth of the time a dictionary does, and an entry 8 to 16
bytes instead of about 100.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from nostro.projections.state.u128 import Words

Numbers = npt.NDArray[np.int64]

MISSING: Final = -1
ROWS_MAX: Final = 2**31 - 1
"""Row numbers are kept as 32-bit integers."""

_SIZE_MIN: Final = 2_048
_SLOTS_PER_ROW: Final = 2
_MULTIPLIERS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_MASK_64: Final = 2**64 - 1
_SEED: Final = int.from_bytes(os.urandom(8))
"""Nobody outside can choose ids that fall on one another."""


class IdMap:
    """Row numbers by id. One thread adds; any thread may look up meanwhile."""

    def __init__(self, keys: Callable[[], Words]) -> None:
        """An empty one.

        Args:
            keys: gives ``u64[rows, 2 or more]``, which begins with each row's id, low word first.
        """
        self._keys = keys
        self._count = 0
        self._slots = _empty(_SIZE_MIN)

    def add(self, count: int) -> None:
        """Take in the ids of the rows up to number ``count``, none of which is in it."""
        first, self._count = self._count, count
        slots = self._slots
        if count * _SLOTS_PER_ROW > len(slots):
            first, slots = 0, _empty(1 << (2 * count * _SLOTS_PER_ROW - 1).bit_length())
        _insert(slots, self._keys()[first:count], first)
        self._slots = slots

    def find(self, ids: Words) -> Numbers:
        """``i64[n]``: the row number of each of ``ids`` (``u64[n, 2]``), or MISSING."""
        slots = self._slots
        if not self._count:
            return np.full(len(ids), MISSING, np.int64)
        low, high = ids[:, 0], ids[:, 1]
        at = _hash(low, high, slots)
        found = slots[at].astype(np.int64)
        keys = self._keys()  # only now: a row is there before its number is
        wrong = np.flatnonzero((keys[found, 0] != low) | (keys[found, 1] != high))
        while len(wrong):
            wrong = wrong[found[wrong] != MISSING]
            at[wrong] = (at[wrong] + 1) & (len(slots) - 1)
            next_found = slots[at[wrong]].astype(np.int64)
            found[wrong] = next_found
            keys = self._keys()
            wrong = wrong[
                (keys[next_found, 0] != low[wrong]) | (keys[next_found, 1] != high[wrong])
            ]
        return found

    def find_one(self, low: int, high: int) -> int:
        """The row number of one id, given as its words, or MISSING."""
        slots = self._slots
        mixed = (low ^ _SEED) * _MULTIPLIERS[0] & _MASK_64
        mixed ^= mixed >> 32 ^ high
        mixed = (mixed ^ mixed >> 32) * _MULTIPLIERS[1] & _MASK_64
        last = len(slots) - 1
        at = mixed >> 64 - last.bit_length()
        while True:
            number = int(slots[at])
            if number == MISSING:
                return MISSING
            keys = self._keys()
            if int(keys[number, 0]) == low and int(keys[number, 1]) == high:
                return number
            at = at + 1 & last


def _empty(size: int) -> npt.NDArray[np.int32]:
    return np.full(size, MISSING, np.int32)


def _hash(low: Words, high: Words, slots: npt.NDArray[np.int32]) -> Numbers:
    """The slot where the search for each id begins."""
    mixed = low ^ np.uint64(_SEED)
    mixed *= np.uint64(_MULTIPLIERS[0])
    mixed ^= mixed >> np.uint64(32)
    mixed ^= high
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(_MULTIPLIERS[1])
    mixed >>= np.uint64(64 - (len(slots) - 1).bit_length())
    return mixed.view(np.int64)


def _insert(slots: npt.NDArray[np.int32], keys: Words, first: int) -> None:
    at = _hash(keys[:, 0], keys[:, 1], slots)
    numbers = np.arange(first, first + len(keys), dtype=np.int32)
    while len(numbers):
        free = slots[at] == MISSING
        slots[at[free]] = numbers[free]  # of several, the last
        left = slots[at] != numbers
        at, numbers = (at[left] + 1) & (len(slots) - 1), numbers[left]
