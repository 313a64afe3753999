"""The methods common to a ledger in a journal and a ledger in a cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, Self, overload

import numpy as np
import numpy.typing as npt

from nostro.journal.model import (
    Account,
    AccountBalance,
    AccountFilter,
    CreateAccountResult,
    CreateTransferResult,
    QueryFilter,
    Rows,
    Transfer,
)
from nostro.projections.pipeline.answers import TransferWithBalances
from nostro.projections.queries.change_events import ChangeEvent


class LedgerClient(Protocol):
    """What :class:`~nostro.Ledger` and :class:`~nostro.ClusterLedger` share."""

    @overload
    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[False] = False
    ) -> list[CreateTransferResult]: ...
    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[True]
    ) -> list[TransferWithBalances]: ...
    @overload
    def create_transfers(self, transfers: Rows) -> npt.NDArray[np.void]: ...
    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]: ...
    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]: ...
    def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]: ...
    def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]: ...
    def query_accounts(self, query_filter: QueryFilter) -> list[Account]: ...
    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]: ...
    def get_change_events(
        self,
        *,
        timestamp_min: int = 0,
        follow: bool = False,
        stop: threading.Event | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[ChangeEvent]: ...
    @property
    def is_open(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
