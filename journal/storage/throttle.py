"""How fast long work on a journal goes while somebody writes to it: at a share of the time."""

from __future__ import annotations

import time
from typing import Final

from nostro.journal.errors import InvalidField

PACE: Final = 0.1
"""The share that leaves a writer about nine tenths of its speed or more (docs/performance.md)."""

_PIECE_SECONDS: Final = 0.002
_PAUSE_SECONDS_MAX: Final = 0.5


class Pace:
    """Works so that at most a share of the time is spent at work, and pauses for the rest.

    Raises:
        InvalidField: the share is not above 0 and at most 1.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise InvalidField("pace", share, "must be above 0 and at most 1")
        self._pause_per_second = 1 / share - 1
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """To be called after each piece of work; returns when the next may begin."""
        if not self._pause_per_second:
            return
        worked = time.perf_counter() - self._resumed
        if worked < _PIECE_SECONDS:
            return
        time.sleep(min(worked * self._pause_per_second, _PAUSE_SECONDS_MAX))
        self._resumed = time.perf_counter()
