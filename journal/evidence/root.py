"""Root files: what is kept elsewhere, so that nobody can rewrite the journal unseen.

One line of JSON without spaces, its fields in this order::

    type        "nostro-root"
    version     1
    ledger      the ledger's identity, 32 hexadecimal digits
    position    the last event under the root; 0 if there was none
    root        64 hexadecimal digits
    time        when it was taken, 2026-01-31T12:00:00Z
    public_key  Ed25519, 64 hexadecimal digits      (these two only
    signature   128 hexadecimal digits               if it is signed)

The signature is over the same line without the field ``signature`` and without a newline.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from nostro.journal.errors import BadSignature, InvalidEvidence
from nostro.journal.evidence import signing
from nostro.journal.evidence.merkle import HASH_BYTES
from nostro.journal.evidence.signing import SigningKey

FILE_TYPE: Final = "nostro-root"
VERSION: Final = 1
FILE_BYTES_MAX: Final = 4096

_POSITION_END: Final = 2**63
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_HEX: Final = re.compile(r"[0-9a-f]*")


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
        """The root in a file. Whether its signature is good is asked for apart.

        Raises:
            InvalidEvidence: it is no root file of a version this program knows.
        """
        shown = decode_json(data, what="root file", size_bytes_max=FILE_BYTES_MAX)
        if shown.get("type") != FILE_TYPE or shown.get("version") != VERSION:
            raise InvalidEvidence("root file", f"it is not of version {VERSION}")
        try:
            root = cls(
                ledger_id=decode_hex(shown["ledger"], 16),
                position=decode_position(shown["position"]),
                root=decode_hex(shown["root"], HASH_BYTES),
                taken_at=datetime.strptime(shown["time"], _TIME_FORMAT).replace(tzinfo=UTC),
                public_key=decode_hex(shown["public_key"], 32) if "public_key" in shown else None,
                signature=decode_hex(shown["signature"], 64) if "signature" in shown else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidEvidence(
                "root file", f"a field is missing or malformed: {error}"
            ) from None
        if root.encode().strip() != data.strip():
            raise InvalidEvidence("root file", "its fields are not written as they should be")
        return root

    def encode(self) -> bytes:
        """The file's content."""
        return _line(self.shown()) + b"\n"

    def shown(self) -> dict[str, Any]:
        """The fields of the file, in order."""
        fields: dict[str, Any] = {
            "type": FILE_TYPE,
            "version": VERSION,
            "ledger": self.ledger_id.hex(),
            "position": self.position,
            "root": self.root.hex(),
            "time": self.taken_at.strftime(_TIME_FORMAT),
        }
        if self.public_key is not None:
            fields["public_key"] = self.public_key.hex()
        if self.signature is not None:
            fields["signature"] = self.signature.hex()
        return fields

    def sign(self, key: SigningKey) -> Root:
        """The same root, signed."""
        unsigned = attrs.evolve(self, public_key=key.public_key, signature=None)
        return attrs.evolve(unsigned, signature=key.sign(unsigned.signed_bytes()))

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return _line(attrs.evolve(self, signature=None).shown())

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
        signing.check(self.public_key, self.signature, self.signed_bytes())


def decode_json(data: bytes, *, what: str, size_bytes_max: int) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InvalidEvidence: it holds none, or is larger than any that this program writes.
    """
    if len(data) > size_bytes_max:
        raise InvalidEvidence(what, f"it has more than {size_bytes_max:,} bytes")
    try:
        value = json.loads(data, object_pairs_hook=_without_repeated_keys)
    except (ValueError, RecursionError):
        raise InvalidEvidence(what, "it is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidEvidence(what, "it is no JSON object")
    return value


def decode_hex(text: object, count: int) -> bytes:
    """``count`` bytes of lower-case hexadecimal text; ValueError if it is anything else."""
    if not isinstance(text, str) or len(text) != 2 * count or not _HEX.fullmatch(text):
        raise ValueError(f"{text!r} is not {2 * count} hexadecimal digits")
    return bytes.fromhex(text)


def decode_position(value: object) -> int:
    """A position or 0; ValueError if it is anything else."""
    if type(value) is not int or not 0 <= value < _POSITION_END:
        raise ValueError(f"{value!r} is no position")
    return value


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError if a key is there twice: each reader would choose one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
