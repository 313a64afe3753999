"""Processes for crash tests: forked from one that has everything imported."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.context import ForkServerContext
from typing import Final, TypeVar

R = TypeVar("R")

_IMPORTED: Final = ["tests.crash.exploring", "tests.crash.script", "tests.crash.writing"]
"""There is one such process for all tests, so it imports what any of them needs."""


def fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once(count: int, jobs: Iterable[Callable[[], R]]) -> list[R]:
    """What each job returned that :func:`as_they_end` does."""
    return list(as_they_end(count, jobs))


def as_they_end(count: int, jobs: Iterable[Callable[[], R]]) -> Iterator[R]:
    """Do each job in a process, so many at a time; what each returned, as they end.

    Such a process has no threads, so it may fork others of its own.

    Raises:
        Exception: what the first job raised that failed; those not begun by then are not done.
    """
    with ProcessPoolExecutor(count, fork_server()) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
