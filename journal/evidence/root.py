"""Root files. A root kept elsewhere proves later whether the journal was rewritten.

One line of JSON without spaces, its fields in this order::

    type        "nostro-root"
    version     1
    ledger      the ledger's identity, 32 hexadecimal digits
    position    the last event under the root; 0 if there was none
    root        64 hexadecimal digits
    time        when it was taken, 2026-01-31T12:00:00Z
    public_key  Ed25519, 64 hexadecimal digits      (only in
    signature   128 hexadecimal digits               signed roots)

The signature is over the same line without the field ``signature`` and without a newline.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from nostro.journal.errors import BadSignature, InvalidEvidence
from nostro.journal.evidence import signing
from nostro.journal.evidence.json_fields import decode_fields, encode_fields
from nostro.journal.evidence.signing import SigningKey

FILE_TYPE: Final = "nostro-root"
FILE_BYTES_MAX: Final = 4096


@attrs.frozen
class Root:
    """The root over a ledger's events up to a position, signed or not."""

    ledger_id: bytes
    position: int
    root: bytes
    taken_at: datetime
    """In UTC, whole seconds."""
    public_key: bytes | None = None
    signature: bytes | None = None

    @classmethod
    def take(cls, ledger_id: bytes, position: int, root: bytes) -> Root:
        """An unsigned root as of now."""
        return cls(ledger_id, position, root, datetime.now(UTC).replace(microsecond=0))

    @classmethod
    def decode(cls, data: bytes) -> Root:
        """The root in a file; :meth:`check_signature` checks its signature.

        Raises:
            InvalidEvidence: it is not a root file of a version this program knows.
        """
        root = decode_fields(data, {FILE_TYPE: cls}, what="root file", bytes_max=FILE_BYTES_MAX)
        if root.encode().strip() != data.strip():
            raise InvalidEvidence("root file", "its fields are not written as they should be")
        return root

    def encode(self) -> bytes:
        """The file's content."""
        return _line(self) + b"\n"

    def shown(self) -> dict[str, Any]:
        """The fields of the file, in order."""
        return encode_fields(self, FILE_TYPE)

    def sign(self, key: SigningKey) -> Root:
        """The same root, signed."""
        unsigned = attrs.evolve(self, public_key=key.public_key, signature=None)
        return attrs.evolve(unsigned, signature=key.sign(_line(unsigned)))

    def check_signature(self, public_key: bytes | None = None) -> None:
        """Check that the root is signed, by the key it names or by this one.

        Raises:
            BadSignature: it is not.
            SigningUnavailable: the package that checks it is not installed.
        """
        if self.public_key is None or self.signature is None:
            raise BadSignature("it is not signed")
        if public_key is not None and public_key != self.public_key:
            raise BadSignature(f"it is signed by another key, {self.public_key.hex()}")
        signing.check(self.public_key, self.signature, _line(attrs.evolve(self, signature=None)))


def _line(root: Root) -> bytes:
    return json.dumps(root.shown(), separators=(",", ":")).encode()
