"""The ledger as a projection: what the journal's records add up to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import DecodeError
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ROW_BYTES, Rows
from nostro.journal.rows import columns, u128_words
from nostro.projections.rules import posting
from nostro.projections.rules.posting import AccountSlots, AppliedTransfer, Precomputed
from nostro.projections.rules.values import (
    CLOSING,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    PENDING,
    POST,
    RESOLVING,
    VOID,
    AccountState,
    PendingStatus,
    TransferRow,
)
from nostro.projections.state.accounts import (
    CREDITS_PENDING,
    CREDITS_POSTED,
    DEBITS_PENDING,
    DEBITS_POSTED,
    WORDS,
    Accounts,
)
from nostro.projections.state.id_map import MISSING
from nostro.projections.state.pending_transfers import PendingTransfers
from nostro.projections.state.reservations import (
    Quantity,
    Reservations,
    change,
    change_group,
    changes_by_columns,
)
from nostro.projections.state.u128 import Words, negative

_COLUMNS_PAY: Final = 64
"""From so many rows on, posting by columns (0.2 ms and hardly more with each row) is faster than
row by row (4 µs each)."""

_FIELDS: Final = frozenset(
    ("accounts", "pendings", "position", "timestamp", "transfer_count", "transfers_timestamp_max")
)
_DUMP_BYTES: Final = 512
_EVENT_BYTES_MAX: Final = ROW_BYTES + 16 + 1
"""Of what an event may leave in a dump: a row, where it stands, and what became of it."""

Positions = range | npt.NDArray[np.uint64]
"""Where each of some events stands in the journal."""


class LedgerState:
    """All accounts with their balances, and pending transfers, after the events to ``position``."""

    name = "ledger"
    version = 3

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.pending_transfers = PendingTransfers()
        self.position = 0
        self.timestamp = 0
        """The highest timestamp of any event, ns."""
        self.transfers_timestamp_max = 0
        """The highest timestamp of any transfer that took effect, ns."""
        self.transfer_count = 0
        self.reservations: Reservations | None = None
        """Where to record what pending transfers change; derived, and not in the dump."""

    def apply(
        self,
        kind: RecordKind,
        rows: Rows,
        statuses: Any,
        *,
        positions: Positions,
        timestamp: int,
        applied: list[AppliedTransfer] | None = None,
        precomputed: Precomputed | None = None,
    ) -> None:
        """Fold one record of rows (or a part of one) in.

        Args:
            statuses: ``u32[n]`` or None, as :meth:`statuses` gives them.
            positions: where each of the rows stands.
            timestamp: the highest timestamp in the record, ns.
            applied: takes each transfer that took effect, in order.
            precomputed: what deciding on the rows found out.
        """
        if kind is RecordKind.ACCOUNTS:
            self._add_accounts(rows, positions)
        elif kind is RecordKind.TRANSFERS and statuses is None:
            self._post(rows, positions, applied, precomputed)
        elif kind is RecordKind.TRANSFERS:
            created = statuses == codec.CREATED
            self._post(rows[created], _array(positions)[created], applied, None)
        else:
            raise AssertionError("only accounts and transfers come as rows")
        self.advance(int(positions[-1]), timestamp)

    def expire(
        self,
        transfer_ids: Sequence[int],
        *,
        positions: Sequence[int],
        timestamps: Sequence[int],
        applied: list[AppliedTransfer] | None = None,
    ) -> None:
        """Fold in that pending transfers ran out of time, in that order.

        Args:
            positions, timestamps: where and when each of them did.
            applied: takes each of them.
        """
        for id_, position, timestamp in zip(transfer_ids, positions, timestamps, strict=True):
            pending = self._pending(id_)
            debit = self.accounts.state(self.accounts.slots[pending.debit_account_id])
            credit = self.accounts.state(self.accounts.slots[pending.credit_account_id])
            posting.release(pending, debit, credit)
            self.accounts.put(debit)
            self.accounts.put(credit)
            self._record(
                pending, debit, credit, position, timestamp, is_released=True, is_expiry=True
            )
            if applied is not None:
                applied.append(AppliedTransfer(pending, debit, credit, position, timestamp))
        ids = np.array([u128_words(id_) for id_ in transfer_ids], np.uint64)
        self.pending_transfers.resolve(ids, _statuses(*[PendingStatus.EXPIRED] * len(ids)))
        self.advance(positions[-1], timestamps[-1])

    def dump(self) -> dict[str, Any]:
        """Everything, as CBOR can carry it; equal states give equal dumps."""
        return {
            "accounts": self.accounts.dump(),
            "pendings": self.pending_transfers.dump(),
            "position": self.position,
            "timestamp": self.timestamp,
            "transfer_count": self.transfer_count,
            "transfers_timestamp_max": self.transfers_timestamp_max,
        }

    @staticmethod
    def dump_bytes_max(position: int) -> int:
        """No dump at ``position`` is larger once it is CBOR."""
        return _DUMP_BYTES + position * _EVENT_BYTES_MAX

    @classmethod
    def load(cls, dump: dict[str, Any]) -> LedgerState:
        """The state that :meth:`dump` gave.

        Raises:
            DecodeError: a field is missing or malformed.
        """
        state = cls()
        try:
            if set(dump) != _FIELDS:
                raise DecodeError("a checkpoint has unknown or missing fields")
            state.accounts = Accounts.load(dump["accounts"])
            state.pending_transfers = PendingTransfers.load(dump["pendings"])
            for field in ("position", "timestamp", "transfer_count", "transfers_timestamp_max"):
                if type(dump[field]) is not int or dump[field] < 0:
                    raise DecodeError(f"the {field} of a checkpoint is malformed")
                setattr(state, field, dump[field])
        except (KeyError, TypeError, ValueError) as error:
            raise DecodeError(
                f"a checkpoint lacks a field or has a malformed one: {error}"
            ) from None
        return state

    def sha256(self) -> bytes:
        """The hash of the dump: equal for equal states."""
        return hashlib.sha256(codec.encode_cbor(self.dump())).digest()

    def advance(self, position: int, timestamp: int) -> None:
        """What stands up to ``position`` is folded in, the last at that time."""
        self.position = position
        self.timestamp = max(self.timestamp, timestamp)

    def _add_accounts(self, rows: Rows, positions: Positions) -> None:
        if isinstance(positions, range):
            self.accounts.add(rows, positions.start)
            return
        follow = np.flatnonzero(np.diff(positions.astype(np.int64)) != 1) + 1
        for part, places in zip(np.split(rows, follow), np.split(positions, follow), strict=True):
            self.accounts.add(part, int(places[0]))

    def _post(
        self,
        rows: Rows,
        positions: Positions,
        applied: list[AppliedTransfer] | None,
        precomputed: Precomputed | None,
    ) -> None:
        if not len(rows):
            return
        if applied is not None:
            self._post_one_by_one(rows, positions, applied)
        elif isinstance(precomputed, list):
            for debit, credit, amount in precomputed:
                self.accounts.post(debit, credit, amount)
        elif len(rows) < _COLUMNS_PAY or not self._post_columns(rows, positions, precomputed):
            self._post_one_by_one(rows, positions, None)
        self.transfer_count += len(rows)
        self.transfers_timestamp_max = int(rows["timestamp"][-1])

    def _post_one_by_one(
        self, rows: Rows, positions: Positions, applied: list[AppliedTransfer] | None
    ) -> None:
        accounts = self.accounts
        for index, row in enumerate(map(TransferRow._make, columns(rows))):
            pending = self._pending(row.pending_id) if row.flags & RESOLVING else None
            debit = accounts.state(accounts.slots[row.debit_account_id])
            credit = accounts.state(accounts.slots[row.credit_account_id])
            posting.post(row, pending, debit, credit)
            accounts.put(debit)
            accounts.put(credit)
            if pending is not None or row.flags & PENDING:
                self._record(
                    pending or row, debit, credit, int(positions[index]), row.timestamp,
                    is_released=pending is not None, is_posted=bool(row.flags & POST),
                )  # fmt: skip
            if applied is not None:
                position = int(positions[index])
                applied.append(AppliedTransfer(row, debit, credit, position, row.timestamp))
            if pending is not None:
                resolved = PendingStatus.POSTED if row.flags & POST else PendingStatus.VOIDED
                self.pending_transfers.resolve(
                    rows["pending_id"][index : index + 1], _statuses(resolved)
                )
            elif row.flags & PENDING:
                at = _array(positions[index : index + 1])
                self.pending_transfers.add(rows[index : index + 1], at)

    def _record(
        self,
        pending: TransferRow,
        debit: AccountState,
        credit: AccountState,
        position: int,
        timestamp: int,
        *,
        is_released: bool,
        is_posted: bool = False,
        is_expiry: bool = False,
    ) -> None:
        """Record what ``pending`` reserves or, when it is released, no longer does."""
        if self.reservations is None:
            return
        sign = -1 if is_released else 1
        changes = []
        for account, quantity, closing in (
            (debit, Quantity.DEBITS_PENDING, CLOSING_DEBIT),
            (credit, Quantity.CREDITS_PENDING, CLOSING_CREDIT),
        ):
            group = change_group(account.slot, quantity, is_expiry=is_expiry)
            changes.append(change(group, position, timestamp, sign * pending.amount))
            if pending.flags & closing and not is_posted:  # what is posted closes for good
                group = change_group(account.slot, Quantity.CLOSED, is_expiry=is_expiry)
                changes.append(change(group, position, timestamp, sign))
        self.reservations.record(changes)

    def _post_columns(self, rows: Rows, positions: Positions, slots: AccountSlots | None) -> bool:
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
        self.accounts.add_to(DEBITS_POSTED, slots.debits, rows["amount"])
        self.accounts.add_to(CREDITS_POSTED, slots.credits, rows["amount"])
        return True

    def _post_two_phase(self, rows: Rows, positions: Positions, slots: AccountSlots) -> bool:
        flags, amounts, accounts = rows["flags"], rows["amount"], self.accounts
        pending = flags & PENDING != 0
        resolving = flags & RESOLVING != 0
        ids = rows["pending_id"][resolving]
        if self.pending_transfers.any_closing(ids):
            return False
        if pending.any():
            self.pending_transfers.add(_chosen(rows, pending), _array(positions)[pending])
        posted = ~pending & (flags & VOID == 0)
        numbers = self.pending_transfers.numbers_of(ids)
        if np.any(numbers == MISSING):
            raise AssertionError("a transfer resolves a pending transfer that is not open")
        released = self.pending_transfers.rows_at(numbers)["amount"]
        for reserved, balance, side in (
            (DEBITS_PENDING, DEBITS_POSTED, slots.debits),
            (CREDITS_PENDING, CREDITS_POSTED, slots.credits),
        ):
            accounts.add_to(reserved, side[pending], amounts[pending])
            accounts.add_to(reserved, side[resolving], released, taken=True)
            accounts.add_to(balance, side[posted], amounts[posted])
        self._record_columns(rows, _array(positions), slots, pending, released)
        statuses = np.where(
            flags[resolving] & VOID != 0,
            np.uint8(PendingStatus.VOIDED),
            np.uint8(PendingStatus.POSTED),
        )
        self.pending_transfers.resolve(ids, statuses)
        return True

    def _record_columns(
        self,
        rows: Rows,
        positions: npt.NDArray[np.uint64],
        slots: AccountSlots,
        pending: npt.NDArray[np.bool_],
        released: Words,
    ) -> None:
        """Record what ``pending`` rows reserve, and what those that resolve one release."""
        if self.reservations is None:
            return
        resolving = rows["flags"] & RESOLVING != 0
        added = rows["amount"].copy()
        added[resolving] = negative(released)
        chosen = pending | resolving
        for side, quantity in (
            (slots.debits, Quantity.DEBITS_PENDING),
            (slots.credits, Quantity.CREDITS_PENDING),
        ):
            self.reservations.record(changes_by_columns(
                side[chosen], quantity, positions[chosen], rows["timestamp"][chosen], added[chosen]
            ))  # fmt: skip

    def _slots(self, rows: Rows) -> AccountSlots:
        debits = self.accounts.slots_of(rows["debit_account_id"])
        credits = self.accounts.slots_of(rows["credit_account_id"])
        if min(debits.min(), credits.min()) == MISSING:
            raise AssertionError("a transfer was posted to an account that does not exist")
        return AccountSlots(debits, credits)

    def _pending(self, id_: int) -> TransferRow:
        pending = self.pending_transfers.find(id_)
        if pending is None:
            raise AssertionError(f"transfer {id_} is not an open pending transfer")
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
