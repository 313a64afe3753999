"""Processes for crash tests: forked from one that has everything imported."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext
from typing import Final

_IMPORTED: Final = ["tests.crash.exploring", "tests.crash.script", "tests.crash.writing"]
"""There is one such process for all tests, so it imports what any of them needs."""


def fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context
