"""Ed25519 keys that sign roots, in files that are kept away from the ledger.

A key file is PKCS #8 in PEM, as ``openssl genpkey -algorithm ed25519`` writes it. The package
``cryptography`` (:mod:`ed25519`) is imported when a key is used; nothing else needs it.
"""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

import attrs

from nostro.journal.errors import (
    BadSignature,
    InvalidKey,
    KeyBesideLedger,
    KeyExposed,
    SigningUnavailable,
)
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import NotRegular, Storage, write_new_file

_KEY_FILE_BYTES_MAX: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class SigningKey:
    """A private key in memory."""

    public_key: bytes
    """32 bytes."""
    sign: Callable[[bytes], bytes]
    """Returns the signature of its argument, 64 bytes."""

    @classmethod
    def load(cls, pem: bytes) -> SigningKey:
        """The key in a PEM file; ValueError says why it cannot be used."""
        key = _ed25519().load(pem)
        return cls(key.public_key().public_bytes_raw(), key.sign)


def new_key(path: Path, *, storage: Storage | None = None) -> SigningKey:
    """Make a key, and write it to ``path``, which only its owner may read.

    Raises:
        KeyBesideLedger: the path lies inside a ledger's directory.
        AlreadyThere: the file exists; it is not changed.
        SigningUnavailable: the package that makes keys is not installed.
    """
    _refuse_beside_ledger(path)
    pem = _ed25519().generate()
    write_new_file(storage or Storage(), path, pem)
    return SigningKey.load(pem)


def read_key(path: Path, *, storage: Storage | None = None) -> SigningKey:
    """The key in a file.

    Raises:
        KeyBesideLedger: the file lies inside a ledger's directory.
        KeyExposed: others may read or write it.
        InvalidKey: it belongs to another user, or holds no Ed25519 key, or an encrypted one.
        SigningUnavailable: the package that reads keys is not installed.
        OSError: it cannot be read; a symbolic link is not followed.
    """
    _refuse_beside_ledger(path)
    data = read_private(path, storage or Storage(), bytes_max=_KEY_FILE_BYTES_MAX)
    try:
        return SigningKey.load(data)
    except ValueError as error:
        raise InvalidKey(str(path), str(error)) from None


def read_private(path: Path, storage: Storage, *, bytes_max: int) -> bytes:
    """The content of a file that belongs to this user, and that no other user may read or write.

    Raises:
        KeyExposed: others may.
        InvalidKey: it belongs to another user, is not a regular file, or is larger than
            ``bytes_max``.
        OSError: it cannot be read; a symbolic link is not followed.
    """
    try:
        fd = storage.open_read(path)
    except NotRegular:
        raise InvalidKey(str(path), "must be a regular file") from None
    try:
        mode = storage.mode(fd)
        owner, user = storage.owner(fd), os.geteuid()
        if owner != user:  # root could read it, but its owner may change it
            raise InvalidKey(
                str(path),
                f"belongs to user {owner}, and this process runs as user {user}; use a file of"
                f" user {user}",
            )
        if mode & _OTHERS:
            raise KeyExposed(path, stat.S_IMODE(mode))
        data = storage.read(fd, bytes_max + 1, 0)
    finally:
        storage.close(fd)
    if len(data) > bytes_max:
        raise InvalidKey(str(path), f"must have at most {bytes_max:,} bytes")
    return data


def check(public_key: bytes, signature: bytes, data: bytes) -> None:
    """Check a signature over ``data``.

    Raises:
        BadSignature: this key did not sign these bytes.
        SigningUnavailable: the package that checks it is not installed.
    """
    if not _ed25519().is_signed(public_key, signature, data):
        raise BadSignature("its signature is wrong: it was altered")


def _ed25519() -> ModuleType:
    try:
        return importlib.import_module("nostro.journal.evidence.ed25519")
    except ImportError:
        raise SigningUnavailable from None


def _refuse_beside_ledger(path: Path) -> None:
    for parent in Path(os.path.realpath(path)).parents:
        directory = Directory(parent)
        if directory.segments.is_dir() and directory.head.exists():
            raise KeyBesideLedger(path, parent)
