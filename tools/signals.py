"""Reacting to the signals that end a program."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def on_signal(react: Callable[[int], None], signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Call ``react`` with the number of each of these signals; restore the handlers afterwards."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        react(number)

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stop(threading.Event):
    """Set by a signal."""

    number = 0
    """The signal that was received last."""

    def react(self, number: int) -> None:
        self.number = number
        self.set()


@contextlib.contextmanager
def stop_on_signal(*more: signal.Signals) -> Iterator[Stop]:
    """Yield an event that SIGINT, SIGTERM, or one of ``more`` sets."""
    stop = Stop()
    with on_signal(stop.react, (*STOP_SIGNALS, *more)):
        yield stop
