"""The ledger as a projection: what the journal's records add up to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from journal import codec
from journal.codec import RecordKind, Rows
from journal.errors import DecodeError
from journal.model import ACCOUNT
from journal.rows import columns, u128_words
from projections import posting
from projections.accounts import (
    CREDITS_PENDING,
    CREDITS_POSTED,
    DEBITS_PENDING,
    DEBITS_POSTED,
    WORDS,
    Accounts,
)
from projections.id_map import MISSING
from projections.indexes.balance_history import BalanceHistory
from projections.pendings import Pendings
from projections.posting import Known, Slots
from projections.rules import (
    CLOSING,
    HISTORY,
    PENDING,
    POST,
    RESOLVING,
    VOID,
    AccountState,
    PendingStatus,
    TransferRow,
)

_COLUMNS_PAY: Final = 64
"""From so many rows on, posting by columns (0.2 ms and hardly more with each row) is faster than
row by row (4 µs each)."""

Trace = Callable[[TransferRow, AccountState, AccountState], None]
"""Told of a transfer, or a pending one that expired, and its two accounts as they are after it."""

Positions = range | npt.NDArray[np.uint64]
"""Where each of some events stands in the journal."""


class LedgerState:
    """All accounts with their balances, and pending transfers, after the events to ``position``."""

    name = "ledger"
    version = 2

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.pendings = Pendings()
        self.position = 0
        self.timestamp = 0
        """The highest timestamp of any event, ns."""
        self.transfers_timestamp_max = 0
        """The highest timestamp of any transfer that took effect, ns."""
        self.transfer_count = 0
        self.history: BalanceHistory | None = None
        """Where to record the balances of accounts with HISTORY; derived, and not in the dump."""

    def apply(
        self,
        kind: RecordKind,
        rows: Rows,
        statuses: Any,
        *,
        positions: Positions,
        timestamp: int,
        trace: Trace | None = None,
        known: Known | None = None,
    ) -> None:
        """Fold one record of rows (or a part of one) in.

        Args:
            statuses: ``u32[n]`` or None, as :meth:`journal.codec.Payload.statuses` gives them.
            positions: where each of the rows stands.
            timestamp: the highest timestamp in the record, ns.
            trace: told of each transfer that took effect, in order.
            known: what whoever decided on the rows knows of them.
        """
        if kind is RecordKind.ACCOUNTS:
            self.accounts.add(rows)
        elif kind is RecordKind.TRANSFERS and statuses is None:
            self._post(rows, positions, trace, known)
        elif kind is RecordKind.TRANSFERS:
            created = statuses == codec.CREATED
            self._post(rows[created], _array(positions)[created], trace, None)
        else:
            raise AssertionError("an event that is no row has no place here")
        self._advance(int(positions[-1]), timestamp)

    def expire(
        self,
        transfer_ids: Sequence[int],
        *,
        position_last: int,
        timestamp: int,
        trace: Trace | None = None,
    ) -> None:
        """Fold in that pending transfers ran out of time, in that order.

        Args:
            trace: told of each of them.
        """
        for id_ in transfer_ids:
            pending = self._pending(id_)
            debit = self.accounts.state(self.accounts.slots[pending.debit_account_id])
            credit = self.accounts.state(self.accounts.slots[pending.credit_account_id])
            posting.release(pending, debit, credit)
            self.accounts.put(debit)
            self.accounts.put(credit)
            if trace is not None:
                trace(pending, debit, credit)
        ids = np.array([u128_words(id_) for id_ in transfer_ids], np.uint64)
        self.pendings.resolve(ids, _statuses(*[PendingStatus.EXPIRED] * len(ids)))
        self._advance(position_last, timestamp)

    def dump(self) -> dict[str, Any]:
        """Everything, as CBOR can carry it; equal states give equal dumps."""
        return {
            "accounts": self.accounts.rows.tobytes(),
            "pendings": self.pendings.dump(),
            "position": self.position,
            "timestamp": self.timestamp,
            "transfer_count": self.transfer_count,
            "transfers_timestamp_max": self.transfers_timestamp_max,
        }

    @classmethod
    def load(cls, dump: dict[str, Any]) -> LedgerState:
        """The state that :meth:`dump` gave.

        Raises:
            DecodeError: a field is missing or malformed.
        """
        state = cls()
        try:
            if len(dump["accounts"]) % ACCOUNT.itemsize:
                raise DecodeError("the accounts of a checkpoint are cut short")
            state.accounts.add(np.frombuffer(dump["accounts"], ACCOUNT))
            state.pendings = Pendings.load(dump["pendings"])
            for field in ("position", "timestamp", "transfer_count", "transfers_timestamp_max"):
                if type(dump[field]) is not int or dump[field] < 0:
                    raise DecodeError(f"the {field} of a checkpoint is malformed")
                setattr(state, field, dump[field])
        except (KeyError, TypeError) as error:
            raise DecodeError(
                f"a checkpoint lacks a field or has a malformed one: {error}"
            ) from None
        return state

    def sha256(self) -> bytes:
        """The hash of the dump: equal for equal states."""
        return hashlib.sha256(codec.encode_cbor(self.dump())).digest()

    def _advance(self, position: int, timestamp: int) -> None:
        self.position = position
        self.timestamp = max(self.timestamp, timestamp)

    def _post(
        self, rows: Rows, positions: Positions, trace: Trace | None, known: Known | None
    ) -> None:
        if not len(rows):
            return
        if trace is not None:
            self._post_one_by_one(rows, positions, trace)
        elif isinstance(known, list):
            for debit, credit, amount in known:
                self.accounts.post(debit, credit, amount)
        elif len(rows) < _COLUMNS_PAY or not self._post_columns(rows, positions, known):
            self._post_one_by_one(rows, positions, None)
        self.transfer_count += len(rows)
        self.transfers_timestamp_max = int(rows["timestamp"][-1])

    def _post_one_by_one(self, rows: Rows, positions: Positions, trace: Trace | None) -> None:
        accounts = self.accounts
        for index, row in enumerate(map(TransferRow._make, columns(rows))):
            pending = self._pending(row.pending_id) if row.flags & RESOLVING else None
            debit = accounts.state(accounts.slots[row.debit_account_id])
            credit = accounts.state(accounts.slots[row.credit_account_id])
            posting.post(row, pending, debit, credit)
            accounts.put(debit)
            accounts.put(credit)
            self._record(row, debit, credit)
            if trace is not None:
                trace(row, debit, credit)
            if pending is not None:
                resolved = PendingStatus.POSTED if row.flags & POST else PendingStatus.VOIDED
                self.pendings.resolve(rows["pending_id"][index : index + 1], _statuses(resolved))
            elif row.flags & PENDING:
                at = _array(positions[index : index + 1])
                self.pendings.add(rows[index : index + 1], at)

    def _record(self, row: TransferRow, *accounts: AccountState) -> None:
        if self.history is None:
            return
        for account in accounts:
            if account.flags & HISTORY:
                self.history.record(account.slot, row.timestamp, *account.balances())

    def _record_history(self, rows: Rows, slots: Slots) -> None:
        """Record what accounts with HISTORY go through while ``rows`` are posted by columns.

        Transfers between other accounts are left out, so of those the copies made here go wrong.
        """
        if self.history is None or not self.accounts.has_history:
            return
        kept = np.flatnonzero(
            self.accounts.keep_history(slots.debits) | self.accounts.keep_history(slots.credits)
        )
        states: dict[int, AccountState] = {}
        for row, *both in zip(
            map(TransferRow._make, columns(rows[kept])),
            slots.debits[kept].tolist(), slots.credits[kept].tolist(),
            strict=True,
        ):  # fmt: skip
            for slot in both:
                if slot not in states:
                    states[slot] = self.accounts.state(slot)
            pair = [states[slot] for slot in both]
            pending = self._pending(row.pending_id) if row.flags & RESOLVING else None
            posting.post(row, pending, *pair)
            self._record(row, *pair)

    def _post_columns(self, rows: Rows, positions: Positions, slots: Slots | None) -> bool:
        """Post by columns; False, and nothing done, if accounts may close or reopen."""
        flags = rows["flags"]
        every = int(np.bitwise_or.reduce(flags))
        if every & CLOSING:
            return False
        if slots is None:
            slots = self._slots(rows)
        if every & (PENDING | RESOLVING):
            # What its own pending transfers reserve is there before anything is taken away.
            return self._post_two_phase(rows, positions, slots)
        self._record_history(rows, slots)
        self.accounts.add_to(DEBITS_POSTED, slots.debits, rows["amount"])
        self.accounts.add_to(CREDITS_POSTED, slots.credits, rows["amount"])
        return True

    def _post_two_phase(self, rows: Rows, positions: Positions, slots: Slots) -> bool:
        flags, amounts, accounts = rows["flags"], rows["amount"], self.accounts
        pending = flags & PENDING != 0
        resolving = flags & RESOLVING != 0
        ids = rows["pending_id"][resolving]
        if self.pendings.any_closing(ids):
            return False
        if pending.any():
            self.pendings.add(_chosen(rows, pending), _array(positions)[pending])
        self._record_history(rows, slots)
        posted = ~pending & (flags & VOID == 0)
        numbers = self.pendings.numbers_of(ids)
        if np.any(numbers == MISSING):
            raise AssertionError("what is resolved is no open pending transfer")
        released = self.pendings.rows_at(numbers)["amount"]
        for reserved, balance, side in (
            (DEBITS_PENDING, DEBITS_POSTED, slots.debits),
            (CREDITS_PENDING, CREDITS_POSTED, slots.credits),
        ):
            accounts.add_to(reserved, side[pending], amounts[pending])
            accounts.add_to(reserved, side[resolving], released, taken=True)
            accounts.add_to(balance, side[posted], amounts[posted])
        statuses = np.where(
            flags[resolving] & VOID != 0,
            np.uint8(PendingStatus.VOIDED),
            np.uint8(PendingStatus.POSTED),
        )
        self.pendings.resolve(ids, statuses)
        return True

    def _slots(self, rows: Rows) -> Slots:
        debits = self.accounts.slots_of(rows["debit_account_id"])
        credits = self.accounts.slots_of(rows["credit_account_id"])
        if min(debits.min(), credits.min()) == MISSING:
            raise AssertionError("a transfer was posted to an account that does not exist")
        return Slots(debits, credits)

    def _pending(self, id_: int) -> TransferRow:
        pending = self.pendings.find(id_)
        if pending is None:
            raise AssertionError(f"{id_} is no open pending transfer")
        return pending


def _chosen(rows: Rows, chosen: npt.NDArray[np.bool_]) -> Rows:
    """Some of many rows; numpy would copy them field by field."""
    words = np.ascontiguousarray(rows).view(np.uint64).reshape(-1, WORDS)
    return words[chosen].reshape(-1).view(rows.dtype)


def _statuses(*statuses: PendingStatus) -> npt.NDArray[np.uint8]:
    return np.array(statuses, np.uint8)


def _array(positions: Positions) -> npt.NDArray[np.uint64]:
    if isinstance(positions, range):
        return np.arange(positions.start, positions.stop, dtype=np.uint64)
    return positions
