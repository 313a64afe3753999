"""A limit on the share of time that long work takes while a writer is active."""

from __future__ import annotations

import time
from typing import Final

from nostro.journal.errors import InvalidField

PACE_DEFAULT: Final = 0.1
"""A writer then keeps nine tenths of its speed or more (docs/performance.md)."""

_PIECE_SECONDS: Final = 0.002
_PAUSE_SECONDS_MAX: Final = 0.5


class Throttle:
    """Pauses between pieces of work, to spend at most ``share`` of the time at work.

    Raises:
        InvalidField: the share is not above 0 and at most 1.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise InvalidField("pace", share, "must be above 0 and at most 1")
        self._pause_per_second = 1 / share - 1
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """Call after each piece of work; returns when the next may begin."""
        if not self._pause_per_second:
            return
        worked = time.perf_counter() - self._resumed
        if worked < _PIECE_SECONDS:
            return
        time.sleep(min(worked * self._pause_per_second, _PAUSE_SECONDS_MAX))
        self._resumed = time.perf_counter()
