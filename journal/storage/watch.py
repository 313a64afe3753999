"""Waiting for HEAD to move. Only a hint: the reader reads HEAD after each wait."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import watchfiles

WAIT_SECONDS_MAX: Final = 0.25
"""HEAD is read this often even if no change was reported."""

POLL_SECONDS: Final = 0.05
_DEBOUNCE_MILLISECONDS: Final = 20
_STEP_MILLISECONDS: Final = 2


class HeadWatcher:
    """Woken by the system's file notifications; by the clock where those are not to be had."""

    def __init__(self, path: Path, *, stop: threading.Event) -> None:
        self._stop = stop
        self._changes: Generator[set[Any], None, None] | None = watchfiles.watch(
            path,
            watch_filter=None,
            debounce=_DEBOUNCE_MILLISECONDS,
            step=_STEP_MILLISECONDS,
            stop_event=stop,
            rust_timeout=int(WAIT_SECONDS_MAX * 1000),
            yield_on_timeout=True,
            raise_interrupt=True,
            recursive=False,
        )

    def wait(self) -> None:
        """Return when the file changed, after WAIT_SECONDS_MAX, or when ``stop`` is set."""
        if self._changes is None:
            self._stop.wait(POLL_SECONDS)
            return
        try:
            next(self._changes, None)
        except (OSError, RuntimeError):  # no more watches, or a file system without them
            self._changes = None

    def close(self) -> None:
        if self._changes is not None:
            self._changes.close()
