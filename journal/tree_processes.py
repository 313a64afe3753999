"""Hashing on several processes: each reads its own stretch of the journal.

SHA-256 of so short a message runs under Python's global lock, so threads gain nothing: processes
do. What they answer with is 32 bytes for 4,096 events.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from journal.reader import Reader
from journal.tree_hashing import hash_subtrees

_readers: Final[list[Reader]] = []
"""In a process of the pool, its own."""


def hash_stretches(
    path: Path, bounds: Sequence[tuple[int, int]], *, processes: int
) -> Iterator[bytes]:
    """The roots of the subtrees of each stretch (first, last + 1), in order.

    Raises:
        Damage: the journal cannot be read there.
    """
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),  # this process may have threads
        initializer=_begin,
        initargs=(path,),
    )
    try:
        yield from pool.map(_hash, *zip(*bounds, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asked decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _readers.append(Reader(path))


def _end_with_parent() -> None:
    """A process that was killed tells its pool nothing, and the pool would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _hash(first: int, last: int) -> bytes:
    return hash_subtrees(_readers[0], first, last)
