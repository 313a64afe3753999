"""Waiting for what another thread will do, with an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

TIMEOUT_SECONDS: Final = 60.0


def until(condition: Callable[[], object]) -> None:
    """Return as soon as ``condition()`` holds."""
    pause = threading.Event()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        pause.wait(0.001)
