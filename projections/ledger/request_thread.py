"""Requests of asyncio tasks on their way to a ledger: one thread carries them out in order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import Any

import attrs

from nostro.journal.errors import LedgerClosed
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.pipeline.create_request import CreateRequest, take_joined


@attrs.define(eq=False)
class Call:
    """A call that takes its turn between requests."""

    function: Callable[[Ledger], Any]
    value: Any = None
    error: BaseException | None = None

    def carry_out(self, ledger: Ledger, *, is_stopped: bool) -> None:
        """Call the function with ``ledger``, unless the thread is stopped."""
        try:
            if is_stopped:
                raise LedgerClosed(ledger.path)
            self.value = self.function(ledger)
        except BaseException as cause:  # noqa: BLE001 - the caller, in another thread, raises it
            self.error = cause

    def answer(self) -> Any:
        """What the function returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


@attrs.frozen(eq=False)
class Waiting:
    """A task that waits for the answer to a request or a call."""

    work: CreateRequest | Call
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def fail(self, error: BaseException) -> None:
        """End the wait with ``error``, from any thread; an answer given before stands."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(_fail, self.future, error)


class RequestThread:
    """Carries out what tasks put in, in order. Requests that wait together may share a record."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._is_busy = False
        self._is_stopped = False

    def put(self, work: CreateRequest | Call) -> Waiting:
        """Queue ``work``; the running task awaits the ``future`` of what comes back.

        Raises:
            LedgerClosed: :meth:`close` was called.
        """
        loop = asyncio.get_running_loop()
        waiting = Waiting(work, loop, loop.create_future())
        with self._lock:
            self._waiting.append(waiting)
            if not self._is_busy:
                try:
                    self._thread.submit(self._run)
                except RuntimeError:  # closed just now, from another loop
                    raise LedgerClosed(self._ledger.path) from None
                self._is_busy = True
        return waiting

    def stop(self) -> None:
        """Begin nothing more: everything that still waits gets LedgerClosed."""
        self._is_stopped = True

    def close(self) -> None:
        """Return once everything queued is done; nothing can be queued any more."""
        self._thread.shutdown()

    def _run(self) -> None:
        while True:
            with self._lock:
                taken, self._waiting = self._waiting, []
                if not taken:
                    self._is_busy = False
                    return
            self._carry_out([waiting.work for waiting in taken])
            for loop in {waiting.loop for waiting in taken}:
                of_loop = [waiting for waiting in taken if waiting.loop is loop]
                with suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(_answer, of_loop)

    def _carry_out(self, works: Sequence[CreateRequest | Call]) -> None:
        for kind, group in groupby(works, type):
            if kind is CreateRequest:
                self._create([work for work in group if isinstance(work, CreateRequest)])
            else:
                for call in group:
                    if isinstance(call, Call):
                        call.carry_out(self._ledger, is_stopped=self._is_stopped)

    def _create(self, requests: Sequence[CreateRequest]) -> None:
        """Create in order; several requests become one record where that changes no answer."""
        waiting = deque(requests)
        try:
            while waiting:
                if self._is_stopped:
                    raise LedgerClosed(self._ledger.path)
                self._ledger.carry_out(take_joined(waiting))
        except BaseException as cause:  # noqa: BLE001 - the callers, in other threads, raise it
            for request in requests:
                if request.results is None and request.error is None:
                    request.fail(cause)


def _answer(taken: Sequence[Waiting]) -> None:
    """Answer tasks, in their loop."""
    for waiting in taken:
        if waiting.future.done():
            continue  # cancelled
        try:
            waiting.future.set_result(waiting.work.answer())
        except BaseException as cause:  # noqa: BLE001 - the task raises it
            waiting.future.set_exception(cause)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
