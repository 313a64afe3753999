"""The ledger for asyncio: the same methods as coroutines. Many tasks share one sync."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

from nostro.journal.errors import JournalError, LedgerClosed
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Account, Rows
from nostro.journal.rows import check_ids, owned
from nostro.projections.ledger.ledger import LOOKUP_AT_ONCE_MAX, Ledger, OpenReport
from nostro.projections.ledger.past import PastLedger
from nostro.projections.ledger.request_thread import Call, RequestThread
from nostro.projections.pipeline.chains import chains_sent_again
from nostro.projections.pipeline.create_methods import CONVERTED_AT_ONCE_MAX, AsyncCreateMethods
from nostro.projections.pipeline.create_request import CreateRequest, create_request
from nostro.projections.pipeline.refusals import Events, Results, raise_for_status
from nostro.projections.queries.change_events import ChangeEvent

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.mirror.process import MirrorProcess

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("nostro")

_CHANGES_AT_ONCE: Final = 256
THREADS: Final = 16
"""The number of tasks that may read at once."""


def _in_pool(
    method: Callable[Concatenate[Ledger, P], T], copied: type = Sequence
) -> Callable[Concatenate[AsyncLedger, P], Coroutine[Any, Any, T]]:
    """A method of :class:`Ledger` as a coroutine, which runs it in a thread of the pool.

    The arguments are copied when it is called, before the await.

    Args:
        copied: the kind of the arguments that are copied.
    """

    @functools.wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, T]:
        kept = [owned(argument, copied) for argument in args]
        named = {name: owned(argument, copied) for name, argument in kwargs.items()}
        answer: Coroutine[Any, Any, T] = self._call(lambda: method(self._ledger, *kept, **named))
        return answer

    return call


def _raise_for_status(
    ledger: Ledger, results: Results, events: Events, *, allow_exists: bool = False
) -> None:
    """See :func:`~nostro.raise_for_status`; it looks up chains in this ledger."""
    raise_for_status(results, events, allow_exists=allow_exists, ledger=ledger)


def _chains_sent_again(ledger: Ledger, results: Rows, events: Rows) -> dict[range, bool]:
    """See :func:`projections.pipeline.chains.chains_sent_again`, for arrays of rows."""
    return chains_sent_again(results, events, ledger)


class AsyncLedger(AsyncCreateMethods):
    """A :class:`Ledger` whose methods are awaited. Use :meth:`open`.

    One thread carries out the requests that create, in the order of their calls. Requests that
    arrive while it works share the next record and its sync where that changes no answer. The other
    methods are those of :class:`Ledger`, run in a pool of threads. Arguments are copied when a
    method is called. A task that is cancelled stops waiting, and nothing else: what it has called
    is finished in its thread (docs/guides/retries.md).
    """

    @classmethod
    async def open(cls, path: Path | str, **options: Any) -> Self:
        """Open the ledger in ``path``; the options and errors are :meth:`Ledger.open`'s."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="nostro")
        opening = pool.submit(lambda: Ledger.open(path, **options))
        try:
            ledger = await asyncio.wrap_future(opening)
        except BaseException:  # also when cancelled: close the ledger once it is open
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

    def lookup_accounts(self, ids: Iterable[int]) -> Coroutine[Any, Any, list[Account]]:
        """See :meth:`Ledger.lookup_accounts`. A few are answered at once, if nothing must wait."""
        return self._lookup_accounts([*ids] if type(ids) is list else owned(ids, Iterable))

    async def _lookup_accounts(self, ids: Any) -> list[Account]:
        found = None
        if type(ids) is not list or len(ids) <= LOOKUP_AT_ONCE_MAX:
            ids = check_ids(ids)
            found = self._ledger.try_lookup_accounts(ids)
        return (
            await self._call(lambda: self._ledger.lookup_accounts(ids)) if found is None else found
        )

    lookup_transfers = _in_pool(Ledger.lookup_transfers, Iterable)
    lookup_refusals = _in_pool(Ledger.lookup_refusals, Iterable)
    get_account_transfers = _in_pool(Ledger.get_account_transfers)
    get_account_balances = _in_pool(Ledger.get_account_balances)
    query_accounts = _in_pool(Ledger.query_accounts)
    query_transfers = _in_pool(Ledger.query_transfers)
    accounts = _in_pool(Ledger.accounts)
    checkpoint = _in_pool(Ledger.checkpoint)
    state_sha256 = _in_pool(Ledger.state_sha256)
    raise_for_status = _in_pool(_raise_for_status)
    chains_sent_again = _in_pool(_chains_sent_again)
    check_writable = _in_pool(Ledger.check_writable)

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

    async def at(self, *, timestamp: int | None = None, position: int | None = None) -> PastLedger:
        """See :meth:`Ledger.at`.

        The methods of the answer read files in the caller's thread: use `await asyncio.to_thread`.
        """
        return await self._call(lambda: self._ledger.at(timestamp=timestamp, position=position))

    @property
    def position(self) -> int:
        return self._ledger.position

    @property
    def timestamp(self) -> int:
        return self._ledger.timestamp

    @property
    def account_count(self) -> int:
        """See :meth:`Ledger.account_count`."""
        return self._ledger.account_count

    @property
    def transfer_count(self) -> int:
        """See :meth:`Ledger.transfer_count`."""
        return self._ledger.transfer_count

    @property
    def is_open(self) -> bool:
        return not self._closed and self._ledger.is_open

    @property
    def mirror(self) -> MirrorProcess | None:
        return self._ledger.mirror

    @property
    def report(self) -> OpenReport:
        """What opening did."""
        return self._ledger.report

    async def close(self) -> None:
        """Finish the requests in flight and release the ledger. May be called again."""
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

    async def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        work: CreateRequest | Call
        if isinstance(events, list) and len(events) > CONVERTED_AT_ONCE_MAX:
            work = Call(lambda it: it.create(create_request(kind, events, balances=balances)))
        else:
            work = create_request(kind, events, balances=balances)
        if self._closed:
            raise LedgerClosed(self._ledger.path)
        return await self._thread.put(work).future


def _close_again(opening: Future[Ledger]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        ledger = opening.result()
        try:
            ledger.close()
        except (JournalError, OSError) as error:  # nobody waits, and nothing was acknowledged
            _log.info("%s: closing after a cancelled opening: %s", ledger.path, error)
