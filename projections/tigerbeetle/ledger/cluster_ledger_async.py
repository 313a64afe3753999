"""The ledger in a cluster for asyncio: the same methods as coroutines."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sized
from typing import Any, Concatenate, ParamSpec, Self

from nostro.journal.format.codec import RecordKind
from nostro.journal.rows import owned
from nostro.projections.pipeline.create_methods import CONVERTED_AT_ONCE_MAX, AsyncCreateMethods
from nostro.projections.pipeline.refusals import Events, Results, raise_for_status
from nostro.projections.queries.change_events import ChangeEvent, check_reading
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.ledger.cluster_ledger import ClusterLedger
from nostro.projections.tigerbeetle.ledger.requests import Requests
from nostro.projections.tigerbeetle.session.effects import Effects, T, run_async

P = ParamSpec("P")


def _awaited(
    method: Callable[Concatenate[Requests, P], Effects[T]],
) -> Callable[Concatenate[AsyncClusterLedger, P], Coroutine[Any, Any, T]]:
    """A method of :class:`Requests` that waits for its answer in the running task.

    The ids or the filter are copied when it is called, before the await.
    """

    @functools.wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, T]:
        kept = [owned(argument, Iterable) for argument in args]
        named = {name: owned(argument, Iterable) for name, argument in kwargs.items()}
        answer: Coroutine[Any, Any, T] = self._request(method, *kept, **named)
        return answer

    return call


class AsyncClusterLedger(AsyncCreateMethods):
    """A :class:`ClusterLedger` whose methods are awaited. Use :meth:`open`.

    Arguments are copied when a method is called. A task that is cancelled or times out leaves its
    request on its way to the cluster, which may still carry it out: see docs/guides/retries.md.
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
        return await self._request(Requests.create, kind, events, balances=balances)

    async def _request(
        self, method: Callable[..., Effects[T]], *arguments: Any, **options: Any
    ) -> T:
        sizes = [len(it) for it in (*arguments, *options.values()) if isinstance(it, Sized)]
        return await run_async(
            method(self._ledger.requests, *arguments, **options),
            in_thread=max(sizes, default=0) > CONVERTED_AT_ONCE_MAX,
        )

    lookup_accounts = _awaited(Requests.lookup_accounts)
    lookup_transfers = _awaited(Requests.lookup_transfers)
    get_account_transfers = _awaited(Requests.get_account_transfers)
    get_account_balances = _awaited(Requests.get_account_balances)
    query_accounts = _awaited(Requests.query_accounts)
    query_transfers = _awaited(Requests.query_transfers)

    def raise_for_status(
        self, results: Results, events: Events, *, allow_exists: bool = False
    ) -> Coroutine[Any, Any, None]:
        """See :func:`~nostro.raise_for_status`; it looks up chains in this ledger."""
        return asyncio.to_thread(
            raise_for_status, owned(results), owned(events),
            allow_exists=allow_exists, ledger=self._ledger,
        )  # fmt: skip

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
