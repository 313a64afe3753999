"""Calls that no signal handler can stop half-way.

Python runs signal handlers on the main thread, between any two instructions: a Ctrl-C could fall
between a record's way into the journal and its way into the balances. So while the main thread is
inside such a call, handlers written in Python are held back, and run as soon as the call is done.
The request is finished; if the handler raises, as that of Ctrl-C does, only its answer is lost.

Handlers come from ``_signal``, the C module under ``signal``: the latter turns every answer into
an enum, which takes 40 µs for all signals instead of 4, of the 250 that a request may take.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")

_Handler = Callable[[int, FrameType | None], Any]

_NUMBERS: Final = sorted(int(number) for number in signal.valid_signals())


def uninterrupted(call: Callable[..., T], *arguments: Any) -> T:
    """What ``call`` returns or raises; signal handlers wait until then.

    Only the main thread has anything to hold back: elsewhere it is just the call.
    """
    if threading.current_thread() is not threading.main_thread():
        return call(*arguments)
    held = _Held()
    try:
        held.replace_handlers()
        return call(*arguments)
    finally:
        held.let_go()


class _Held:
    """The handlers that wait, and which of them were called meanwhile."""

    def __init__(self) -> None:
        self._holding = True
        self._replaced: list[_StandIn] = []
        self._called: list[tuple[_Handler, int, FrameType | None]] = []

    def replace_handlers(self) -> None:
        for number, handler in _PYTHON_HANDLERS.find():
            if isinstance(handler, _StandIn) and handler.held.is_holding:
                continue  # a call within a call: the outer one lets go
            real = handler.handler if isinstance(handler, _StandIn) else handler
            stand_in = _StandIn(self, number, real)
            self._replaced.append(stand_in)
            _signal.signal(number, stand_in)

    @property
    def is_holding(self) -> bool:
        return self._holding

    def receive(self, stand_in: _StandIn, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self._called.append((stand_in.handler, number, frame))
        else:
            stand_in.handler(number, frame)

    def let_go(self) -> None:
        """Put the handlers back, then run those that were called.

        A handler may raise at any point here. A stand-in that is then left behind passes on
        what it receives, as the handler itself would have got it.
        """
        self._holding = False
        try:
            for stand_in in self._replaced:
                _signal.signal(stand_in.number, stand_in.handler)
        finally:
            self._run_called()

    def _run_called(self) -> None:
        if self._called:
            handler, number, frame = self._called.pop(0)
            try:
                handler(number, frame)
            finally:
                self._run_called()


class _PythonHandlers:
    """Which signals have a handler in Python; looked through again only once one has changed."""

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._in_python: list[tuple[int, _Handler]] = []

    def find(self) -> list[tuple[int, _Handler]]:
        handlers = list(map(_signal.getsignal, _NUMBERS))
        if handlers != self._all:
            pairs = zip(_NUMBERS, handlers, strict=True)
            self._in_python = [pair for pair in pairs if callable(pair[1])]
            self._all = handlers
        return self._in_python


_PYTHON_HANDLERS: Final = _PythonHandlers()


class _StandIn:
    """Installed in a handler's place."""

    def __init__(self, held: _Held, number: int, handler: _Handler) -> None:
        self.held = held
        self.number = number
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.held.receive(self, number, frame)
