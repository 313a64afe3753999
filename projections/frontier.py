"""The ledger as the next request must see it: durable state plus what is decided but in flight.

The durable state changes only once a record is on disk. Requests decided meanwhile must still see
each other's effects; the *frontier* holds those as an overlay, and a *draft* holds one request's
own on top of it. If the records in flight are refused, the overlay is dropped and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from projections.accounts import Accounts
from projections.rules import AccountRow, AccountState, TransferRow, Used
from projections.state import LedgerState
from projections.transfer_index import TransferIndex

FetchTransfer = Callable[[int], tuple[TransferRow, bool]]
"""position -> the transfer that stands there, and whether it took effect."""
TimedTransfer = tuple[TransferRow, int]
"""A transfer as it was asked for, and when it took effect, ns."""
HasTransferAt = Callable[[int], bool]
"""timestamp -> whether a durable transfer took effect at exactly that time."""

_MISSING: Final = object()
_NARROW: Final = 2**64 - 1


class Frontier:
    def __init__(
        self,
        state: LedgerState,
        index: TransferIndex,
        settling: threading.Lock,
        *,
        fetch: FetchTransfer,
        has_transfer_at: HasTransferAt,
    ) -> None:
        self._state = state
        self._index = index
        self.fetch = fetch
        self.has_transfer_at = has_transfer_at
        self.timestamp = 0
        self._settling = settling
        self.reset()

    def reset(self) -> None:
        """Forget what is in flight."""
        self.accounts: dict[int, tuple[AccountState, int]] = {}  # with the ticket's position
        self.created: dict[int, AccountRow] = {}
        self.transfers: dict[int, TimedTransfer] = {}
        self.failed: set[int] = set()
        self.wide: set[int] = set()
        """The last position of each request in flight that moves more than 2**64 - 1 at once."""
        self._unmerged: deque[tuple[Draft, int]] = deque()
        self.id_max = self._index.id_max
        """No id above this was ever used."""
        self.timestamp = max(self.timestamp, self._state.timestamp)
        self.accounts_timestamp_max = self._state.accounts.timestamp_max
        self.transfers_timestamp_max = self._state.transfers_timestamp_max

    @property
    def table(self) -> Accounts:
        return self._state.accounts

    @property
    def index(self) -> TransferIndex:
        return self._index

    def take(self, draft: Draft, position_last: int) -> None:
        """A request was put in line: its effects hold for the requests after it."""
        self.accounts_timestamp_max = draft.accounts_timestamp
        self.transfers_timestamp_max = draft.transfers_timestamp
        self.id_max = max(self.id_max, draft.id_max)
        if draft.wide:
            self.wide.add(position_last)
        self._unmerged.append((draft, position_last))

    def catch_up(self) -> None:
        """Make the overlay show what was taken.

        A caller on its own never finds anything here: its last request is durable and settled
        before it comes with the next.
        """
        if not self._unmerged:
            return
        with self._settling:  # what is being settled is in the table and the overlay at once
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

    def settle(self, draft: Draft, position_last: int) -> None:
        """The oldest request taken became durable, and the table shows its effects.

        The caller holds the settling lock.
        """
        self.wide.discard(position_last)
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


class Draft:
    """One request's view of the ledger; implements :class:`projections.rules.State`."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self.accounts: dict[int, AccountState | None] = {}
        self.created: dict[int, AccountRow] = {}
        self.transfers: dict[int, TimedTransfer] = {}
        self.failed: set[int] = set()
        self.accounts_timestamp = frontier.accounts_timestamp_max
        self.transfers_timestamp = frontier.transfers_timestamp_max
        self.wide = False
        """Whether some amount posted takes more than 64 bits."""
        self._scope: tuple[list[int], int, int] | None = None

    @property
    def id_max(self) -> int:
        """The greatest transfer id used, 0 if none."""
        return max(max(self.transfers, default=0), max(self.failed, default=0))

    def prepare(self) -> None:
        """Called before the effects are read."""

    # what the rules ask

    def existing_account(self, id_: int) -> AccountRow | None:
        row = self.created.get(id_) or self._frontier.created.get(id_)
        if row is None:
            slot = self._frontier.table.slots.get(id_)
            row = None if slot is None else self._frontier.table.row(slot)
        return row

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

    def existing_transfer(self, id_: int) -> TransferRow | Used | None:
        frontier = self._frontier
        held = self.transfers.get(id_) or frontier.transfers.get(id_)
        if held is not None:
            return held[0]._replace(timestamp=held[1])
        if id_ in self.failed or id_ in frontier.failed:
            return Used.UP
        position = frontier.index.find(id_)
        if position is None:
            return None
        row, took_effect = frontier.fetch(position)
        return row if took_effect else Used.UP

    def accounts_timestamp_max(self) -> int:
        return self.accounts_timestamp

    def transfers_timestamp_max(self) -> int:
        return self.transfers_timestamp

    def is_account_timestamp(self, timestamp: int) -> bool:
        if timestamp > self.accounts_timestamp:
            return False
        # In this order, and in one step: another thread may be settling what is in flight.
        in_flight = list(self._frontier.created.values())
        return any(
            row.timestamp == timestamp for row in in_flight
        ) or self._frontier.table.has_timestamp(timestamp)

    def is_transfer_timestamp(self, timestamp: int) -> bool:
        if timestamp > self.transfers_timestamp:
            return False
        in_flight = list(self._frontier.transfers.values())  # as above
        return any(held[1] == timestamp for held in in_flight) or self._frontier.has_transfer_at(
            timestamp
        )

    # what a decision changes

    def create_account(self, row: AccountRow) -> None:
        self.created[row.id] = row
        self.accounts_timestamp = row.timestamp
        if self._scope is not None:
            self._scope[0].append(row.id)

    def post(self, row: TransferRow, timestamp: int) -> None:
        self.transfers[row.id] = (row, timestamp)
        self.wide = self.wide or row.amount > _NARROW
        self._move(row, row.amount)
        self.transfers_timestamp = timestamp
        if self._scope is not None:
            self._scope[0].append(row.id)

    def fail(self, id_: int) -> None:
        self.failed.add(id_)

    def open_scope(self) -> None:
        """What follows can be taken back together."""
        self._scope = ([], self.accounts_timestamp, self.transfers_timestamp)

    def close_scope(self, *, keep: bool) -> None:
        if self._scope is None:
            raise AssertionError("there is no chain to close")
        ids, accounts_timestamp, transfers_timestamp = self._scope
        self._scope = None
        if keep:
            return
        for id_ in reversed(ids):
            if id_ in self.transfers:
                row, _ = self.transfers.pop(id_)
                self._move(row, -row.amount)
            else:
                del self.created[id_]
        self.accounts_timestamp = accounts_timestamp
        self.transfers_timestamp = transfers_timestamp

    def _move(self, row: TransferRow, amount: int) -> None:
        debit = self.accounts[row.debit_account_id]
        credit = self.accounts[row.credit_account_id]
        if debit is None or credit is None:
            raise AssertionError("a transfer was posted to an account that does not exist")
        debit.debits_posted += amount
        credit.credits_posted += amount


def _copy(account: AccountState) -> AccountState:
    return AccountState(
        account.slot,
        account.ledger,
        account.flags,
        account.timestamp,
        account.debits_pending,
        account.debits_posted,
        account.credits_pending,
        account.credits_posted,
    )
