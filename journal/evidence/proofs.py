"""Proofs as objects and as JSON: one event under a root, and a root that grew from another.

To check a proof, its reader needs a root from elsewhere, and no ledger. The fields of the event for
people are computed from its entry, the bytes that are hashed; a file in which they differ is
refused.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final

import attrs

from nostro.journal.errors import ForeignRoot, InvalidProof
from nostro.journal.evidence import merkle
from nostro.journal.evidence.json_fields import decode_fields, encode_fields
from nostro.journal.evidence.root import Root

FILE_BYTES_MAX: Final = 64 * 1024


@attrs.frozen
class _ProofFile:
    """A proof as a file."""

    FILE_TYPE: ClassVar[str]

    def shown(self) -> dict[str, Any]:
        """The fields of the file, in order."""
        return encode_fields(self, self.FILE_TYPE)

    def encode(self) -> bytes:
        """The file's content."""
        return json.dumps(self.shown(), indent=2).encode() + b"\n"


@attrs.frozen
class InclusionProof(_ProofFile):
    """An event stands under the root of the first ``position`` events."""

    FILE_TYPE = "nostro-inclusion"

    ledger_id: bytes
    position: int
    root: bytes
    entry: bytes
    path: tuple[bytes, ...]

    @property
    def event_position(self) -> int:
        return int.from_bytes(self.entry[:8], "little")

    def check(self, root: Root) -> None:
        """Check that the entry is under ``root``, at the position that it names.

        Raises:
            ForeignRoot: the proof is of another ledger than the root.
            InvalidProof: it is not under the root, or the proof is for another root.
        """
        _check_meant(self.ledger_id, (self.position, self.root), root)
        merkle.check_inclusion(
            merkle.leaf_hash(self.entry),
            index=self.event_position - 1,
            size=self.position,
            path=self.path,
            root=self.root,
        )


@attrs.frozen
class ConsistencyProof(_ProofFile):
    """The first ``old_position`` of ``position`` events are those of the old root."""

    FILE_TYPE = "nostro-consistency"

    ledger_id: bytes
    old_position: int
    old_root: bytes
    position: int
    root: bytes
    path: tuple[bytes, ...]

    def check(self, old: Root, root: Root) -> None:
        """Check that ``root`` grew from ``old``.

        Raises:
            ForeignRoot: the proof is of another ledger than a root.
            InvalidProof: it did not grow from it, or the proof is for other roots.
        """
        _check_meant(self.ledger_id, (self.old_position, self.old_root), old)
        _check_meant(self.ledger_id, (self.position, self.root), root)
        merkle.check_consistency(
            old_size=self.old_position,
            old_root=self.old_root,
            size=self.position,
            root=self.root,
            path=self.path,
        )


Proof = InclusionProof | ConsistencyProof
_CLASSES: Final[dict[str, type[Proof]]] = {
    InclusionProof.FILE_TYPE: InclusionProof,
    ConsistencyProof.FILE_TYPE: ConsistencyProof,
}


def decode_proof(data: bytes) -> Proof:
    """The proof in a file; its method ``check`` checks whether it holds.

    Raises:
        InvalidEvidence: it is not a proof of a version this program knows, or its fields disagree.
    """
    return decode_fields(data, _CLASSES, what="proof", bytes_max=FILE_BYTES_MAX)


def _check_meant(ledger_id: bytes, place: tuple[int, bytes], root: Root) -> None:
    if root.ledger_id != ledger_id:
        raise ForeignRoot(ledger_id, root.ledger_id)
    if place != (root.position, root.root):
        raise InvalidProof(f"it is not for the root at position {root.position:,}")
