"""API keys and their roles. The file of keys holds only the hashes of keys.

The file is TOML with one table per key, and only its owner may read it::

    [shop]
    role = "write"
    sha256 = "…"  # of the key, in hexadecimal

A key is 256 random bits, so nobody can guess it from its plain hash.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import attrs

from nostro.journal.errors import InvalidKey
from nostro.journal.evidence.signing import read_private
from nostro.journal.storage.files import Storage

_FILE_BYTES_MAX: Final = 1 << 20
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Role(enum.IntEnum):
    """What a client may do; each role includes those above it."""

    ANYONE = 0
    """Needs no key."""
    READ_ONLY = 1
    WRITE = 2


_ROLES: Final = {"read_only": Role.READ_ONLY, "write": Role.WRITE}


@attrs.frozen
class Key:
    name: str
    role: Role
    sha256: bytes


@attrs.frozen
class Keys:
    """The keys in a file."""

    all: tuple[Key, ...]

    def role_of(self, presented: str) -> Role | None:
        """The role of a key; None if it is unknown.

        The time it takes reveals nothing about any key. ``presented`` is a header's value: each
        character is one byte.
        """
        sha256 = hashlib.sha256(presented.encode("latin-1")).digest()
        found = None
        for key in self.all:
            if hmac.compare_digest(key.sha256, sha256):
                found = key.role
        return found


def read_keys(path: Path, *, storage: Storage | None = None) -> Keys:
    """The keys in a file.

    Raises:
        KeyExposed: other users may read or write it.
        InvalidKey: it belongs to another user, or is not a file of keys.
        OSError: it cannot be read; a symbolic link is not followed.
    """
    data = read_private(path, storage or Storage(), bytes_max=_FILE_BYTES_MAX)
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise InvalidKey(str(path), f"is not valid TOML: {error}") from None
    keys = tuple(_key(path, name, table) for name, table in tables.items())
    if not keys:
        raise InvalidKey(str(path), "holds no keys")
    if len({key.sha256 for key in keys}) < len(keys):
        raise InvalidKey(str(path), "holds the same key twice")
    return Keys(keys)


def _key(path: Path, name: str, table: Any) -> Key:  # noqa: ANN401 - whatever TOML can hold
    where = f"{path}: [{name}]"
    if not isinstance(table, dict) or set(table) != {"role", "sha256"}:
        raise InvalidKey(where, "must be a table with exactly two entries, role and sha256")
    role, sha256 = table["role"], table["sha256"]
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidKey(where, f"role must be one of {', '.join(_ROLES)}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise InvalidKey(where, "sha256 must be 64 hexadecimal digits in lower case")
    if sha256 == _EMPTY_SHA256:
        raise InvalidKey(where, "sha256 is the hash of an empty key; make the key first")
    return Key(name, _ROLES[role], bytes.fromhex(sha256))
