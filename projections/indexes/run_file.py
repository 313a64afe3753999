"""Runs: the files that indexes are kept in. Each describes consecutive positions of the journal.

An index grows like a log-structured tree: what is new is frozen into a run at each checkpoint, runs
of similar size are merged, and no run ever changes. So there are about 3 log4(n) of them. A run
is a header and columns of numbers; it is verified once, when it is opened, and then mapped, so that
what is resident of it is what the system's cache has room for.

A run is bound to its ledger and to the frame that ends at its last position. One that is missing,
damaged or of another journal is passed over, and made anew from the journal.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.storage.files import Storage, reading, replacing

Column = npt.NDArray[Any]
Pieces = Iterable[tuple[int, Column]]

_MAGIC: Final = b"NOSTRORN"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8s32sII16s32sQQ")
_COLUMN: Final = struct.Struct("<Q32s")
_ALIGNMENT_BYTES: Final = 8
_CHUNK_BYTES: Final = 1 << 20
_COLUMNS_MAX: Final = 64
_POSITION_END: Final = 2**63
"""Positions are signed where columns are searched."""
FAN_OUT: Final = 4
"""So many runs of the same size become one."""
NUMBER_MAX: Final = 2**32 - 1
"""The most positions and entries of one run: columns number both from its first, in 32 bits."""


@attrs.frozen
class Span:
    """The consecutive positions that a run describes."""

    position_first: int
    position_last: int
    frame_sha256: bytes
    """The hash of the frame that ends at ``position_last``."""

    def __len__(self) -> int:
        return self.position_last - self.position_first + 1


@attrs.frozen
class Kind:
    """What a file of runs holds: its suffix, and the type and width of each column."""

    suffix: str
    dtypes: tuple[np.dtype[Any], ...]

    def name(self, span: Span) -> str:
        return f"{span.position_first:020d}-{span.position_last:020d}{self.suffix}"


def first_to_merge(
    sizes: Sequence[int], spans: Sequence[Span], *, size_max: int = NUMBER_MAX
) -> int:
    """Which run, and all after it, are to become one; ``len(sizes)`` if none is.

    The oldest that becomes at least :data:`FAN_OUT` times as large that way. So entries are written
    about log(n) times to that base, and of runs that are not to be merged each holds more than a
    third of all that follows it.

    Args:
        size_max: what is larger is not made; at most :data:`NUMBER_MAX`.
    """
    first = len(sizes)
    newer = positions = 0
    for number in reversed(range(len(sizes))):
        size = sizes[number] + 1  # empty ones are not kept for ever
        positions += len(spans[number])
        if positions > NUMBER_MAX or newer + size > size_max:
            break
        if newer >= (FAN_OUT - 1) * size:
            first = number
        newer += size
    return first


def _go_on() -> None:
    pass


@attrs.frozen
class RunFiles:
    """Where the runs of a ledger's indexes are."""

    storage: Storage
    folder: Path
    ledger_id: bytes
    pause: Callable[[], None] = _go_on
    """Called between the pieces of a run that is written; what it raises undoes that run."""

    def names(self, suffix: str) -> list[str]:
        if not self.storage.exists(self.folder):
            return []
        return [name for name in self.storage.names(self.folder) if name.endswith(suffix)]


def write_run(
    files: RunFiles, path: Path, kind: Kind, span: Span, counts: Sequence[int], pieces: Pieces
) -> None:
    """Write the run of ``span``, whose columns have ``counts`` entries.

    Args:
        pieces: parts of columns, each with its column's number; each column's in order.

    Raises:
        OSError: it could not be written; nothing is there.
    """
    storage = files.storage
    digests = [hashlib.sha256() for _ in counts]
    offsets, end = _offsets(kind, counts)
    written = list(offsets)
    with replacing(storage, path) as fd:
        for column, entries in pieces:
            if entries.size:
                dtype = kind.dtypes[column].base
                data = np.ascontiguousarray(entries, dtype).reshape(-1).view(np.uint8).data
                digests[column].update(data)
                storage.write(fd, data, written[column])
                # Or the sync at the end would be a large one, in the way of the journal's.
                storage.begin_sync(fd, written[column], len(data))
                written[column] += len(data)
            files.pause()
        directory = b""
        for number, (count, digest) in enumerate(zip(counts, digests, strict=True)):
            if written[number] != offsets[number] + kind.dtypes[number].itemsize * count:
                raise AssertionError(f"column {number} of a run has not the length it should")
            directory += _COLUMN.pack(count, digest.digest())
        bound = _HEADER.pack(
            _MAGIC, bytes(32), _VERSION, len(counts), files.ledger_id, span.frame_sha256,
            span.position_first, span.position_last,
        )[40:]  # fmt: skip
        sha256 = hashlib.sha256(bound + directory).digest()
        storage.write(fd, _MAGIC + sha256 + bound + directory, 0)  # last: it says all is complete
        size = max(written, default=offsets[0])
        if size < end:
            storage.write(fd, bytes(end - size), size)
        storage.protect(fd)  # a mapped file that is cut short ends the process


def open_run(files: RunFiles, path: Path, kind: Kind) -> tuple[Span, list[Column]]:
    """A run's span and its columns, checked and mapped.

    Raises:
        CorruptCheckpoint: it is damaged or another ledger's; it can be rebuilt.
        OSError: it cannot be read.
    """
    storage = files.storage
    fd = storage.open_read(path)
    try:
        span, counts = _check(storage, fd, path, kind, files.ledger_id)
        data = storage.map(fd)
    finally:
        storage.close(fd)
    offsets, _ = _offsets(kind, counts)
    return span, [
        np.frombuffer(data, dtype.base, count * (dtype.itemsize // dtype.base.itemsize), offset)
        .reshape(count, *dtype.shape)
        for dtype, count, offset in zip(kind.dtypes, counts, offsets, strict=True)
    ]  # fmt: skip


def read_span(files: RunFiles, path: Path) -> Span:
    """The span that a sound header names, whatever its columns hold.

    Raises:
        CorruptCheckpoint: the header is damaged or another ledger's.
        OSError: it cannot be read.
    """
    with reading(files.storage, path) as fd:
        header = files.storage.read(fd, _HEADER.size, 0)
        width = _HEADER.unpack(header)[3] if len(header) == _HEADER.size else 0
        if not 1 <= width <= _COLUMNS_MAX:
            raise CorruptCheckpoint(path, 0, "the file is cut short, or not a run of an index")
        return _check_header(files.storage, fd, path, width, files.ledger_id)[0]


def _check(
    storage: Storage, fd: int, path: Path, kind: Kind, ledger_id: bytes
) -> tuple[Span, list[int]]:
    span, columns = _check_header(storage, fd, path, len(kind.dtypes), ledger_id)
    counts = [count for count, _ in columns]
    offsets, end = _offsets(kind, counts)
    if storage.size(fd) != end:
        raise CorruptCheckpoint(path, 0, "the file has not the size it should")
    for dtype, offset, (count, wanted) in zip(kind.dtypes, offsets, columns, strict=True):
        if _sha256(storage, fd, offset, dtype.itemsize * count) != wanted:
            raise CorruptCheckpoint(path, offset, "a column fails its SHA-256")
    return span, counts


def _check_header(
    storage: Storage, fd: int, path: Path, width: int, ledger_id: bytes
) -> tuple[Span, list[tuple[int, bytes]]]:
    """The span, and of each column the count and the SHA-256."""
    size = _HEADER.size + _COLUMN.size * width
    header = storage.read(fd, size, 0)
    if len(header) < size:
        raise CorruptCheckpoint(path, 0, "the file is cut short")
    magic, sha256, version, columns, owner, frame_sha256, first, last = _HEADER.unpack_from(header)
    if (magic, version, columns, owner) != (_MAGIC, _VERSION, width, ledger_id):
        raise CorruptCheckpoint(path, 0, "the file is not a run of this ledger's index")
    if hashlib.sha256(header[40:]).digest() != sha256:
        raise CorruptCheckpoint(path, 0, "the header fails its SHA-256")
    if not 1 <= first <= last < _POSITION_END:
        raise CorruptCheckpoint(path, 0, "there are no such positions")
    return Span(first, last, frame_sha256), list(_COLUMN.iter_unpack(header[_HEADER.size :]))


def _offsets(kind: Kind, counts: Sequence[int]) -> tuple[list[int], int]:
    """Where each column begins, and where the file ends."""
    at = _HEADER.size + _COLUMN.size * len(counts)
    offsets = []
    for dtype, count in zip(kind.dtypes, counts, strict=True):
        offsets.append(at)
        at += -(-dtype.itemsize * count // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    return offsets, at


def _sha256(storage: Storage, fd: int, offset_bytes: int, count: int) -> bytes:
    digest = hashlib.sha256()
    while count:
        data = storage.read(fd, min(count, _CHUNK_BYTES), offset_bytes)
        if not data:
            break
        digest.update(data)
        offset_bytes += len(data)
        count -= len(data)
    return digest.digest()
