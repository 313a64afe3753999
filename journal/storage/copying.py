"""Copying one file so that the copy is known to be what it should be, or is not there.

A copy is read back from the disk and hashed before it gets its name.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import CopyFailed, CorruptSegment
from nostro.journal.storage.files import Storage, replacing

CHUNK_BYTES: Final = 1024 * 1024

Count = Callable[[int], None]
"""Called after each piece, with how many bytes of the part it brought: none when reading back."""


@attrs.frozen
class Part:
    """The first ``size_bytes`` of a file, and what they hash to."""

    path: Path
    size_bytes: int
    sha256: bytes


def holds(storage: Storage, path: Path, part: Part, count: Count) -> bool:
    """Whether the file at ``path`` is exactly ``part``; every byte of it is read."""
    try:
        fd = storage.open_read(path)
    except FileNotFoundError:
        return False
    try:
        if storage.size(fd) != part.size_bytes:
            return False
        storage.read_once(fd)
        return sha256_of(storage, fd, part.size_bytes, count) == part.sha256
    finally:
        storage.close(fd)


def copy(storage: Storage, part: Part, path: Path, count: Count) -> None:
    """Put a copy of ``part`` at ``path``, whole or not at all, durably and read back.

    Raises:
        CorruptSegment: ``part`` is not what it hashes to.
        CopyFailed: the copy could not be written or does not read back.
    """
    source = storage.open_read(part.path)
    try:
        storage.read_once(source)
        with told(path), replacing(storage, path) as fd:
            _copy_bytes(storage, source, fd, part, count)
            storage.sync(fd)
            storage.forget(fd)
            if sha256_of(storage, fd, part.size_bytes, lambda _: count(0)) != part.sha256:
                raise CopyFailed(path, "what was written reads back differently")
            storage.forget(fd)
    finally:
        storage.close(source)


def link(storage: Storage, part: Part, path: Path, count: Count) -> None:
    """Give all of ``part``'s file a second name, ``path``, after reading every byte of it.

    Raises:
        CorruptSegment: ``part`` is not what it hashes to.
        CopyFailed: the file system does not do that, or ``path`` lies on another one.
    """
    if not holds(storage, part.path, part, count):
        raise _altered(part)
    temporary = path.with_name(path.name + ".tmp")
    with told(path):
        if storage.exists(temporary):
            storage.unlink(temporary)
        storage.link(part.path, temporary)
        storage.rename(temporary, path)
        storage.sync_directory(path.parent)


def sha256_of(storage: Storage, fd: int, size_bytes: int, count: Count) -> bytes:
    """The hash of the first ``size_bytes``, read a moderate piece at a time."""
    digest = hashlib.sha256()
    for offset in range(0, size_bytes, CHUNK_BYTES):
        data = storage.read(fd, min(CHUNK_BYTES, size_bytes - offset), offset)
        digest.update(data)
        count(len(data))
    return digest.digest()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system refuses into :class:`CopyFailed`, which names the file."""
    try:
        yield
    except OSError as failure:
        raise CopyFailed(path, failure.strerror or str(failure)) from failure


def _copy_bytes(storage: Storage, source: int, fd: int, part: Part, count: Count) -> None:
    digest = hashlib.sha256()
    for offset in range(0, part.size_bytes, CHUNK_BYTES):
        data = storage.read(source, min(CHUNK_BYTES, part.size_bytes - offset), offset)
        digest.update(data)
        storage.write(fd, data, offset)
        storage.begin_sync(fd, offset, len(data))  # little by little, and not all at the sync
        count(len(data))
    if digest.digest() != part.sha256:
        raise _altered(part)


def _altered(part: Part) -> CorruptSegment:
    return CorruptSegment(part.path, 0, "its SHA-256 is not the one that vouches for it")
