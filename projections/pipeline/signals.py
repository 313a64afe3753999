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

    Only the main thread has anything to hold back: elsewhere it is just the call. Within another
    such call it is, too: the outer one lets the handlers go.
    """
    held = _HELD
    if held.is_holding or threading.get_ident() != threading.main_thread().ident:
        return call(*arguments)
    try:
        held.hold()
        return call(*arguments)
    finally:
        held.let_go()


class _Held:
    """Holds handlers back for the main thread; one of these is enough, and nothing to make anew."""

    def __init__(self) -> None:
        self.is_holding = False
        self._all: list[Any] = []
        self._stand_ins: list[_StandIn] = []
        """One for each handler in Python; looked for again only once a handler has changed."""
        self._replaced: list[_StandIn] = []
        """Those that are in place, or about to be."""
        self._called: list[tuple[_Handler, int, FrameType | None]] = []

    def hold(self) -> None:
        """Put a stand-in in the place of every handler that is written in Python."""
        handlers = list(map(_signal.getsignal, _NUMBERS))
        if handlers != self._all:
            self._stand_ins = [
                _StandIn(self, number, _real(handler))
                for number, handler in zip(_NUMBERS, handlers, strict=True)
                if callable(handler)
            ]
            self._all = handlers
        self._replaced = self._stand_ins
        self.is_holding = True
        for stand_in in self._stand_ins:
            _signal.signal(stand_in.number, stand_in)

    def receive(self, stand_in: _StandIn, number: int, frame: FrameType | None) -> None:
        if self.is_holding:
            self._called.append((stand_in.handler, number, frame))
        else:
            stand_in.handler(number, frame)

    def let_go(self) -> None:
        """Put the handlers back, then run those that were called.

        A handler may raise at any point here. A stand-in that is then left behind passes on
        what it receives, as the handler itself would have got it.
        """
        self.is_holding = False
        replaced, self._replaced = self._replaced, []
        try:
            for stand_in in replaced:
                _signal.signal(stand_in.number, stand_in.handler)
        finally:
            if self._called:
                self._run_called()

    def _run_called(self) -> None:
        if self._called:
            handler, number, frame = self._called.pop(0)
            try:
                handler(number, frame)
            finally:
                self._run_called()


class _StandIn:
    """Installed in a handler's place."""

    def __init__(self, held: _Held, number: int, handler: _Handler) -> None:
        self.held = held
        self.number = number
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.held.receive(self, number, frame)


def _real(handler: _Handler) -> _Handler:
    """What a stand-in that was left behind stands for."""
    return handler.handler if isinstance(handler, _StandIn) else handler


_HELD: Final = _Held()
