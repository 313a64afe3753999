"""Hashing stretches of the journal into subtree roots, in this process or in several.

SHA-256 of so short a message runs under Python's global lock, so threads gain nothing: processes
do. What they answer with is 32 bytes for 4,096 events.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from nostro.journal.evidence.entries import leaf_hashes
from nostro.journal.evidence.merkle import HASH_BYTES, root_over
from nostro.journal.evidence.tree_file import SUBTREE_EVENTS
from nostro.journal.reading.reader import Cursor, Reader

STRETCH_SUBTREES: Final = 64
"""So many subtrees are one task: a few tenths of a second, and much longer than to hand it out."""

_SUBTREE_BYTES: Final = SUBTREE_EVENTS * HASH_BYTES


def hash_leaves(reader: Reader, first: int, last: int) -> bytes:
    """The leaf hashes of the events from position ``first`` to ``last``, one after another.

    Raises:
        Damage: the journal cannot be read there.
    """
    return b"".join(_leaf_pieces(reader, first, last))


def hash_subtrees(reader: Reader, first: int, last: int) -> bytes:
    """The roots of the subtrees number ``first`` to ``last - 1``, from 0, one after another.

    Raises:
        Damage: the journal cannot be read there.
    """
    roots = bytearray()
    leaves = bytearray()
    for piece in _leaf_pieces(reader, first * SUBTREE_EVENTS + 1, last * SUBTREE_EVENTS):
        leaves += piece
        if len(leaves) >= _SUBTREE_BYTES:  # a piece is no larger than that
            roots += root_over(bytes(leaves[:_SUBTREE_BYTES]))
            del leaves[:_SUBTREE_BYTES]
    return bytes(roots)


def hash_in_stretches(reader: Reader, first: int, last: int, *, processes: int) -> Iterator[bytes]:
    """As :func:`hash_subtrees`, piece by piece, on so many processes if that pays.

    Raises:
        Damage: the journal cannot be read there.
    """
    bounds = list(pairwise([*range(first, last, STRETCH_SUBTREES), last]))
    if processes < 2 or len(bounds) < 2:
        for start, end in bounds:
            yield hash_subtrees(reader, start, end)
        return
    yield from hash_in_processes(
        reader.directory.path, bounds, processes=min(processes, len(bounds))
    )


def _leaf_pieces(reader: Reader, first: int, last: int) -> Iterator[bytes]:
    for record in reader.records(Cursor(position=first)):
        if record.position_first > last:
            return
        yield from leaf_hashes(record, first, last)


_readers: Final[list[Reader]] = []
"""In a process of the pool, its own."""


def hash_in_processes(
    path: Path, bounds: Sequence[tuple[int, int]], *, processes: int
) -> Iterator[bytes]:
    """The roots of the subtrees of each stretch (first, last + 1), in order.

    Raises:
        Damage: the journal cannot be read there.
    """
    # Here only: a program that opens a ledger does not need what starts processes.
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

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
    import multiprocessing  # noqa: PLC0415

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _hash(first: int, last: int) -> bytes:
    return hash_subtrees(_readers[0], first, last)
