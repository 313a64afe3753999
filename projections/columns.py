"""Deciding a batch of plain transfers by columns, when every one of them is sure to succeed.

The rules in :mod:`projections.rules` are the only source of truth. This is a shortcut for batches
of which columns can show that the rules would say CREATED throughout: no flags, ids that are new
because they are larger than any before, existing accounts of one ledger without limits, and
amounts far from any overflow. Everything else is left to the rules. A test feeds both paths the
same batches and demands the same results, journal bytes and state.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from journal.codec import CREATED, Rows
from journal.model import AMOUNT_MAX, CREATE_RESULT
from journal.rows import columns
from projections.accounts import CREDITS_POSTED, DEBITS_POSTED, Accounts
from projections.decision import Decision
from projections.frontier import Draft, Frontier
from projections.rules import CLOSED, CREDITS_LIMITED, DEBITS_LIMITED, TransferRow
from projections.u128 import Words

ROWS_MIN: Final = 64
"""Below this the rules, one by one, are as fast."""

_RESTRICTED: Final = np.uint16(DEBITS_LIMITED | CREDITS_LIMITED | CLOSED)
_HIGH_WORD_SAFE: Final = np.uint64(2**62)
"""A balance whose high word is below this cannot overflow, whatever batches are in flight."""


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
            self.account(row.debit_account_id)
            self.account(row.credit_account_id)
            self.post(row, row.timestamp)


def decide_plain(rows: Rows, frontier: Frontier, *, timestamp_first: int) -> Decision | None:
    """The decision on ``TRANSFER[n]`` if all of it is sure to be created, else None."""
    if len(rows) < ROWS_MIN or not _is_plain(rows) or not _has_new_ids(rows["id"], frontier.id_max):
        return None
    if not _accounts_allow(rows, frontier.table):
        return None
    last = timestamp_first + len(rows) - 1
    happened = rows.copy()
    happened["timestamp"] = np.arange(timestamp_first, last + 1, dtype=np.uint64)
    results = np.zeros(len(rows), CREATE_RESULT)
    results["timestamp"] = happened["timestamp"]
    results["status"] = CREATED
    return Decision(results, happened, None, timestamp_first, last)


def _is_plain(rows: Rows) -> bool:
    return not (
        rows["flags"].any()
        or rows["timestamp"].any()
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


def _accounts_allow(rows: Rows, accounts: Accounts) -> bool:
    """Whether both accounts of every row exist, differ, are of its ledger and have no limits."""
    try:
        debit = accounts.slots_of(rows["debit_account_id"])
        credit = accounts.slots_of(rows["credit_account_id"])
    except KeyError:
        return False
    return not np.any(debit == credit) and all(
        _side_allows(rows, accounts, slots, balance)
        for slots, balance in ((debit, DEBITS_POSTED), (credit, CREDITS_POSTED))
    )


def _side_allows(
    rows: Rows, accounts: Accounts, slots: npt.NDArray[np.int64], balance: int
) -> bool:
    table, words = accounts.rows, accounts.words
    return not (
        np.any(table["flags"][slots] & _RESTRICTED)
        or np.any(table["ledger"][slots] != rows["ledger"])
        or np.any(words[slots, balance + 1] >= _HIGH_WORD_SAFE)
        or np.any(words[slots, balance - 1] >= _HIGH_WORD_SAFE)
    )
