"""Proofs as objects and as JSON: one event under a root, and a root that grew from another.

A proof is checked against a root that its reader has from elsewhere, and needs no ledger. The
fields by which people read an event are made from its entry, the bytes that are hashed; a file in
which they say something else is refused.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs

from nostro.journal.errors import DecodeError, ForeignRoot, InvalidEvidence, InvalidProof
from nostro.journal.evidence import merkle
from nostro.journal.evidence.entries import describe_entry
from nostro.journal.evidence.merkle import HASH_BYTES
from nostro.journal.evidence.root import Root, decode_hex, decode_json, decode_position

INCLUSION: Final = "nostro-inclusion"
CONSISTENCY: Final = "nostro-consistency"
VERSION: Final = 1
FILE_BYTES_MAX: Final = 64 * 1024

_ENTRY_BYTES_MAX: Final = 16 * 1024


@attrs.frozen
class InclusionProof:
    """An event stands under the root of the first ``position`` events."""

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
            InvalidProof: it is not there, or the proof is for another root.
        """
        _check_meant(self.ledger_id, (self.position, self.root), root)
        merkle.check_inclusion(
            merkle.leaf_hash(self.entry),
            index=self.event_position - 1,
            size=self.position,
            path=self.path,
            root=self.root,
        )

    def shown(self) -> dict[str, Any]:
        """The fields of the file, in order."""
        return {
            "type": INCLUSION,
            "version": VERSION,
            "ledger": self.ledger_id.hex(),
            "position": self.position,
            "root": self.root.hex(),
            "event": describe_entry(self.entry),
            "entry": self.entry.hex(),
            "path": [one.hex() for one in self.path],
        }

    def encode(self) -> bytes:
        """The file's content."""
        return json.dumps(self.shown(), indent=2).encode() + b"\n"


@attrs.frozen
class ConsistencyProof:
    """The first ``old_position`` of ``position`` events are those of the old root."""

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
            InvalidProof: it did not, or the proof is for other roots.
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

    def shown(self) -> dict[str, Any]:
        """The fields of the file, in order."""
        return {
            "type": CONSISTENCY,
            "version": VERSION,
            "ledger": self.ledger_id.hex(),
            "old_position": self.old_position,
            "old_root": self.old_root.hex(),
            "position": self.position,
            "root": self.root.hex(),
            "path": [one.hex() for one in self.path],
        }

    def encode(self) -> bytes:
        """The file's content."""
        return json.dumps(self.shown(), indent=2).encode() + b"\n"


Proof = InclusionProof | ConsistencyProof


def decode_proof(data: bytes) -> Proof:
    """The proof in a file. Whether it holds is asked for apart, with the roots.

    Raises:
        InvalidEvidence: it is no proof of a version this program knows, or its fields disagree.
    """
    shown = decode_json(data, what="proof", size_bytes_max=FILE_BYTES_MAX)
    if shown.get("version") != VERSION:
        raise InvalidEvidence("proof", f"it is not of version {VERSION}")
    try:
        proof = _from_shown(shown)
        agrees = proof.shown() == shown
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidEvidence("proof", f"a field is missing or malformed: {error}") from None
    if not agrees:
        raise InvalidEvidence("proof", "its fields do not say what its entry says")
    return proof


def _from_shown(shown: dict[str, Any]) -> Proof:
    path = tuple(decode_hex(one, HASH_BYTES) for one in shown["path"])
    ledger_id, root = decode_hex(shown["ledger"], 16), decode_hex(shown["root"], HASH_BYTES)
    position = decode_position(shown["position"])
    if shown.get("type") == CONSISTENCY:
        old_root = decode_hex(shown["old_root"], HASH_BYTES)
        old_position = decode_position(shown["old_position"])
        return ConsistencyProof(ledger_id, old_position, old_root, position, root, path)
    if shown.get("type") != INCLUSION:
        raise ValueError("its type is unknown")
    entry = decode_hex(shown["entry"], min(len(shown["entry"]) // 2, _ENTRY_BYTES_MAX))
    return InclusionProof(ledger_id, position, root, entry, path)


def _check_meant(ledger_id: bytes, place: tuple[int, bytes], root: Root) -> None:
    if root.ledger_id != ledger_id:
        raise ForeignRoot(ledger_id, root.ledger_id)
    if place != (root.position, root.root):
        raise InvalidProof(f"it is not for the root at position {root.position:,}")
