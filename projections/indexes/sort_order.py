"""The order that sorts keys, found in less time than numpy's sort of 64-bit numbers takes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Order = npt.NDArray[np.int64]

_DIGIT_BITS: Final = 16
"""numpy sorts numbers of 16 bits by counting: 10 ns each, where 64 bits take 100."""
_DIGITS_PAY: Final = 2


def stable_order(keys: Keys) -> Order:
    """What ``np.argsort(keys, kind="stable")`` gives; keys close to one another are faster."""
    if not len(keys):
        return np.zeros(0, np.int64)
    least = keys.min()
    width = int(keys.max() - least).bit_length()
    if width > _DIGITS_PAY * _DIGIT_BITS:
        return np.argsort(keys, kind="stable")
    relative = keys - least
    order = np.argsort(relative.astype(np.uint16), kind="stable")
    if width > _DIGIT_BITS:
        digit = (relative >> np.uint64(_DIGIT_BITS)).astype(np.uint16)[order]
        order = order[np.argsort(digit, kind="stable")]
    return order


def order_of_pairs(high: Keys, low: Keys) -> Order:
    """What sorts by ``high`` and then ``low``; quick if the pairs are a few sorted stretches."""
    is_next = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] >= low[:-1]))
    if is_next.all():
        return np.arange(len(high))
    order: Order = np.argsort(high, kind="stable")
    rising = high[order]
    ties = np.zeros(len(rising), np.bool_)
    ties[1:] = rising[1:] == rising[:-1]
    ties[:-1] |= ties[1:]
    places = np.flatnonzero(ties)
    if len(places):
        tied = order[places]
        order[places] = tied[np.lexsort((low[tied], high[tied]))]
    return order
