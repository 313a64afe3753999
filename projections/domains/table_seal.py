"""Whether a file of tables is, byte for byte, what SQLite last made of it.

SQLite checks what it writes ahead (the ``-wal`` file), and not its database file. So a seal lies
beside it: a checksum of every 64 KiB. It is renewed whenever what was written ahead is moved into
the file. Until the move is complete, the seal has a checksum of the ``-wal`` file, too: that file
then brings back each page that was being written.

::

    X.db        the database        X.db-wal    written ahead
    X.seal      a derived file (journal/format/container.py)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs

from nostro.journal.errors import DecodeError
from nostro.journal.format.container import pack, unpack
from nostro.journal.storage.files import Storage, read_file, reading, replace_file

CHUNK_BYTES: Final = 1 << 16
_READ_BYTES: Final = 1 << 20
_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_TYPE: Final = "tables"


@attrs.frozen
class Seal:
    """What the files of a domain's tables contain."""

    identity: bytes
    """Of the ledger, the domain, its version and its tables."""
    sums: bytes
    """Of each chunk of the database, 4 bytes."""
    wal_bytes: int = 0
    wal_sum: int = 0
    """Of the ``-wal`` file, while it is being moved into the database."""


def seal_path(path: Path) -> Path:
    return path.with_suffix(".seal")


def wal_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def read_seal(storage: Storage, path: Path) -> Seal | None:
    """The seal of the tables at ``path``; None if there is none, or it is damaged."""
    try:
        body = unpack(read_file(storage, seal_path(path)), file_type=_TYPE)
        found = Seal(body["identity"], body["sums"], body["wal_bytes"], body["wal_sum"])
    except (OSError, DecodeError, KeyError):
        return None
    return found


def write_seal(storage: Storage, path: Path, seal: Seal) -> None:
    body: dict[str, Any] = {"type": _TYPE, **attrs.asdict(seal)}
    replace_file(storage, seal_path(path), pack(body))


def is_whole(storage: Storage, path: Path, seal: Seal) -> bool:
    """Whether the database is what was sealed, or is with what was written ahead."""
    try:
        sums = chunk_sums(storage, path)
        if sums == seal.sums:
            return True
        if not seal.wal_bytes or file_sum(storage, wal_path(path), seal.wal_bytes) != seal.wal_sum:
            return False
        touched = touched_chunks(storage, path)
    except OSError:
        return False
    return all(
        chunk in touched or sums[4 * chunk : 4 * chunk + 4] == seal.sums[4 * chunk : 4 * chunk + 4]
        for chunk in range(max(len(sums), len(seal.sums)) // 4)
    )


def chunk_sums(storage: Storage, path: Path) -> bytes:
    """The checksum of each chunk of the file, by two threads: it may be long."""
    with reading(storage, path) as fd, ThreadPoolExecutor(1) as other:
        size = storage.size(fd)
        half = size // 2 // _READ_BYTES * _READ_BYTES
        first = other.submit(_sums, storage, fd, 0, half)
        rest = _sums(storage, fd, half, size)
        return first.result() + rest


def _sums(storage: Storage, fd: int, start: int, end: int) -> bytes:
    # Read and not mapped: to read behind the end of a file that is cut short ends the process.
    sums = bytearray()
    for at in range(start, end, _READ_BYTES):
        data = memoryview(storage.read(fd, min(_READ_BYTES, end - at), at))
        for chunk in range(0, len(data), CHUNK_BYTES):
            sums += zlib.crc32(data[chunk : chunk + CHUNK_BYTES]).to_bytes(4, "big")
    return bytes(sums)


def renewed_sums(storage: Storage, path: Path, sums: bytes, touched: Iterable[int]) -> bytes:
    """``sums`` after the chunks ``touched`` were written, and the file has grown."""
    new = bytearray(sums)
    with reading(storage, path) as fd:
        count = -(-storage.size(fd) // CHUNK_BYTES)
        grown = range(max(len(sums) // 4 - 1, 0), count)  # the last one may have been shorter
        del new[4 * count :]
        new += bytes(4 * count - len(new))
        for chunk in sorted({*touched, *grown}):
            if chunk < count:
                data = storage.read(fd, CHUNK_BYTES, chunk * CHUNK_BYTES)
                new[4 * chunk : 4 * chunk + 4] = zlib.crc32(data).to_bytes(4, "big")
    return bytes(new)


def file_sum(storage: Storage, path: Path, size_bytes: int) -> int:
    """The checksum of the first bytes of a file."""
    total = 0
    with reading(storage, path) as fd:
        for start in range(0, size_bytes, _READ_BYTES):
            total = zlib.crc32(storage.read(fd, min(_READ_BYTES, size_bytes - start), start), total)
    return total


def touched_chunks(storage: Storage, path: Path) -> set[int]:
    """The chunks with pages in the ``-wal`` file; older frames behind the newest are not in use."""
    chunks: set[int] = set()
    with reading(storage, wal_path(path)) as fd:
        size = storage.size(fd)
        header = storage.read(fd, _WAL_HEADER_BYTES, 0)
        page_bytes, salts = int.from_bytes(header[8:12], "big"), header[16:24]
        frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        for start in range(_WAL_HEADER_BYTES, size - frame_bytes + 1, frame_bytes):
            frame = storage.read(fd, _FRAME_HEADER_BYTES, start)
            if frame[8:16] != salts:
                break
            page = int.from_bytes(frame[:4], "big")
            chunks.add((page - 1) * page_bytes // CHUNK_BYTES)
    return chunks
