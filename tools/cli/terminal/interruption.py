"""Ctrl-C and SIGTERM: never in the middle of a request, always soon."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Turns the signals into KeyboardInterrupt, but keeps it back while shielded."""

    def __init__(self) -> None:
        self._shielded = False
        self._requested = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the signals; the handlers of before come back afterwards."""
        with _handled(self._hear):
            yield

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Let the block finish before a signal counts."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._requested:
            raise KeyboardInterrupt

    def _hear(self) -> None:
        self._requested = True
        if not self._shielded:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that a signal sets."""
    stop = threading.Event()
    with _handled(stop.set):
        yield stop


@contextlib.contextmanager
def _handled(react: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        react()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
