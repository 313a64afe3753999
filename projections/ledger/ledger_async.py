"""The ledger for asyncio: the same methods, as coroutines; many tasks share one sync."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import LedgerClosed
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
from nostro.projections.checkpoints.checkpoint import Checkpoint
from nostro.projections.ledger.ledger import Ledger, OpenReport
from nostro.projections.ledger.past import PastLedger
from nostro.projections.ledger.request_thread import RequestThread
from nostro.projections.pipeline.answers import TransferWithBalances
from nostro.projections.pipeline.create_request import CreateRequest
from nostro.projections.queries.change_events import ChangeEvent

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.mirror.process import MirrorProcess

T = TypeVar("T")

_CHANGES_AT_ONCE: Final = 256
THREADS: Final = 16
"""So many tasks may read at once."""


class AsyncLedger:
    """A :class:`Ledger` whose methods are awaited. Use :meth:`open`.

    What tasks create is carried out in the order of their calls, by one thread: requests that come
    while it is at work share the next record and its sync, as far as that changes no answer.
    """

    @classmethod
    async def open(cls, path: Path | str, **options: Any) -> Self:
        """Open the ledger in ``path``; the options and errors are :meth:`Ledger.open`'s."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="nostro")
        opening = pool.submit(lambda: Ledger.open(path, **options))
        try:
            ledger = await asyncio.wrap_future(opening)
        except BaseException:  # also when cancelled: what is opened meanwhile is closed again
            opening.add_done_callback(_close_again)
            pool.shutdown(wait=False)
            raise
        return cls(ledger, pool)

    def __init__(self, ledger: Ledger, pool: ThreadPoolExecutor) -> None:
        self._ledger = ledger
        self._pool = pool
        self._closed = False
        self._thread = RequestThread("nostro-create", ledger)
        self._following: set[threading.Event] = set()

    @overload
    async def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    async def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    async def create_accounts(self, accounts: Any) -> Any:
        """See :meth:`Ledger.create_accounts`."""
        return await self._create(self._ledger.accounts_request(accounts))

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
        """See :meth:`Ledger.create_transfers`."""
        return await self._create(self._ledger.transfers_request(transfers, balances=balances))

    async def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """See :meth:`Ledger.lookup_accounts`. Answered at once, from memory."""
        return self._ledger.lookup_accounts(ids)

    async def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """See :meth:`Ledger.lookup_transfers`."""
        return await self._call(lambda: self._ledger.lookup_transfers(ids))

    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """See :meth:`Ledger.get_account_transfers`."""
        return await self._call(lambda: self._ledger.get_account_transfers(filter))

    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """See :meth:`Ledger.get_account_balances`."""
        return await self._call(lambda: self._ledger.get_account_balances(filter))

    async def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """See :meth:`Ledger.query_accounts`."""
        return await self._call(lambda: self._ledger.query_accounts(query_filter))

    async def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """See :meth:`Ledger.query_transfers`."""
        return await self._call(lambda: self._ledger.query_transfers(query_filter))

    async def get_change_events(
        self,
        *,
        position_min: int = 1,
        timestamp_min: int = 0,
        follow: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[ChangeEvent, None]:
        """See :meth:`Ledger.get_change_events`; following ends when the iterator is closed."""
        stop = threading.Event()
        self._following.add(stop)
        count = 1 if follow else _CHANGES_AT_ONCE
        try:
            events = await self._call(
                lambda: self._ledger.get_change_events(
                    position_min=position_min,
                    timestamp_min=timestamp_min,
                    follow=follow,
                    stop=stop,
                    timeout_seconds=timeout_seconds,
                )
            )
            while some := await self._call(lambda: list(islice(events, count))):
                for event in some:
                    yield event
        finally:
            stop.set()
            self._following.discard(stop)

    async def accounts(self) -> Rows:
        """See :meth:`Ledger.accounts`."""
        return await self._call(self._ledger.accounts)

    async def at(self, *, timestamp: int | None = None, position: int | None = None) -> PastLedger:
        """See :meth:`Ledger.at`.

        What is asked of the answer reads files in the caller's thread: `await asyncio.to_thread`.
        """
        return await self._call(lambda: self._ledger.at(timestamp=timestamp, position=position))

    async def checkpoint(self) -> Checkpoint:
        """See :meth:`Ledger.checkpoint`."""
        return await self._call(self._ledger.checkpoint)

    @property
    def position(self) -> int:
        """See :attr:`Ledger.position`."""
        return self._ledger.position

    @property
    def timestamp(self) -> int:
        """See :attr:`Ledger.timestamp`."""
        return self._ledger.timestamp

    @property
    def account_count(self) -> int:
        """See :attr:`Ledger.account_count`."""
        return self._ledger.account_count

    @property
    def transfer_count(self) -> int:
        """See :attr:`Ledger.transfer_count`."""
        return self._ledger.transfer_count

    @property
    def is_open(self) -> bool:
        """See :attr:`Ledger.is_open`."""
        return not self._closed and self._ledger.is_open

    def check_writable(self) -> None:
        """See :meth:`Ledger.check_writable`."""
        self._ledger.check_writable()

    @property
    def mirror(self) -> MirrorProcess | None:
        """See :attr:`Ledger.mirror`."""
        return self._ledger.mirror

    async def state_sha256(self) -> bytes:
        """See :meth:`Ledger.state_sha256`."""
        return await self._call(self._ledger.state_sha256)

    @property
    def report(self) -> OpenReport:
        """What opening did."""
        return self._ledger.report

    async def close(self) -> None:
        """Finish what is in flight and release the ledger. May be repeated."""
        self._closed = True
        for stop in list(self._following):
            stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._finish)

    def _finish(self) -> None:
        try:
            self._ledger.close()
        finally:
            self._thread.close()
            self._pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, function: Callable[[], T]) -> T:
        if self._closed:
            raise LedgerClosed(self._ledger.path)
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    async def _create(self, request: CreateRequest) -> Any:
        if self._closed:
            raise LedgerClosed(self._ledger.path)
        return await self._thread.put(request).future


def _close_again(opening: Future[Ledger]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
