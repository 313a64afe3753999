"""Cases that break two rules at once, made from cases that break one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import attrs
import numpy as np

from nostro.journal.model import Rows


@attrs.frozen
class Fault:
    """How a sound row must be changed for ``status`` to be its answer.

    ``flags`` are flipped, every other field is set.
    """

    status: int
    fields: dict[str, int] = attrs.field(factory=dict)
    flags: int = 0

    def goes_with(self, other: Fault) -> bool:
        """Whether both changes can be made to one row."""
        return not (self.fields.keys() & other.fields.keys() or self.flags & other.flags)


def pairs(faults: Sequence[Fault]) -> Iterator[tuple[Fault, Fault]]:
    """Every two faults that can be combined, the one of higher precedence first."""
    return ((first, then) for first, then in combinations(faults, 2) if first.goes_with(then))


def with_faults(row: Rows, *faults: Fault) -> Rows:
    """A copy of ``row`` (one row of ACCOUNT or TRANSFER) that has the faults."""
    changed = row.copy()
    for fault in faults:
        changed["flags"] ^= np.uint16(fault.flags)
        for field, value in fault.fields.items():
            if changed[field].ndim == 2:
                changed[field] = [(value & (2**64 - 1), value >> 64)]
            else:
                changed[field] = value
    return changed
