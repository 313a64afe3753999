"""What pending transfers reserve on each account, as rows of changes.

The ledger's state makes these rows; the reservation index stores them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from nostro.journal.rows import u128_words
from nostro.projections.state.u128 import Words

_MODULUS: Final = 2**128


class Reservations(Protocol):
    """What stores the changes."""

    def record(self, changes: Words | Sequence[tuple[int, ...]]) -> None:
        """Take in rows of :func:`change`, or columns of :func:`changes_by_columns`."""
        ...


class Quantity(enum.IntEnum):
    """What of an account changes."""

    DEBITS_PENDING = 0
    CREDITS_PENDING = 1
    CLOSED = 2
    """1 while a pending transfer keeps the account closed."""


def change_group(slot: int, quantity: Quantity, *, is_expiry: bool = False) -> int:
    """The group of an account's changes; transfers and expiries have each their own."""
    return slot << 3 | quantity << 1 | is_expiry


def change(group: int, position: int, timestamp: int, amount: int) -> tuple[int, ...]:
    """A row of changes: five u64, the amount in two of them, modulo 2**128."""
    return group, position, timestamp, *u128_words(amount % _MODULUS)


def changes_by_columns(
    slots: npt.NDArray[np.int64], quantity: Quantity, positions: Words, times: Words, amounts: Words
) -> Words:
    """``u64[5, n]``: what transfers add to one quantity; ``amounts`` are ``u64[n, 2]``."""
    changes = np.empty((5, len(slots)), np.uint64)
    changes[0] = slots.astype(np.uint64) << np.uint64(3) | np.uint64(quantity << 1)
    changes[1] = positions
    changes[2] = times
    changes[3:] = amounts.T
    return changes
