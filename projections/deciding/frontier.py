"""The ledger as the next request must see it: durable state plus what is decided but in flight.

The durable state changes only once a record is on disk. Requests decided meanwhile must still see
each other's effects; the *frontier* holds those as an overlay, and a *draft* holds one request's
own on top of it. If the records in flight are refused, the overlay is dropped and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Protocol

import attrs

from nostro.journal.model import Rows
from nostro.journal.rows import columns
from nostro.projections.indexes.transfer_index import TransferIndex
from nostro.projections.rules import posting
from nostro.projections.rules.values import (
    CLOSING,
    POST,
    RESOLVING,
    AccountRow,
    AccountState,
    PendingStatus,
    Refused,
    TransferRow,
)
from nostro.projections.state.ledger_state import LedgerState


class TransferArchive(Protocol):
    """Where durable transfers are found."""

    def transfer(self, position: int) -> tuple[TransferRow, bool]:
        """The transfer that stands at ``position``, and whether it took effect."""
        ...

    def has_transfer_at(self, timestamp: int) -> bool:
        """Whether a durable transfer took effect at exactly ``timestamp``, ns."""
        ...


_MISSING: Final = object()
_NARROW: Final = 2**64 - 1


class Frontier:
    def __init__(
        self,
        state: LedgerState,
        index: TransferIndex,
        archive: TransferArchive,
        state_lock: threading.RLock,
    ) -> None:
        self._state = state
        self.table = state.accounts
        self.pending_transfers = state.pending_transfers
        self.index = index
        self.archive = archive
        self.timestamp = 0
        self._state_lock = state_lock
        self.reset()

    def reset(self) -> None:
        """Forget what is in flight."""
        self.accounts: dict[int, tuple[AccountState, int]] = {}  # with the ticket's position
        self.created: dict[int, AccountRow] = {}
        self.transfers: dict[int, TransferRow] = {}
        self.failed: set[int] = set()
        self.resolved: dict[int, PendingStatus] = {}
        """What became of pending transfers, by id."""
        self.unusual: set[int] = set()
        """The last position of each request in flight that is :attr:`Draft.unusual`."""
        self._unmerged: deque[tuple[Draft, int]] = deque()
        self.id_max = self.index.id_max
        """No id above this was ever used."""
        self.timestamp = max(self.timestamp, self._state.timestamp)
        self.accounts_timestamp_max = self.table.timestamp_max
        self.transfers_timestamp_max = self._state.transfers_timestamp_max

    def take(self, draft: Draft, position_last: int) -> None:
        """A request was put in line: its effects hold for the requests after it."""
        self.accounts_timestamp_max = draft.accounts_timestamp
        self.transfers_timestamp_max = draft.transfers_timestamp
        self.id_max = max(self.id_max, draft.id_max)
        if draft.unusual:
            self.unusual.add(position_last)
        self._unmerged.append((draft, position_last))

    @property
    def unmerged_rows(self) -> int:
        """How many rows :meth:`merge` would have to work out."""
        unmerged = [draft for draft, _ in self._unmerged.copy()]
        return sum(len(draft.rows) for draft in unmerged if isinstance(draft, FastDraft))

    def may_use(self, id_min: int, id_max: int) -> bool:
        """Whether what is in flight may have used an id from one to the other."""
        return bool(self.transfers or self.failed) or not all(
            isinstance(draft, FastDraft) and (draft.id_max < id_min or draft.id_min > id_max)
            for draft, _ in self._unmerged.copy()
        )

    def merge(self) -> None:
        """Make the overlay show what was taken.

        A single caller never finds anything here: its last request is durable and folded before
        it sends the next.
        """
        if not self._unmerged:
            return
        with self._state_lock:  # while a request is folded, the table and the overlay both show it
            while self._unmerged:
                draft, position_last = self._unmerged[0]
                draft.prepare()
                self._unmerged.popleft()
                for id_, account in draft.accounts.items():
                    if account is not None:
                        self.accounts[id_] = (account, position_last)
                self.created.update(draft.created)
                self.transfers.update(draft.transfers)
                self.failed |= draft.failed
                self.resolved.update(draft.resolved)

    def drop(self, draft: Draft, position_last: int) -> None:
        """Forget the oldest request taken: the durable state now shows its effects.

        The caller holds the state lock.
        """
        self.unusual.discard(position_last)
        if self._unmerged and self._unmerged[0][0] is draft:
            self._unmerged.popleft()
            return
        for id_ in draft.accounts:
            held = self.accounts.get(id_)
            if held is not None and held[1] == position_last:
                del self.accounts[id_]
        for id_ in draft.created:
            del self.created[id_]
        for id_ in draft.transfers:
            del self.transfers[id_]
        self.failed -= draft.failed
        for id_ in draft.resolved:
            del self.resolved[id_]


class Draft:
    """One request's view of the ledger; implements :class:`State`."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self.accounts: dict[int, AccountState | None] = {}
        self.created: dict[int, AccountRow] = {}
        self.transfers: dict[int, TransferRow] = {}
        """Those that take effect, resolved."""
        self.failed: set[int] = set()
        self.resolved: dict[int, PendingStatus] = {}
        self.accounts_timestamp = frontier.accounts_timestamp_max
        self.transfers_timestamp = frontier.transfers_timestamp_max
        self.unusual = False
        """Whether the table misleads about what is in flight: it moves more than 2**64 - 1 at
        once, or closes or reopens an account."""
        self._scope: _Scope | None = None

    @property
    def id_max(self) -> int:
        """The greatest transfer id used, 0 if none."""
        return max(max(self.transfers, default=0), max(self.failed, default=0))

    def prepare(self) -> None:
        """Called before the effects are read."""

    # what the rules ask

    def existing_account(self, id_: int) -> AccountRow | None:
        row = self.created.get(id_)
        if row is not None:
            return row
        account = self.account(id_)
        if account is None:
            return None
        frontier = self._frontier
        row = frontier.created.get(id_) or frontier.table.row(frontier.table.slots[id_])
        return row._replace(flags=account.flags)  # closed since it was created, perhaps

    def account(self, id_: int) -> AccountState | None:
        found = self.accounts.get(id_, _MISSING)
        if found is not _MISSING:
            return found  # type: ignore[return-value]
        # In this order: what leaves one place has already arrived in the next.
        frontier = self._frontier
        account: AccountState | None = None
        if (held := frontier.accounts.get(id_)) is not None:
            account = _copy(held[0])
        elif (row := frontier.created.get(id_)) is not None:
            account = AccountState(-1, row.ledger, row.flags, row.timestamp, 0, 0, 0, 0)
        elif (slot := frontier.table.slots.get(id_)) is not None:
            account = frontier.table.state(slot)
        self.accounts[id_] = account
        return account

    def existing_transfer(self, id_: int) -> TransferRow | Refused | None:
        frontier = self._frontier
        held = self.transfers.get(id_) or frontier.transfers.get(id_)
        if held is not None:
            return held
        if id_ in self.failed or id_ in frontier.failed:
            return Refused.FOR_GOOD
        if id_ > frontier.id_max:
            return None
        if (pending := frontier.pending_transfers.find(id_)) is not None:
            return pending
        position = frontier.index.find(id_)
        if position is None:
            return None
        row, took_effect = frontier.archive.transfer(position)
        return row if took_effect else Refused.FOR_GOOD

    def pending_status(self, pending: TransferRow) -> int:
        frontier = self._frontier
        resolved = self.resolved.get(pending.id) or frontier.resolved.get(pending.id)
        if resolved is not None:
            return resolved
        position = frontier.index.find(pending.id)
        # In flight itself if it has no position yet, and nothing has resolved it.
        return (
            PendingStatus.PENDING
            if position is None
            else frontier.pending_transfers.status_at(position)
        )

    def accounts_timestamp_max(self) -> int:
        return self.accounts_timestamp

    def transfers_timestamp_max(self) -> int:
        return self.transfers_timestamp

    def is_account_timestamp(self, timestamp: int) -> bool:
        if timestamp > self.accounts_timestamp:
            return False
        # In this order, and in one step: another thread may be folding what is in flight.
        in_flight = list(self._frontier.created.values())
        return any(
            row.timestamp == timestamp for row in in_flight
        ) or self._frontier.table.has_timestamp(timestamp)

    def is_transfer_timestamp(self, timestamp: int) -> bool:
        if timestamp > self.transfers_timestamp:
            return False
        in_flight = list(self._frontier.transfers.values())  # as above
        return any(
            held.timestamp == timestamp for held in in_flight
        ) or self._frontier.archive.has_transfer_at(timestamp)

    # what a decision changes

    def create_account(self, row: AccountRow) -> None:
        self.created[row.id] = row
        self.accounts_timestamp = row.timestamp
        if self._scope is not None:
            self._scope.ids.append(row.id)

    def post(self, row: TransferRow) -> None:
        """The resolved transfer takes effect."""
        debit, credit = self._both(row)
        pending = None
        if row.flags & RESOLVING:
            pending = self._pending(row.pending_id)
            posted = row.flags & POST
            self.resolved[row.pending_id] = PendingStatus.POSTED if posted else PendingStatus.VOIDED
        posting.post(row, pending, debit, credit)
        self.transfers[row.id] = row
        if row.amount > _NARROW or (row if pending is None else pending).flags & CLOSING:
            self.unusual = True
        self.transfers_timestamp = row.timestamp
        if self._scope is not None:
            self._scope.ids.append(row.id)

    def expire(self, id_: int) -> None:
        """The pending transfer runs out of time."""
        pending = self._pending(id_)
        posting.release(pending, *self._both(pending))
        self.resolved[id_] = PendingStatus.EXPIRED
        if pending.flags & CLOSING:
            self.unusual = True

    def fail(self, id_: int) -> None:
        self.failed.add(id_)

    def open_scope(self) -> None:
        """What follows can be taken back together."""
        self._scope = _Scope(self.accounts_timestamp, self.transfers_timestamp)

    def close_scope(self, *, keep: bool) -> None:
        if self._scope is None:
            raise AssertionError("a chain was closed that was not open")
        scope, self._scope = self._scope, None
        if keep:
            return
        for id_ in scope.ids:
            row = self.transfers.pop(id_, None)
            if row is None:
                del self.created[id_]
            elif row.flags & RESOLVING:
                del self.resolved[row.pending_id]
        self.accounts.update(scope.before)
        self.accounts_timestamp = scope.accounts_timestamp
        self.transfers_timestamp = scope.transfers_timestamp

    def _pending(self, id_: int) -> TransferRow:
        found = self.existing_transfer(id_)
        if found is None or isinstance(found, Refused):
            raise AssertionError("a pending transfer was resolved that does not exist")
        return found

    def _both(self, row: TransferRow) -> tuple[AccountState, AccountState]:
        """The two accounts, about to be changed."""
        debit = self.account(row.debit_account_id)
        credit = self.account(row.credit_account_id)
        if debit is None or credit is None:
            raise AssertionError("a transfer was posted to an account that does not exist")
        if self._scope is not None:
            self._scope.before.setdefault(row.debit_account_id, _copy(debit))
            self._scope.before.setdefault(row.credit_account_id, _copy(credit))
        return debit, credit


class FastDraft(Draft):
    """Of rows that all take effect; their effects are worked out only if another request asks."""

    def __init__(self, frontier: Frontier, rows: Rows, id_min: int, id_max: int) -> None:
        """Nothing is worked out.

        Args:
            rows: ``TRANSFER[n]``, resolved.
            id_min: the least of their ids.
            id_max: the greatest.
        """
        super().__init__(frontier)
        self.rows = rows
        self.id_min = id_min
        self._id_max = id_max
        self.transfers_timestamp = int(rows["timestamp"][-1])

    @property
    def id_max(self) -> int:
        return self._id_max

    def prepare(self) -> None:
        for row in map(TransferRow._make, columns(self.rows)):
            self.post(row)


@attrs.define(eq=False)
class _Scope:
    """What must be put back if the chain fails."""

    accounts_timestamp: int
    transfers_timestamp: int
    ids: list[int] = attrs.field(factory=list)
    """Of what was created."""
    before: dict[int, AccountState] = attrs.field(factory=dict)
    """Each account that changed, as it was."""


def _copy(a: AccountState) -> AccountState:
    return AccountState(a.slot, a.ledger, a.flags, a.timestamp, *a.balances())
