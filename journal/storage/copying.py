"""Copying one file: a copy is read back from the disk and hashed before it gets its name."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import CopyFailed, CorruptSegment
from nostro.journal.storage.files import Storage, reading, replacing

CHUNK_BYTES: Final = 1024 * 1024

Count = Callable[[int], None]
"""Called after each piece with the number of bytes it copied: 0 when reading back."""


@attrs.frozen
class FilePrefix:
    """The first ``size_bytes`` of a file, and their SHA-256."""

    path: Path
    size_bytes: int
    sha256: bytes


def holds(storage: Storage, path: Path, prefix: FilePrefix, count: Count) -> bool:
    """Whether the file at ``path`` is exactly ``prefix``; every byte of it is read."""
    try:
        fd = storage.open_read(path)
    except FileNotFoundError:
        return False
    try:
        if storage.size(fd) != prefix.size_bytes:
            return False
        storage.read_once(fd)
        return sha256_of(storage, fd, prefix.size_bytes, count) == prefix.sha256
    finally:
        storage.close(fd)


def copy(storage: Storage, prefix: FilePrefix, path: Path, count: Count) -> None:
    """Put a copy of ``prefix`` at ``path``, whole or not at all, durably and read back.

    Raises:
        CorruptSegment: ``prefix`` does not have this SHA-256.
        CopyFailed: the copy could not be written or does not read back.
    """
    with reading(storage, prefix.path) as source:
        storage.read_once(source)
        with as_copy_failed(path), replacing(storage, path) as fd:
            _copy_bytes(storage, source, fd, prefix, count)
            storage.sync(fd)
            storage.forget(fd)
            if sha256_of(storage, fd, prefix.size_bytes, lambda _: count(0)) != prefix.sha256:
                raise CopyFailed(path, "what was written reads back differently")
            storage.forget(fd)


def copy_part(storage: Storage, source: Path, start: int, size_bytes: int, path: Path) -> None:
    """Put a part of a file at ``path``, whole or not at all, and durably once this returns."""
    with reading(storage, source) as source_fd, replacing(storage, path) as fd:
        for offset in range(0, size_bytes, CHUNK_BYTES):
            count = min(CHUNK_BYTES, size_bytes - offset)
            storage.write(fd, storage.read(source_fd, count, start + offset), offset)


def link(storage: Storage, prefix: FilePrefix, path: Path, count: Count) -> None:
    """Give all of the file a second name, ``path``, after reading every byte of it.

    Raises:
        CorruptSegment: ``prefix`` does not have this SHA-256.
        CopyFailed: the file system has no links, or ``path`` is on another file system.
    """
    if not holds(storage, prefix.path, prefix, count):
        raise _altered(prefix)
    temporary = path.with_name(path.name + ".tmp")
    with as_copy_failed(path):
        if storage.exists(temporary):
            storage.unlink(temporary)
        storage.link(prefix.path, temporary)
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
def as_copy_failed(path: Path) -> Iterator[None]:
    """Raise each OSError as :class:`CopyFailed`, which names the file."""
    try:
        yield
    except OSError as failure:
        raise CopyFailed(path, failure.strerror or str(failure)) from failure


def _copy_bytes(storage: Storage, source: int, fd: int, prefix: FilePrefix, count: Count) -> None:
    digest = hashlib.sha256()
    for offset in range(0, prefix.size_bytes, CHUNK_BYTES):
        data = storage.read(source, min(CHUNK_BYTES, prefix.size_bytes - offset), offset)
        digest.update(data)
        storage.write(fd, data, offset)
        storage.begin_sync(fd, offset, len(data))  # little by little, and not all at the sync
        count(len(data))
    if digest.digest() != prefix.sha256:
        raise _altered(prefix)


def _altered(prefix: FilePrefix) -> CorruptSegment:
    return CorruptSegment(prefix.path, 0, "its SHA-256 is not the one that vouches for it")
