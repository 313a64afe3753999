"""Every account with its balances: one table of 128-byte rows, and where each id stands in it."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import DecodeError
from nostro.journal.model import ACCOUNT, ROW_BYTES, Rows
from nostro.journal.rows import columns, field_ints
from nostro.projections.rules.values import AccountRow, AccountState
from nostro.projections.state.id_map import IdMap
from nostro.projections.state.u128 import Words, add_at, negative

WORDS: Final = ROW_BYTES // 8
DEBITS_PENDING: Final = 2
DEBITS_POSTED: Final = 4
CREDITS_PENDING: Final = 6
CREDITS_POSTED: Final = 8
"""Where a row, seen as ``u64[16]``, holds its u128 balances."""

HIGH_WORDS: Final = (3, 5, 7, 9)
"""The high words of the four."""

_STATE: Final = struct.Struct("<16x8Q32xI2xHQ")
"""Of a row: the four balances, ledger, flags and timestamp."""
_BALANCES: Final = struct.Struct("<8Q")
_BALANCES_AT: Final = 16
_FLAGS: Final = struct.Struct("<H")
_FLAGS_AT: Final = 118
LEDGER_AND_FLAGS: Final = 14
"""Where it holds ledger, code and flags, the ledger lowest, the flags highest."""
_TIMESTAMP: Final = 15
_LOW: Final = 2**64 - 1
_CAPACITY_MIN: Final = 1024


class Accounts:
    """Rows in order of creation. Row numbers, called slots, never change."""

    def __init__(self) -> None:
        self._hold(np.zeros(_CAPACITY_MIN, ACCOUNT))
        self.count = 0
        self.slots: dict[int, int] = {}
        self._map = IdMap(lambda: self._words)
        self.high_max = 0
        """No high word of a balance is greater, or ever was."""
        self._stretches = array("Q"), array("Q")
        """Where accounts stand that follow on one another in the journal: the position and the slot
        of the first of each stretch."""

    @property
    def rows(self) -> Rows:
        """``ACCOUNT[count]``, a view."""
        return self._table[: self.count]

    @property
    def words(self) -> Words:
        """The same rows as ``u64[count, 16]``, a view."""
        return self._words[: self.count]

    @property
    def timestamp_max(self) -> int:
        """When the newest account was created, ns; accounts are in order of time."""
        return int(self._table["timestamp"][self.count - 1]) if self.count else 0

    def has_timestamp(self, timestamp: int) -> bool:
        """Whether an account was created at exactly that time."""
        at = bisect_left(range(self.count), timestamp, key=self._timestamp)
        return at < self.count and self._timestamp(at) == timestamp

    def count_at(self, position: int) -> int:
        """How many there were after the event at ``position``."""
        positions, slots = self._stretches
        at = bisect_right(positions, position)
        if not at:
            return 0
        end = slots[at] if at < len(slots) else self.count
        return min(slots[at - 1] + position - positions[at - 1] + 1, end)

    def dump(self) -> dict[str, bytes]:
        """Everything, as CBOR can carry it."""
        return {
            "rows": self.rows.tobytes(),
            "positions": np.array(self._stretches, "<u8").T.tobytes(),
        }

    @classmethod
    def load(cls, dump: dict[str, bytes]) -> Accounts:
        """What :meth:`dump` gave.

        Raises:
            DecodeError: it is malformed.
        """
        rows, stretches = dump["rows"], dump["positions"]
        if len(dump) != 2 or len(rows) % ROW_BYTES or len(stretches) % 16:
            raise DecodeError("the accounts of a checkpoint are cut short")
        positions, slots = np.frombuffer(stretches, "<u8").reshape(-1, 2).T
        accounts = cls()
        accounts._append(np.frombuffer(rows, ACCOUNT))
        rise = all(bool(np.all(part[1:] > part[:-1])) for part in (positions, slots))
        if (
            not rise
            or slots.tolist()[:1] != [0][: accounts.count]
            or np.any(slots >= accounts.count)
        ):
            raise DecodeError("the accounts of a checkpoint stand nowhere in the journal")
        accounts._stretches = array("Q", positions.tolist()), array("Q", slots.tolist())
        return accounts

    def add(self, rows: Rows, position_first: int) -> None:
        """Append ``ACCOUNT[n]``, which stand in the journal from a position on."""
        positions, slots = self._stretches
        if len(rows) and not (slots and position_first - positions[-1] == self.count - slots[-1]):
            positions.append(position_first)
            slots.append(self.count)
        self._append(rows)

    def _append(self, rows: Rows) -> None:
        """Take in rows, balances included, none of which is there yet."""
        count = self.count + len(rows)
        if count > len(self._table):
            grown = np.zeros(max(count, 2 * len(self._table)), ACCOUNT)
            grown[: self.count] = self.rows
            self._hold(grown)
        self._table[self.count : count] = rows
        first, self.count = self.count, count
        self._know_high(slice(first, count))
        # Last: a thread that finds a slot also finds its row.
        self._map.add(count)
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
        """``i64[n]`` of ``u64[n, 2]``; MISSING for an account that does not exist."""
        return self._map.find(ids)

    def find(self, ids: Iterable[int]) -> bytearray:
        """The rows of those ids that exist, in the order asked for, 128 bytes each."""
        found = bytearray()
        table, slot_of = self._bytes, self.slots.get
        for id_ in ids:
            slot = slot_of(id_)
            if slot is not None:
                at = slot * ROW_BYTES
                found += table[at : at + ROW_BYTES]
        return found

    def add_to(
        self, balance: int, slots: npt.NDArray[np.int64], amounts: Words, *, taken: bool = False
    ) -> None:
        """Add ``amounts`` (``u64[n, 2]``) to one of the balances, or take them from it.

        Args:
            balance: the column, DEBITS_PENDING to CREDITS_POSTED.
        """
        if not len(slots):
            return
        if not taken:
            if not add_at(self.words, balance, slots, amounts):
                self._know_high(slots)
        elif amounts[:, 1].any() or self.words[slots, balance + 1].any():
            add_at(self.words, balance, slots, negative(amounts))
        else:  # no more is taken than is there, so nothing is borrowed
            np.subtract.at(self.words[:, balance], slots, amounts[:, 0])

    @property
    def flat(self) -> memoryview:
        """All rows as words, :data:`WORDS` each."""
        return self._flat

    def post(self, debit: int, credit: int, amount: int) -> None:
        """Add a 64-bit amount to the debits and the credits posted of two slots."""
        words = self._flat
        for at in (debit * WORDS + DEBITS_POSTED, credit * WORDS + CREDITS_POSTED):
            low = words[at] + amount
            if low > _LOW:
                words[at + 1] += 1
                self.high_max = max(self.high_max, words[at + 1])
            words[at] = low & _LOW

    def put(self, state: AccountState) -> None:
        """Write an account's balances and flags back."""
        at = state.slot * ROW_BYTES
        dp, do, cp, co = (
            state.debits_pending, state.debits_posted,
            state.credits_pending, state.credits_posted,
        )  # fmt: skip
        _BALANCES.pack_into(
            self._bytes, at + _BALANCES_AT,
            dp & _LOW, dp >> 64, do & _LOW, do >> 64, cp & _LOW, cp >> 64, co & _LOW, co >> 64,
        )  # fmt: skip
        _FLAGS.pack_into(self._bytes, at + _FLAGS_AT, state.flags)
        high = (dp | do | cp | co) >> 64
        if high:
            self.high_max = max(self.high_max, high)

    def _know_high(self, slots: slice | npt.NDArray[np.int64]) -> None:
        for word in HIGH_WORDS:
            high = self._words[slots, word]
            self.high_max = max(self.high_max, int(high.max(initial=0)))

    def _timestamp(self, slot: int) -> int:
        return self._flat[slot * WORDS + _TIMESTAMP]

    def _hold(self, table: Rows) -> None:
        self._table: Rows = table
        self._words: Words = table.view(np.uint64).reshape(-1, WORDS)
        # Reading one word through a memoryview takes 24 ns, through numpy's indexing 46 to 85.
        self._flat = table.view(np.uint64).data
        self._bytes = table.view(np.uint8).data
