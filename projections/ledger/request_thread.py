"""One thread that carries out the requests of event loops: in order, as few as can be."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from nostro.projections.ledger.ledger import Ledger
from nostro.projections.pipeline.create_request import CreateRequest, take_joined

T = TypeVar("T")


class RequestThread(Generic[T]):
    """Hands what is put in to one call at a time: in order, and as many as have come."""

    def __init__(self, name: str, handle: Callable[[list[T]], None]) -> None:
        self._handle = handle
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._items: list[T] = []
        self._is_busy = False

    def put(self, item: T) -> None:
        with self._lock:
            self._items.append(item)
            if not self._is_busy:
                self._is_busy = True
                self._thread.submit(self._work)

    def close(self) -> None:
        """Return once all that was put in has been handled; nothing can be put in any more."""
        self._thread.shutdown()

    def _work(self) -> None:
        while True:
            with self._lock:
                items, self._items = self._items, []
                if not items:
                    self._is_busy = False
                    return
            self._handle(items)


def together(ledger: Ledger, requests: Sequence[CreateRequest]) -> None:
    """Carry requests out in order, several as one where that changes no answer.

    Each has results or an error afterwards.
    """
    waiting = deque(requests)
    try:
        while waiting:
            ledger.carry_out(take_joined(waiting))
    except BaseException as cause:  # noqa: BLE001 - it is the callers', in another thread
        for request in requests:
            if request.results is None and request.error is None:
                request.fail(cause)
