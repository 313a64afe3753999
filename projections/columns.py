"""Deciding a batch of plain transfers by columns, when every one of them is sure to succeed.

The rules in :mod:`projections.rules` are the only source of truth. This is a shortcut for batches
of which columns can show that the rules would say CREATED throughout: no flags, ids that are new
because they are larger than any before, existing accounts of one ledger without limits, and
amounts far from any overflow. An imported batch qualifies if its times rise as they must.
Everything else is left to the rules. A test feeds both paths the same batches and demands the same
results, journal bytes and state.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from journal.codec import CREATED, Rows
from journal.model import AMOUNT_MAX, CREATE_RESULT, TransferFlags
from journal.rows import columns, copy_rows
from projections.accounts import CREDITS_POSTED, DEBITS_POSTED, Accounts
from projections.decision import Decision
from projections.frontier import Draft, Frontier
from projections.rules import CLOSED, CREDITS_LIMITED, DEBITS_LIMITED, TransferRow
from projections.u128 import Words

Slots = npt.NDArray[np.int64]

ROWS_MIN: Final = 64
"""Below this the rules, one by one, are as fast."""

_NOT_IMPORTED: Final = np.uint16(0xFFFF & ~int(TransferFlags.IMPORTED))  # ~ of a flag has 9 bits
_RESTRICTED: Final = np.uint16(DEBITS_LIMITED | CREDITS_LIMITED | CLOSED)
_HIGH_WORD_SAFE: Final = np.uint64(2**62)
"""A balance with a smaller high word cannot overflow, whatever 64-bit amounts are in flight."""


class PlainDraft(Draft):
    """The effects of a batch decided by columns, worked out only if somebody must see them."""

    def __init__(self, frontier: Frontier, rows: Rows) -> None:
        super().__init__(frontier)
        self._rows = rows
        self.transfers_timestamp = int(rows["timestamp"][-1])

    @property
    def id_max(self) -> int:
        low, high = self._rows["id"][:, 0], self._rows["id"][:, 1]
        greatest = high.max()
        return int(greatest) << 64 | int(low[high == greatest].max())

    def prepare(self) -> None:
        for row in map(TransferRow._make, columns(self._rows)):
            self.post(row)


def decide_plain(rows: Rows, frontier: Frontier, *, timestamp_first: int) -> Decision | None:
    """The decision on ``TRANSFER[n]`` if all of it is sure to be created, else None."""
    if len(rows) < ROWS_MIN or not _is_plain(rows) or not _has_new_ids(rows["id"], frontier.id_max):
        return None
    if frontier.unusual:  # the table does not show yet what those do to an account
        return None
    slots = _slots(rows, frontier.table)
    if slots is None or not _accounts_allow(rows, frontier.table, *slots):
        return None
    timestamps = np.arange(timestamp_first, timestamp_first + len(rows), dtype=np.uint64)
    if rows["flags"].any():
        if not _import_allows(rows, frontier, *slots, timestamp_batch=int(timestamps[-1])):
            return None
        timestamps = rows["timestamp"]
    elif rows["timestamp"].any():
        return None
    happened = copy_rows(rows)
    happened["timestamp"] = timestamps
    results = np.zeros(len(rows), CREATE_RESULT)
    results["timestamp"] = timestamps
    results["status"] = CREATED
    return Decision(results, happened, None, int(timestamps[0]), int(timestamps[-1]))


def _is_plain(rows: Rows) -> bool:
    return not (
        np.any(rows["flags"] & _NOT_IMPORTED)
        or rows["timeout"].any()
        or rows["pending_id"].any()
        or rows["amount"][:, 1].any()
        or not rows["ledger"].all()
        or not rows["code"].all()
    )


def _has_new_ids(ids: Words, id_max: int) -> bool:
    """Whether all ids differ and are larger than any the ledger has seen."""
    low, high = ids[:, 0], ids[:, 1]
    if not _increase(low, high):
        order = np.lexsort((low, high))
        low, high = low[order], high[order]
        if not _increase(low, high):
            return False
    least = int(high[0]) << 64 | int(low[0])
    greatest = int(high[-1]) << 64 | int(low[-1])
    return least > id_max and greatest < AMOUNT_MAX


def _increase(low: Words, high: Words) -> bool:
    rises = high[1:] > high[:-1]
    rises |= (high[1:] == high[:-1]) & (low[1:] > low[:-1])
    return bool(rises.all())


def _slots(rows: Rows, accounts: Accounts) -> tuple[Slots, Slots] | None:
    """The slots of debit and credit accounts, if all of them exist."""
    try:
        return (
            accounts.slots_of(rows["debit_account_id"]),
            accounts.slots_of(rows["credit_account_id"]),
        )
    except KeyError:
        return None


def _import_allows(
    rows: Rows, frontier: Frontier, debit: Slots, credit: Slots, *, timestamp_batch: int
) -> bool:
    """Whether all rows are imported, at times that rise and suit their accounts.

    They must be later than the last transfer and than both accounts, and none an account's own.
    """
    times = rows["timestamp"]
    accounts = frontier.table.rows["timestamp"]
    return not (
        not rows["flags"].all()
        or int(times[0]) <= frontier.transfers_timestamp_max
        or int(times[-1]) >= timestamp_batch
        or np.any(times[1:] <= times[:-1])
        or np.any(times <= accounts[debit])
        or np.any(times <= accounts[credit])
        or frontier.accounts_timestamp_max != int(accounts[-1])  # one is in flight
        or np.any(accounts[np.searchsorted(accounts, times).clip(max=len(accounts) - 1)] == times)
    )


def _accounts_allow(rows: Rows, accounts: Accounts, debit: Slots, credit: Slots) -> bool:
    """Whether both accounts of every row differ, are of its ledger and have no limits."""
    return not np.any(debit == credit) and all(
        _side_allows(rows, accounts, slots, balance)
        for slots, balance in ((debit, DEBITS_POSTED), (credit, CREDITS_POSTED))
    )


def _side_allows(rows: Rows, accounts: Accounts, slots: Slots, balance: int) -> bool:
    table, words = accounts.rows, accounts.words
    return not (
        np.any(table["flags"][slots] & _RESTRICTED)
        or np.any(table["ledger"][slots] != rows["ledger"])
        or np.any(words[slots, balance + 1] >= _HIGH_WORD_SAFE)
        or np.any(words[slots, balance - 1] >= _HIGH_WORD_SAFE)
    )
