"""Merges runs of similar size on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import attrs

from nostro.projections.indexes.run_file import NUMBER_MAX, RunFiles
from nostro.projections.indexes.run_stack import RunStack

RETRY_SECONDS: Final = 10.0
_RETRIES_DOUBLE_UNTIL: Final = 64
"""Times the first wait; later waits are no longer."""
RUNS_MAX: Final = 32
"""When an index has more, writers wait for the merges under way."""
_SMALL: Final = 250_000
"""So many entries are merged even while the ledger is closed: it takes 0.1 s."""
_log = logging.getLogger("nostro")

_Stack = RunStack[Any]


class _Stopped(Exception):
    """The merge is not wanted any more."""


class Merger:
    """Merges the runs of some indexes whenever it pays, and removes what was merged.

    A large merge takes seconds, and new runs come meanwhile: between its pieces, those that are
    newer than what it takes in are merged first. So there are never many.
    """

    def __init__(
        self, stacks: Sequence[_Stack], files: RunFiles, *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        """Nothing is merged before :meth:`start`.

        Args:
            retry_seconds: wait so long after a merge failed, and twice as long after each further
                failure.
        """
        self._stacks = stacks
        self._files = attrs.evolve(files, pause=self._pause)
        self._after = dict.fromkeys(stacks, 0)
        """Of each index, the last position that a merge under way takes in."""
        self._under_way: list[int] = []
        """How many entries each merge under way takes in; the last one is at work."""
        self._unswept = set(stacks)
        """Those that may have files which were merged; after a crash, any."""
        self._retry_at = 0.0
        self._retry_after = self._retry_after_first = retry_seconds
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nostro-merge", daemon=True)

    def start(self) -> None:
        """Begin with what is due now."""
        self._news.set()
        self._thread.start()

    def wake(self) -> None:
        """There are new runs in files."""
        self._news.set()

    @property
    def is_behind(self) -> bool:
        """Whether an index has more runs than it should, and soon will have fewer."""
        return bool(self._under_way) and any(len(stack.runs) > RUNS_MAX for stack in self._stacks)

    def close(self) -> None:
        """Stop, though a large merge be under way: nothing is lost by it. May be repeated."""
        self._closing.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._news.wait(self._retry_seconds or None)
            self._merge_due()

    @property
    def _retry_seconds(self) -> float:
        """How long nothing is to be tried; 0 if it may be now."""
        return max(0.0, self._retry_at - time.monotonic())

    def _merge_due(self) -> None:
        self._news.clear()
        for stack in self._stacks:
            while not self._retry_seconds:
                size_max = _SMALL if self._closing.is_set() else NUMBER_MAX
                runs = stack.due(after=self._after[stack], size_max=size_max)
                if not runs and stack not in self._unswept:
                    break
                self._try(stack, runs)

    def _try(self, stack: _Stack, runs: Sequence[Any]) -> None:
        """Merge, and remove the merged; a failure to must not stop the ledger."""
        try:
            if runs:
                self._merge(stack, runs)
            stack.sweep(self._files)
            self._unswept.discard(stack)
            self._retry_after = self._retry_after_first
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - any failure is logged and tried again
            if not self._retry_seconds:
                reason = str(error) or repr(error)
                _log.warning("no merge of %s: %s", stack.kind.suffix, reason)
            self._retry_at = time.monotonic() + self._retry_after
            self._retry_after = min(
                2 * self._retry_after, _RETRIES_DOUBLE_UNTIL * self._retry_after_first
            )

    def _merge(self, stack: _Stack, runs: Sequence[Any]) -> None:
        self._check_room(stack, runs)
        before = self._after[stack]
        self._after[stack] = runs[-1].span.position_last
        self._under_way.append(sum(run.size for run in runs))
        try:
            stack.merge(self._files, runs)
            self._unswept.add(stack)
        finally:
            self._under_way.pop()
            self._after[stack] = before

    def _check_room(self, stack: _Stack, runs: Sequence[Any]) -> None:
        """Leave the last room to the journal: a merge needs as much as it writes, for a while."""
        needed_bytes = 2 * stack.stored_bytes(self._files, runs)
        free_bytes = self._files.storage.free_bytes(self._files.folder)
        if free_bytes is not None and free_bytes < needed_bytes:
            raise OSError(f"{needed_bytes:,} bytes must be free for it, only {free_bytes:,} are")

    def _pause(self) -> None:
        """Between the pieces of a merge."""
        if self._closing.is_set() and self._under_way[-1] > _SMALL:
            raise _Stopped
        if self._news.is_set():
            self._merge_due()
