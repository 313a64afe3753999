"""Deterministic 128-bit ids: the same name gives the same id on every machine and every run.

The id is the first 16 bytes, as a big-endian number, of the SHA-256 of the parts, each written as
``length:bytes,`` (a netstring) so that no two lists of parts read the same. For example the row
695247 of the namespace ``berka`` is::

    sha256(b"5:berka,8:transfer,6:695247,")
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

from nostro.journal import AMOUNT_MAX

_RESERVED: Final = frozenset({0, AMOUNT_MAX})  # no account or transfer may have these ids


def derived_id(namespace: str, kind: str, *parts: str, bits: int = 128) -> int:
    """Return the id of ``parts`` within ``namespace``; never 0 and never all ones.

    ``bits`` below 128 keeps the leading bits, for the smaller user_data fields.
    """
    message = _prefix(namespace, kind) + b"".join([_netstring(part) for part in parts])
    while True:
        digest = hashlib.sha256(message).digest()
        value = int.from_bytes(digest[:16], "big") >> (128 - bits)
        if value not in _RESERVED:
            return value
        message += b"again,"  # once in 2**127 names


@functools.lru_cache(maxsize=64)
def _prefix(namespace: str, kind: str) -> bytes:
    return _netstring(namespace) + _netstring(kind)


def _netstring(text: str) -> bytes:
    data = text.encode()
    return b"%d:%b," % (len(data), data)
