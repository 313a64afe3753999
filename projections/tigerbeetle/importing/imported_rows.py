"""What a cluster's rows look like in a journal: as they are, imported with their times.

The opposite of :mod:`translation`, in the same way: the imported flag is
set and timeouts become 0, which imported transfers must have. When a timeout ended, the pending
transfer is voided, at the time the cluster says, with the id that a mirror would give to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

import numpy as np

from nostro.journal.model import TRANSFER, Rows
from nostro.journal.rows import u128_words
from nostro.projections.rules.values import CLOSED
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import (
    IMPORTED_ACCOUNT,
    IMPORTED_TRANSFER,
    LINKED,
    VOID,
    expiry_id,
)

_BALANCES: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")


def adopted_accounts(rows: Rows, has_transfers: Callable[[int], bool]) -> Rows:
    """``ACCOUNT[n]`` as they were created.

    Args:
        rows: as the cluster has them now.
        has_transfers: whether a transfer names an account. What closes it is one; an account that
            was created closed can never have any.
    """
    rows = rows.copy()
    rows["flags"] |= IMPORTED_ACCOUNT
    for name in _BALANCES:
        rows[name] = 0
    for at in np.flatnonzero(rows["flags"] & CLOSED).tolist():
        if has_transfers(ids_of(rows[at : at + 1])[0]):
            rows["flags"][at] ^= CLOSED
    return rows


def adopted_transfers(rows: Rows) -> Rows:
    """``TRANSFER[n]``."""
    rows = rows.copy()
    rows["flags"] |= IMPORTED_TRANSFER
    rows["timeout"] = 0
    return rows


def expiry_voids(expiries: Iterable[tuple[int, int]]) -> Rows:
    """``TRANSFER[n]`` that void pending ones, of (id, when it expired in ns)."""
    found = list(expiries)
    rows = np.zeros(len(found), TRANSFER)
    for row, (id_, timestamp) in zip(rows, found, strict=True):
        row["id"] = u128_words(expiry_id(id_))
        row["pending_id"] = u128_words(id_)
        row["flags"] = VOID | IMPORTED_TRANSFER
        row["timestamp"] = timestamp
    return rows


def whole_chains(rows: Rows) -> int:
    """So many of the rows, from the first, end with the end of a chain or with none."""
    ends = np.flatnonzero(rows["flags"] & LINKED == 0)
    return int(ends[-1]) + 1 if len(ends) else 0


def free_time(wanted: int, taken: Collection[int]) -> int:
    """The first ns from ``wanted`` on at which nothing has happened."""
    while wanted in taken:
        wanted += 1
    return wanted
