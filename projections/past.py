"""A ledger as it was at a past moment. Read-only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from journal.codec import Rows
from journal.model import Account, Transfer
from journal.rows import accounts_from_bytes, check_ids, copy_rows, transfers_from_rows
from projections.state import LedgerState


class TransferSource(Protocol):
    """Where a past ledger finds its transfers."""

    def transfer_rows(self, ids: Iterable[int]) -> tuple[Rows, list[int]]:
        """``TRANSFER[m]`` of those that took effect, and their positions."""
        ...


class PastLedger:
    """What the ledger held after ``position``, or at ``timestamp`` (ns), both included."""

    def __init__(
        self,
        state: LedgerState,
        transfers: TransferSource,
        *,
        position: int,
        timestamp: int | None,
    ) -> None:
        self._state = state
        self._transfers = transfers
        self._position_max = position
        self._timestamp_max = timestamp

    @property
    def position(self) -> int:
        """The last event included. An import may have placed later events at earlier times."""
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
        """The accounts that existed, with their balances of that moment."""
        return accounts_from_bytes(self._state.accounts.find(check_ids(ids)))

    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """The transfers that had taken effect by then."""
        rows, positions = self._transfers.transfer_rows(ids)
        kept = np.array(positions, np.int64) <= self._position_max
        if self._timestamp_max is not None:
            kept &= rows["timestamp"] <= np.uint64(self._timestamp_max)
        return transfers_from_rows(rows[kept])

    def state_sha256(self) -> bytes:
        """The hash of accounts, balances and position: equal for equal ledgers."""
        return self._state.sha256()
