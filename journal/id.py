"""Time-ordered 128-bit ids."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

_RANDOM_BITS: Final = 80


class _Generator:
    """48 bits of milliseconds, then 80 random bits that count up within a millisecond.

    The layout of a ULID, as in TigerBeetle's clients, so ids sort by time of creation.
    """

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> int:
        milliseconds = time.time_ns() // 1_000_000
        with self._lock:
            if milliseconds > self._last >> _RANDOM_BITS:
                random = int.from_bytes(os.urandom(_RANDOM_BITS // 8), "little")
                self._last = milliseconds << _RANDOM_BITS | random
            else:  # same millisecond, or the clock went back: count on
                self._last += 1
            return self._last


_generator = _Generator()
os.register_at_fork(after_in_child=_generator.start_afresh)  # or both would count on alike


def id() -> int:
    """A new id: time-ordered, strictly increasing within a process, thread-safe."""
    return _generator()
