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
def on_signal(react: Callable[[], None], signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Call ``react`` on each of these signals; restore the earlier handlers afterwards."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        react()

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_on_signal(*more: signal.Signals) -> Iterator[threading.Event]:
    """Yield an event that SIGINT, SIGTERM, or one of ``more`` sets."""
    stop = threading.Event()
    with on_signal(stop.set, (*STOP_SIGNALS, *more)):
        yield stop
