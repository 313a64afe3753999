"""Every account with its balances: one table of 128-byte rows, and where each id stands in it."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from journal.codec import Rows
from journal.model import ACCOUNT, ROW_BYTES
from journal.rows import columns, field_ints, u128_words
from projections.rules import AccountRow, AccountState
from projections.u128 import Words, add_at

WORDS: Final = ROW_BYTES // 8
DEBITS_POSTED: Final = 4
CREDITS_POSTED: Final = 8
"""Where a row, seen as ``u64[16]``, holds the u128 balances that are posted to."""

_STATE: Final = struct.Struct("<16x8Q32xI2xHQ")
"""Of a row: the four balances, ledger, flags and timestamp."""
_TIMESTAMP: Final = 15
_CAPACITY_MIN: Final = 1024


class Accounts:
    """Rows in order of creation. Row numbers, called slots, never change."""

    def __init__(self) -> None:
        self._hold(np.zeros(_CAPACITY_MIN, ACCOUNT))
        self.count = 0
        self.slots: dict[int, int] = {}

    @property
    def rows(self) -> Rows:
        """``ACCOUNT[count]``, a view."""
        return self._table[: self.count]

    @property
    def words(self) -> Words:
        """The same rows as ``u64[count, 16]``, a view."""
        return self.rows.view(np.uint64).reshape(-1, WORDS)

    @property
    def timestamp_max(self) -> int:
        """When the newest account was created, ns; accounts are in order of time."""
        return int(self._table["timestamp"][self.count - 1]) if self.count else 0

    def has_timestamp(self, timestamp: int) -> bool:
        """Whether an account was created at exactly that time."""
        at = bisect_left(range(self.count), timestamp, key=self._timestamp)
        return at < self.count and self._timestamp(at) == timestamp

    def add(self, rows: Rows) -> None:
        """Append ``ACCOUNT[n]``, balances included, none of which is there yet."""
        count = self.count + len(rows)
        if count > len(self._table):
            grown = np.zeros(max(count, 2 * len(self._table)), ACCOUNT)
            grown[: self.count] = self.rows
            self._hold(grown)
        self._table[self.count : count] = rows
        first, self.count = self.count, count
        # Last: whoever finds a slot, in whatever thread, finds its row too.
        self.slots.update(zip(field_ints(rows["id"]), range(first, count), strict=True))

    def state(self, slot: int) -> AccountState:
        """A copy of what the rules need to know of one account."""
        dp0, dp1, do0, do1, cp0, cp1, co0, co1, ledger, flags, timestamp = _STATE.unpack_from(
            self._bytes, slot * ROW_BYTES
        )
        return AccountState(
            slot, ledger, flags, timestamp,
            dp0 | dp1 << 64, do0 | do1 << 64, cp0 | cp1 << 64, co0 | co1 << 64,
        )  # fmt: skip

    def row(self, slot: int) -> AccountRow:
        return next(AccountRow._make(values) for values in columns(self._table[slot : slot + 1]))

    def slots_of(self, ids: Words) -> npt.NDArray[np.int64]:
        """``i64[n]`` of ``u64[n, 2]``. All of them must exist."""
        return np.fromiter(
            map(self.slots.__getitem__, field_ints(ids)), dtype=np.int64, count=len(ids)
        )

    def find(self, ids: Iterable[int]) -> Rows:
        """Copies of the rows of those ids that exist, in the order asked for."""
        found = [slot for slot in map(self.slots.get, ids) if slot is not None]
        return self._table[found]

    def post(self, debit_slots: npt.NDArray[np.int64], credit_slots: npt.NDArray[np.int64],
             amounts: Words) -> None:  # fmt: skip
        """Add ``amounts`` (``u64[n, 2]``) to debits_posted and credits_posted."""
        words = self.words
        add_at(words, DEBITS_POSTED, debit_slots, amounts)
        add_at(words, CREDITS_POSTED, credit_slots, amounts)

    def post_one(self, debit_account_id: int, credit_account_id: int, amount: int) -> None:
        """Add one amount; for a few transfers this is faster than columns are."""
        self._add(self.slots[debit_account_id] * WORDS + DEBITS_POSTED, amount)
        self._add(self.slots[credit_account_id] * WORDS + CREDITS_POSTED, amount)

    def _timestamp(self, slot: int) -> int:
        return self._flat[slot * WORDS + _TIMESTAMP]

    def _add(self, at: int, amount: int) -> None:
        flat = self._flat
        sum_ = (flat[at] | flat[at + 1] << 64) + amount
        flat[at], flat[at + 1] = u128_words(sum_)

    def _hold(self, table: Rows) -> None:
        self._table: Rows = table
        # Reading one word through a memoryview takes 24 ns, through numpy's indexing 46 to 85.
        self._flat = table.view(np.uint64).data
        self._bytes = table.view(np.uint8).data
