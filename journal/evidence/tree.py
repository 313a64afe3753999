"""The Merkle tree over a journal's events: its root at any position, and proofs.

The event at position p is leaf p - 1. The tree is computed from the journal on demand. Its whole
subtrees are kept in ``tree/`` (:mod:`tree_file`): a later root hashes only newer events. Opening
and appending do not need that file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nostro.journal.errors import ForeignRoot, OutOfRange, RootBeyondEnd, RootDiffers
from nostro.journal.evidence import merkle, tree_file
from nostro.journal.evidence.entries import entry_at, leaf_hashes
from nostro.journal.evidence.merkle import HASH_BYTES
from nostro.journal.evidence.proofs import ConsistencyProof, InclusionProof
from nostro.journal.evidence.root import Root
from nostro.journal.evidence.tree_file import SUBTREE_EVENTS
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.files import Storage

Progress = Callable[[int, int], None]
"""Called with the events hashed and the events to hash."""

_SUBTREE_BYTES: Final = SUBTREE_EVENTS * HASH_BYTES


class EventTree:
    """The tree over the events that were durable when this was made. Not thread-safe.

    Takes no lock, and may run beside a writer. Memory: 8 bytes for 1,000 events, and a few MiB.

    Raises:
        NotALedger, NotOwner, CorruptHead: the path is not a ledger that can be read.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        use_kept: bool = True,
        progress: Progress | None = None,
        storage: Storage | None = None,
    ) -> None:
        """Begin; nothing is hashed yet.

        Args:
            use_kept: start from the hashes kept in ``tree/``, and add to them; False hashes every
                event again and writes nothing.
        """
        self._storage = storage or Storage()
        self._reader = Reader(path, storage=self._storage)
        self._progress = progress
        head = self._reader.head()
        self.ledger_id = head.ledger_id
        self.position = head.position
        """The last event of the tree; 0 if it is empty."""
        self._use_kept = use_kept
        self._subtrees: bytes | None = None
        self._sized: _SizedTree | None = None

    def root(self, position: int | None = None) -> bytes:
        """The root over the events up to ``position``, by default all.

        Raises:
            OutOfRange: the journal does not reach there.
            Damage: it cannot be read.
        """
        return self._at(self.position if position is None else position).root()

    def check(self, root: Root) -> None:
        """Check that the events under ``root`` are here, unchanged and in order.

        :meth:`Root.check_signature` checks its signature.

        Raises:
            ForeignRoot: it was taken of another ledger.
            RootBeyondEnd: events are missing at the end.
            RootDiffers: an event up to its position has changed.
            Damage: the journal cannot be read.
        """
        self.check_reach(root)
        found = self.root(root.position)
        if found != root.root:
            raise RootDiffers(root.position, found, root.root)

    def check_reach(self, root: Root) -> None:
        """The part of :meth:`check` that reads nothing.

        Raises:
            ForeignRoot, RootBeyondEnd: as for :meth:`check`.
        """
        if root.ledger_id != self.ledger_id:
            raise ForeignRoot(root.ledger_id, self.ledger_id)
        if root.position > self.position:
            raise RootBeyondEnd(root.position, self.position)

    def prove_inclusion(self, position: int, *, size: int | None = None) -> InclusionProof:
        """The proof that the event at ``position`` is under the root of the first ``size``.

        Raises:
            OutOfRange: the journal or the tree does not reach that position.
            Damage: it cannot be read.
        """
        size = self.position if size is None else size
        tree = self._at(size)
        if not 1 <= position <= size:
            raise OutOfRange("position", position, size)
        record = self._reader.record_at(position)
        assert record is not None
        path = merkle.inclusion_path(position - 1, size, tree.root_between)
        return InclusionProof(
            ledger_id=self.ledger_id,
            position=size,
            root=tree.root(),
            entry=entry_at(record, position),
            path=tuple(path),
        )

    def prove_consistency(self, old_size: int, *, size: int | None = None) -> ConsistencyProof:
        """The proof that the root of the first ``size`` events grew from that of ``old_size``.

        Raises:
            OutOfRange: ``old_size`` is not within 1 and ``size``, or the journal is shorter.
            Damage: it cannot be read.
        """
        size = self.position if size is None else size
        tree = self._at(size)
        if not 1 <= old_size <= size:
            raise OutOfRange("position", old_size, size)
        path = merkle.consistency_path(old_size, size, tree.root_between)
        return ConsistencyProof(
            ledger_id=self.ledger_id,
            old_position=old_size,
            old_root=self.root(old_size),
            position=size,
            root=tree.root(),
            path=tuple(path),
        )

    def _at(self, size: int) -> _SizedTree:
        if not 0 <= size <= self.position:
            raise OutOfRange("position", size, self.position)
        if self._sized is None or self._sized.size != size:
            self._sized = _SizedTree(self._reader, self._roots(size // SUBTREE_EVENTS), size)
        return self._sized

    def _roots(self, count: int) -> bytes:
        """The roots of the first ``count`` subtrees."""
        if self._subtrees is None:
            self._subtrees = self._kept()
        known = len(self._subtrees) // HASH_BYTES
        if known < count:
            self._hash(known, count)
        return self._subtrees[: count * HASH_BYTES]

    def _kept(self) -> bytes:
        if not self._use_kept:
            return b""
        return tree_file.read_subtrees(self._storage, self._reader.directory, self._reader)

    def _hash(self, known: int, count: int) -> None:
        roots = bytearray(self._subtrees or b"")
        leaves = bytearray()
        start, end = known * SUBTREE_EVENTS, count * SUBTREE_EVENTS
        for piece in leaf_hashes(self._reader, start + 1, end):
            leaves += piece
            if len(leaves) < _SUBTREE_BYTES:
                continue
            roots += merkle.root_over(bytes(leaves[:_SUBTREE_BYTES]))
            del leaves[:_SUBTREE_BYTES]
            if self._progress is not None:
                self._progress(len(roots) // HASH_BYTES * SUBTREE_EVENTS - start, end - start)
        self._subtrees = bytes(roots)
        if not self._use_kept:
            return
        with contextlib.suppress(
            OSError
        ):  # without permission to write, it is computed again next time
            tree_file.write_subtrees(
                self._storage, self._reader.directory, self._reader, self._subtrees,
                ledger_id=self.ledger_id,
            )  # fmt: skip


class _SizedTree:
    """The tree over the first ``size`` events."""

    def __init__(self, reader: Reader, subtrees: bytes, size: int) -> None:
        self.size = size
        self._reader = reader
        self._subtrees = subtrees
        self._leaves: dict[int, bytes] = {}
        """By number of the subtree; a proof looks into three at most."""

    def root(self) -> bytes:
        return self.root_between(0, self.size)

    def root_between(self, first: int, last: int) -> bytes:
        """As :data:`merkle.RangeRoot`."""
        start, end = first // SUBTREE_EVENTS, last // SUBTREE_EVENTS
        if first % SUBTREE_EVENTS or (start == end and last < self.size):
            at = first % SUBTREE_EVENTS
            leaves = self._leaves_of(start)
            return merkle.root_over(leaves[at * HASH_BYTES : (at + last - first) * HASH_BYTES])
        whole = self._subtrees[start * HASH_BYTES : end * HASH_BYTES]
        rest = self._leaves_of(end) if last % SUBTREE_EVENTS else b""
        return merkle.root_over(whole + merkle.root_over(rest) if rest else whole)

    def _leaves_of(self, subtree: int) -> bytes:
        if subtree not in self._leaves:
            first = subtree * SUBTREE_EVENTS
            last = min(first + SUBTREE_EVENTS, self.size)
            self._leaves[subtree] = b"".join(leaf_hashes(self._reader, first + 1, last))
        return self._leaves[subtree]
