"""Deciding plain transfers, when every one of them is sure to succeed: the shortcut.

The rules in :mod:`projections.transfer_rules` are the only source of truth. This is a shortcut for
requests of which it is easy to show that the rules would say CREATED throughout: no flags, ids that
are new because they are larger than any before, existing accounts of one ledger without limits, and
amounts far from any overflow. Many transfers are looked at by columns, a few one by one. A large
imported batch qualifies if its times rise as they must. Everything else is left to the rules. A
test feeds both paths the same requests and demands the same results, journal bytes and state.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from journal.codec import Rows
from journal.model import AMOUNT_MAX, TRANSFER, TransferFlags
from journal.rows import WORDS_OF_ROW, columns, copy_rows, with_timestamps
from projections.accounts import (
    CREDITS_POSTED,
    DEBITS_POSTED,
    LEDGER_AND_FLAGS,
    WORDS,
    Accounts,
)
from projections.decision import Decision
from projections.frontier import Draft, Frontier
from projections.id_map import MISSING
from projections.posting import PlainColumns
from projections.rules import CLOSED, CREDITS_LIMITED, DEBITS_LIMITED, HISTORY, TransferRow
from projections.u128 import Words

Slots = npt.NDArray[np.int64]

ROWS_MIN: Final = 64
"""From so many on, columns are faster than one by one."""

_NOT_IMPORTED: Final = np.uint16(0xFFFF & ~int(TransferFlags.IMPORTED))  # ~ of a flag has 9 bits
_RESTRICTED: Final = np.uint16(DEBITS_LIMITED | CREDITS_LIMITED | CLOSED)
_LEDGER_AND_RESTRICTED: Final = (int(_RESTRICTED) | HISTORY) << 48 | 0xFFFFFFFF
"""Of the word that holds them both, a ledger, and the flags that keep an account out."""
_HIGH_WORD_SAFE: Final = np.uint64(2**62)
"""A balance with a smaller high word cannot overflow, whatever 64-bit amounts are in flight."""
_HIGH_SAFE: Final = int(_HIGH_WORD_SAFE)


class PlainDraft(Draft):
    """The effects of plain transfers, worked out only if somebody must see them."""

    def __init__(self, frontier: Frontier, decision: Decision, id_max: int) -> None:
        super().__init__(frontier)
        self._rows = decision.rows
        self._id_max = id_max
        self.transfers_timestamp = decision.timestamp_max

    @property
    def id_max(self) -> int:
        return self._id_max

    def prepare(self) -> None:
        for row in map(TransferRow._make, columns(self._rows)):
            self.post(row)


def decide_plain(
    rows: Rows, frontier: Frontier, *, timestamp_first: int
) -> tuple[Decision, PlainDraft] | None:
    """The decision on ``TRANSFER[n]`` if all of it is sure to be created, else None."""
    if frontier.unusual:  # the table does not show yet what those do to an account
        return None
    if len(rows) < ROWS_MIN:
        return _decide_few(rows, frontier, timestamp_first)
    if not _is_plain(rows):
        return None
    id_max = _greatest_of_new(rows["id"], frontier.id_max)
    slots = _slots(rows, frontier.table)
    if id_max is None or slots is None or not _accounts_allow(rows, frontier.table, *slots):
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
    decision = Decision(
        None,
        happened,
        None,
        int(timestamps[0]),
        int(timestamps[-1]),
        PlainColumns(*slots, happened["amount"]),
    )
    return decision, PlainDraft(frontier, decision, id_max)


def _decide_few(
    rows: Rows, frontier: Frontier, timestamp_first: int
) -> tuple[Decision, PlainDraft] | None:
    """The same, one by one; ids must rise, and nothing is imported."""
    slots = frontier.table.slots
    id_max = frontier.id_max
    postings: list[tuple[int, int, int]] = []
    data = rows.tobytes()
    for (
        id_low, id_high, debit_low, debit_high, credit_low, credit_high, amount, amount_high,
        pending_low, pending_high, _, _, _, _, timeout, ledger, code, flags, time,
    ) in WORDS_OF_ROW.iter_unpack(data):  # fmt: skip
        if flags or pending_low or pending_high or timeout or time or amount_high:
            return None
        id_ = id_low | id_high << 64
        debit = slots.get(debit_low | debit_high << 64)
        credit = slots.get(credit_low | credit_high << 64)
        if debit is None or credit is None or debit == credit or not id_max < id_ < AMOUNT_MAX:
            return None
        if not (ledger and code):
            return None
        words = frontier.table.flat  # after the slots: another thread may add accounts meanwhile
        for at in (debit * WORDS, credit * WORDS):
            if words[at + LEDGER_AND_FLAGS] & _LEDGER_AND_RESTRICTED != ledger:
                return None
            if max(words[at + 3], words[at + 5], words[at + 7], words[at + 9]) >= _HIGH_SAFE:
                return None
        id_max = id_
        postings.append((debit, credit, amount))
    last = timestamp_first + len(postings) - 1
    happened = with_timestamps(data, range(timestamp_first, last + 1))
    decision = Decision(
        None, np.frombuffer(happened, TRANSFER), None, timestamp_first, last, postings
    )
    return decision, PlainDraft(frontier, decision, id_max)


def _is_plain(rows: Rows) -> bool:
    return not (
        np.any(rows["flags"] & _NOT_IMPORTED)
        or rows["timeout"].any()
        or rows["pending_id"].any()
        or rows["amount"][:, 1].any()
        or not rows["ledger"].all()
        or not rows["code"].all()
    )


def _greatest_of_new(ids: Words, id_max: int) -> int | None:
    """The greatest id, if all differ and are larger than any the ledger has seen."""
    low, high = ids[:, 0], ids[:, 1]
    if not _increase(low, high):
        order = np.lexsort((low, high))
        low, high = low[order], high[order]
        if not _increase(low, high):
            return None
    least = int(high[0]) << 64 | int(low[0])
    greatest = int(high[-1]) << 64 | int(low[-1])
    return greatest if least > id_max and greatest < AMOUNT_MAX else None


def _increase(low: Words, high: Words) -> bool:
    rises = high[1:] > high[:-1]
    rises |= (high[1:] == high[:-1]) & (low[1:] > low[:-1])
    return bool(rises.all())


def _slots(rows: Rows, accounts: Accounts) -> tuple[Slots, Slots] | None:
    """The slots of debit and credit accounts, if all of them exist."""
    debit = accounts.slots_of(rows["debit_account_id"])
    credit = accounts.slots_of(rows["credit_account_id"])
    return None if min(debit.min(), credit.min()) == MISSING else (debit, credit)


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
