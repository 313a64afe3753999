"""The ledger in a cluster for asyncio: the same methods as coroutines."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self

from nostro.journal.format.codec import RecordKind
from nostro.projections.pipeline.create_methods import AsyncCreateMethods
from nostro.projections.queries.change_events import ChangeEvent, check_reading
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.ledger.cluster_ledger import ClusterLedger
from nostro.projections.tigerbeetle.ledger.requests import Requests
from nostro.projections.tigerbeetle.session.effects import Effects, T, run_async

P = ParamSpec("P")


def _awaited(
    method: Callable[Concatenate[Requests, P], Effects[T]],
) -> Callable[Concatenate[AsyncClusterLedger, P], Coroutine[Any, Any, T]]:
    """A method of :class:`Requests` that waits for its answer in the running task."""

    @functools.wraps(method)
    async def coroutine(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_async(method(self._ledger.requests, *args, **kwargs))

    return coroutine


class AsyncClusterLedger(AsyncCreateMethods):
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

    async def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        return await run_async(self._ledger.requests.create(kind, events, balances=balances))

    lookup_accounts = _awaited(Requests.lookup_accounts)
    lookup_transfers = _awaited(Requests.lookup_transfers)
    get_account_transfers = _awaited(Requests.get_account_transfers)
    get_account_balances = _awaited(Requests.get_account_balances)
    query_accounts = _awaited(Requests.query_accounts)
    query_transfers = _awaited(Requests.query_transfers)

    async def get_change_events(
        self,
        *,
        timestamp_min: int = 0,
        follow: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[ChangeEvent, None]:
        """See :meth:`ClusterLedger.get_change_events`."""
        timestamp_min = check_reading(timestamp_min, timeout_seconds, None)
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
