"""Running totals along groups: what the amounts of a group add up to, after each of them.

A total is a u128 in two columns, modulo 2**128, so that amounts may be taken away as well. Hardly
any needs its high word; where none does, the column of high words is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.projections.state.u128 import Words

Numbers = npt.NDArray[np.int64]

_NARROW: Final = 2**64
_32: Final = np.uint64(32)
_LOW_32: Final = np.uint64(2**32 - 1)
EMPTY: Final = np.zeros(0, np.uint64)


class Totals(NamedTuple):
    """One total for each value of some groups."""

    low: Words
    """``u64[n]``."""
    high: Words
    """``u64[n]``, or ``u64[0]`` if all are zero."""

    def part(self, chosen: slice | Numbers) -> Totals:
        """The totals of some of the values."""
        return Totals(self.low[chosen], self.high[chosen] if len(self.high) else self.high)

    def after(self, start: int, counts: Numbers) -> Totals:
        """The totals after each of ``counts`` values of the group that begins at ``start``."""
        found = self.part(start + np.maximum(counts, 1) - 1)
        there = counts > 0
        return Totals(found.low * there, found.high * there if len(found.high) else EMPTY)

    def integers(self) -> list[int]:
        """The totals as Python integers."""
        return [
            low | high << 64
            for low, high in zip(self.low.tolist(), self.filled().tolist(), strict=True)
        ]

    def plus(self, other: Totals) -> Totals:
        """Sums, one by one."""
        low = self.low + other.low
        carry = low < other.low
        if not len(self.high) and not len(other.high) and not carry.any():
            return Totals(low, EMPTY)
        return Totals(low, self.filled() + other.filled() + carry)

    def minus(self, other: Totals) -> Totals:
        """Differences, one by one."""
        low = self.low - other.low
        borrow = self.low < other.low
        if not len(self.high) and not len(other.high) and not borrow.any():
            return Totals(low, EMPTY)
        return Totals(low, self.filled() - other.filled() - borrow)

    def filled(self) -> Words:
        """The high words, zeros too."""
        return self.high if len(self.high) else np.zeros(len(self.low), np.uint64)

    def repeat(self, counts: Numbers) -> Totals:
        return Totals(np.repeat(self.low, counts), np.repeat(self.high, counts[: len(self.high)]))


def running_totals(amounts: Totals, ends: Numbers) -> Totals:
    """What groups, which end before ``ends``, add up to after each of their amounts."""
    low, high = amounts
    if not len(low):
        return Totals(EMPTY, EMPTY)
    if not high.any() and int(low.max()) * len(low) < _NARROW:
        return Totals(_from_start_of_group(low, ends), EMPTY)
    carry = np.zeros(len(low), np.uint64)
    words = []
    for word in (low, amounts.filled()):
        # Sums of 32-bit limbs fit in 64 bits: no group has 2**32 amounts.
        lower = _from_start_of_group(word & _LOW_32, ends) + carry
        upper = _from_start_of_group(word >> _32, ends) + (lower >> _32)
        words.append(lower & _LOW_32 | upper << _32)
        carry = upper >> _32
    return Totals(words[0], words[1] if words[1].any() else EMPTY)


def zeros(count: int) -> Totals:
    return Totals(np.zeros(count, np.uint64), EMPTY)


def join(parts: Sequence[Totals]) -> Totals:
    """The totals of all parts, one after another."""
    is_wide = any(len(part.high) for part in parts)
    return Totals(
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.filled() for part in parts]) if is_wide else EMPTY,
    )


def need_high_words(parts: Sequence[Totals]) -> bool:
    """Whether totals of groups that are put together may not fit in the low words."""
    return (
        any(len(part.high) for part in parts)
        or sum(int(part.low.max(initial=0)) for part in parts) >= _NARROW
    )


def _from_start_of_group(amounts: Words, ends: Numbers) -> Words:
    """Running sums, modulo 2**64."""
    sums = np.cumsum(amounts)
    before = np.zeros(len(ends), np.uint64)
    before[1:] = sums[ends[:-1] - 1]
    sums -= np.repeat(before, np.diff(ends, prepend=0))
    return sums
