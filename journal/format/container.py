"""The envelope of derived files (manifest, checkpoints): self-checking, replaced as a whole.

::

    offset  bytes  field
         0      8  magic "NOSTRODF"
         8     32  SHA-256 of the rest
        40         canonical CBOR: a map whose "type" names what the file is
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from nostro.journal.errors import DecodeError
from nostro.journal.format.codec import decode_cbor, encode_cbor

MAGIC: Final = b"NOSTRODF"
_BODY_START: Final = 40
_ITEMS_FEW: Final = 4096
_ITEM_BYTES_MIN: Final = 8
"""The average size of an item in a derived file: most items are hashes, of 32 bytes."""


def pack(body: dict[str, Any]) -> bytes:
    encoded = encode_cbor(body)
    return MAGIC + hashlib.sha256(encoded).digest() + encoded


def unpack(data: bytes, *, file_type: str) -> dict[str, Any]:
    """The map inside.

    Raises:
        DecodeError: cut short, altered, or another type of file.
    """
    if data[:8] != MAGIC:
        raise DecodeError("the file has the wrong magic")
    view = memoryview(data)[_BODY_START:]
    if hashlib.sha256(view).digest() != data[8:_BODY_START]:
        raise DecodeError("the file fails its SHA-256")
    body = decode_cbor(view, items_max=_ITEMS_FEW + len(view) // _ITEM_BYTES_MIN)
    if not isinstance(body, dict) or body.get("type") != file_type:
        raise DecodeError(f"the file is not a {file_type}")
    return body
