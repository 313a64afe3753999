"""Which ids are surely not in a run: a Bloom filter of twelve bits an id, a column at a time.

All bits of an id are in one word, so that asking takes one look into memory; of ids that are not in
it about one in thirty seems to be.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nostro.projections.state.u128 import Words

Filter = npt.NDArray[np.uint64]

_BITS_PER_ID: Final = 12
_MULTIPLIERS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Part of the format: what is on disk was made with them."""
_PIECE: Final = 1 << 15
"""So many ids at a time: what is made of them stays in a processor's cache."""
_32: Final = np.uint64(32)
_63: Final = np.uint64(63)
_ONE: Final = np.uint64(1)


def words_for(count: int) -> int:
    """How many words the filter of so many ids has."""
    return -(-count * _BITS_PER_ID // 64)


def add(filter_: Filter, low: Words, high: Words) -> None:
    """Put ids into it, given as the columns of their words."""
    for start in range(0, len(low), _PIECE):
        part = slice(start, start + _PIECE)
        index, bits = _place(filter_, low[part], high[part])
        np.bitwise_or.at(filter_, index, bits)


def may_hold(filter_: Filter, low: Words, high: Words) -> npt.NDArray[np.bool_]:
    """For each id whether it may have been added; True for all that were."""
    if not len(filter_):
        return np.zeros(len(low), np.bool_)
    index, bits = _place(filter_, low, high)
    held: npt.NDArray[np.bool_] = (filter_[index] & bits) == bits
    return held


def _place(
    filter_: Filter, low: Words, high: Words
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """The word of each id, and its bits there."""
    mixed = low * np.uint64(_MULTIPLIERS[0])
    mixed ^= mixed >> _32
    mixed ^= high
    mixed *= np.uint64(_MULTIPLIERS[1])
    mixed ^= mixed >> _32
    mixed *= np.uint64(_MULTIPLIERS[2])
    mixed ^= mixed >> _32
    index = ((mixed >> _32) * np.uint64(len(filter_))) >> _32
    bits = _ONE << (mixed & _63)
    for shift in (6, 12, 18):
        bits |= _ONE << (mixed >> np.uint64(shift) & _63)
    return index.view(np.int64), bits
