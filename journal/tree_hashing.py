"""Hashing stretches of the journal into subtree roots, in this process or in several."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from journal.entries import leaf_hashes
from journal.merkle import HASH_BYTES, root_over
from journal.reader import Cursor, Reader
from journal.tree_file import SUBTREE_EVENTS

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
    # Only here: whoever opens a ledger does without what starting processes takes to import.
    in_processes = importlib.import_module("journal.tree_processes").hash_stretches
    yield from in_processes(reader.directory.path, bounds, processes=min(processes, len(bounds)))


def _leaf_pieces(reader: Reader, first: int, last: int) -> Iterator[bytes]:
    for record in reader.records(Cursor(position=first)):
        if record.position_first > last:
            return
        yield from leaf_hashes(record, first, last)
