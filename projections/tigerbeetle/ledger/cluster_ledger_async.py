"""The ledger in a cluster for asyncio: the same methods as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Literal, Self, overload

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
from nostro.projections.queries.change_events import ChangeEvent, check_reading
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.ledger.cluster_ledger import ClusterLedger
from nostro.projections.tigerbeetle.session.effects import run_async


class AsyncClusterLedger:
    """A :class:`ClusterLedger` whose methods are awaited. Use :meth:`open`.

    A task that is cancelled leaves its request in flight.
    """

    @classmethod
    async def open(cls, configuration: ClusterConfiguration, **options: Any) -> Self:
        """See :meth:`ClusterLedger.open`. All sessions are opened now."""
        opening = asyncio.create_task(asyncio.to_thread(_open_all, configuration, options))
        try:
            return cls(await asyncio.shield(opening))
        except asyncio.CancelledError:  # sessions that open meanwhile are closed again
            opening.add_done_callback(_close_again)
            raise

    def __init__(self, ledger: ClusterLedger) -> None:
        self._ledger = ledger

    @overload
    async def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    async def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    async def create_accounts(self, accounts: Any) -> Any:
        """See :meth:`ClusterLedger.create_accounts`."""
        return await run_async(self._ledger.requests.create_accounts(accounts))

    @overload
    async def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[False] = False
    ) -> list[CreateTransferResult]: ...
    @overload
    async def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[True]
    ) -> list[TransferWithBalances]: ...
    @overload
    async def create_transfers(self, transfers: Rows) -> npt.NDArray[np.void]: ...
    async def create_transfers(self, transfers: Any, *, balances: bool = False) -> Any:
        """See :meth:`ClusterLedger.create_transfers`."""
        effects = self._ledger.requests.create_transfers(transfers, balances=balances)
        return await run_async(effects)

    async def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """See :meth:`ClusterLedger.lookup_accounts`."""
        return await run_async(self._ledger.requests.lookup_accounts(ids))

    async def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """See :meth:`ClusterLedger.lookup_transfers`."""
        return await run_async(self._ledger.requests.lookup_transfers(ids))

    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """See :meth:`ClusterLedger.get_account_transfers`."""
        return await run_async(self._ledger.requests.get_account_transfers(filter))

    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """See :meth:`ClusterLedger.get_account_balances`."""
        return await run_async(self._ledger.requests.get_account_balances(filter))

    async def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """See :meth:`ClusterLedger.query_accounts`."""
        return await run_async(self._ledger.requests.query_accounts(query_filter))

    async def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """See :meth:`ClusterLedger.query_transfers`."""
        return await run_async(self._ledger.requests.query_transfers(query_filter))

    async def get_change_events(
        self,
        *,
        timestamp_min: int = 0,
        follow: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[ChangeEvent, None]:
        """See :meth:`ClusterLedger.get_change_events`."""
        check_reading(timestamp_min, timeout_seconds, None)
        reading = self._ledger.requests.read_changes(
            timestamp_min=timestamp_min, follow=follow, timeout_seconds=timeout_seconds
        )
        while (seconds := reading.pause_seconds()) is not None:
            await asyncio.sleep(seconds)
            for event in await run_async(reading.page()):
                yield event

    @property
    def is_open(self) -> bool:
        """See :attr:`ClusterLedger.is_open`."""
        return self._ledger.is_open

    async def close(self) -> None:
        """End every session, also under other tasks' requests. May be repeated."""
        await asyncio.to_thread(self._ledger.close)

    async def __aenter__(self) -> Self:
        self._ledger.pool.check_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _open_all(configuration: ClusterConfiguration, options: dict[str, Any]) -> ClusterLedger:
    ledger = ClusterLedger.open(configuration, **options)
    ledger.pool.fill()  # opening a session later would hold up the loop
    return ledger


def _close_again(opening: asyncio.Task[ClusterLedger]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
