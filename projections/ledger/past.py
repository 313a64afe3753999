"""A ledger as it was at a point in the past. Read-only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from nostro.journal.errors import LedgerClosed
from nostro.journal.model import Account, Rows, Transfer
from nostro.journal.rows import (
    accounts_from_bytes,
    accounts_from_rows,
    check_ids,
    copy_rows,
    transfers_from_rows,
)
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.queries.past_balances import PastPoint
from nostro.projections.state.ledger_state import LedgerState

_REPLAY_PAYS: Final = 1_000
"""From this many accounts on, a replay is faster than the indexes."""


class PastLedger:
    """The state of a ledger after ``position`` or at ``timestamp`` (ns), both inclusive.

    Look-ups by id use the indexes while the ledger is open. Everything else needs a replay from the
    nearest checkpoint, which happens once, on first use.
    """

    def __init__(
        self,
        storage: Storage,
        directory: Directory,
        point: PastPoint,
        account_rows_at: Callable[[Iterable[int], PastPoint], Rows],
        transfer_rows: Callable[[Iterable[int]], tuple[Rows, list[int]]],
    ) -> None:
        """Nothing is read yet; the last two are methods of the open ledger."""
        self._account_rows_at = account_rows_at
        self._transfer_rows = transfer_rows
        self._storage = storage
        self._directory = directory
        self._point = point
        self._replaying = threading.Lock()
        self._replayed: LedgerState | None = None

    @property
    def position(self) -> int:
        """The last event included. An import may have placed later events at earlier times.

        Raises:
            Damage: the journal cannot be read up to there; every replay raises it too.
        """
        return self._state.position

    @property
    def timestamp(self) -> int:
        """The time of the latest event included, ns."""
        return self._state.timestamp

    @property
    def transfer_count(self) -> int:
        return self._state.transfer_count

    def accounts(self) -> Rows:
        """``ACCOUNT[n]``: every account with its balances, in order of creation."""
        return copy_rows(self._state.accounts.rows)

    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """The accounts that existed, with their balances at that time."""
        ids = check_ids(ids)
        if self._replayed is None and len(ids) < _REPLAY_PAYS:
            try:
                return accounts_from_rows(self._account_rows_at(ids, self._point))
            except LedgerClosed:
                pass  # a replay of the journal still works
        return accounts_from_bytes(self._state.accounts.find(ids))

    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """The transfers that had taken effect by then.

        Raises:
            LedgerClosed: the present ledger was closed.
        """
        rows, positions = self._transfer_rows(ids)
        kept = np.array(positions, np.int64) <= self._point.position
        kept &= rows["timestamp"] <= np.uint64(self._point.timestamp)
        return transfers_from_rows(rows[kept])

    def state_sha256(self) -> bytes:
        """The hash of accounts, balances and position: equal for equal ledgers."""
        return self._state.sha256()

    @property
    def _state(self) -> LedgerState:
        with self._replaying:
            if self._replayed is None:
                self._replayed = restore_state(
                    self._storage, self._directory,
                    position_max=self._point.position, timestamp_max=self._point.timestamp,
                ).state  # fmt: skip
            return self._replayed
