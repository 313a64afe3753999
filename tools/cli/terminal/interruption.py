"""Ctrl-C and SIGTERM: never in the middle of a request, always soon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nostro.tools.signals import STOP_SIGNALS, on_signal


class Interruption:
    """Turns the signals into KeyboardInterrupt, but delays it while shielded."""

    def __init__(self) -> None:
        self._shielded = False
        self._requested = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the signals inside the block."""
        with on_signal(self._request, STOP_SIGNALS):
            yield

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Let the block finish before a signal raises."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._requested:
            raise KeyboardInterrupt

    def _request(self) -> None:
        self._requested = True
        if not self._shielded:
            raise KeyboardInterrupt
