"""A thread that no signal can interrupt, for what must not stop half-way.

Python runs signal handlers on the main thread, between any two instructions: a Ctrl-C could fall
between a record's way into the journal and its way into the balances. So what the main thread asks
of a ledger is done by another thread, and the main thread waits. If it is interrupted while it
waits, the request is finished all the same; only its answer is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Answers = SimpleQueue[tuple[Any, BaseException | None]]
_Job = tuple[Callable[[], Any], _Answers]


class Shelter:
    """Runs calls of the main thread on a thread of its own, which starts with the first one."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises."""
        if threading.current_thread() is not threading.main_thread():
            return call()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="nostro-request", daemon=True)
            self._thread.start()
        answers: _Answers = SimpleQueue()
        self._jobs.put((call, answers))
        answer, error = answers.get()
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the thread, once it has done what it was given. A later call starts another."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, answers = job
            try:
                answers.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                answers.put((None, error))
            del job, call, answers  # or the last request would be kept until the next
