"""A segment: one file of frames, and what ties it to its neighbours. Pure functions, no I/O.

A segment is named after the position of its first event, twenty digits wide, so that names sort in
the order of the log. The last segment is *active*; the others are *sealed* and never change again.
A segment begins with one 512-byte sector; integers are little-endian::

    offset  bytes  field
         0      8  magic "NOSTROSG"
         8      4  CRC-32 of bytes 12 to 511
        12      4  format version: 2; 1 before frames named the kind of their record
        16     16  identity of the ledger
        32      8  number of the segment, from 0
        40      8  position of its first event
        48     32  SHA-256 of the last frame before it (zero in the first segment)
        80     32  SHA-256 of the whole file before it (zero in the first segment)
       112      8  size of the file before it, in bytes (zero in the first segment)
       120      8  time of creation, ns
       128    384  zero
       512         frames, see journal/format/frame.py

What follows the last frame of the active segment is zero: room reserved ahead of the writer.
Sealing cuts it off.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import CorruptSegment, UnsupportedFormat

MAGIC: Final = b"NOSTROSG"
FORMAT_VERSION: Final = 2
FORMAT_VERSION_MIN: Final = 1
SEGMENT_HEADER_BYTES: Final = 512
SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
SEGMENT_BYTES_MIN: Final = 4096
SEGMENT_BYTES_LIMIT: Final = 1024**3
"""The most that a segment may be set to grow to: opening may have to hold one in memory."""
SUFFIX: Final = ".segment"

_HEADER: Final = struct.Struct("<8sII16sQQ32s32sQQ")
_CRC_START: Final = 12


@attrs.frozen
class SegmentHeader:
    ledger_id: bytes
    number: int
    position_first: int
    previous_frame_sha256: bytes
    previous_file_sha256: bytes
    previous_file_bytes: int
    created_at_ns: int
    version: int = FORMAT_VERSION


def segment_name(position_first: int) -> str:
    return f"{position_first:020d}{SUFFIX}"


def encode_segment_header(header: SegmentHeader) -> bytes:
    """One sector."""
    *fields, version = attrs.astuple(header)
    packed = _HEADER.pack(MAGIC, 0, version, *fields)
    sector = packed.ljust(SEGMENT_HEADER_BYTES, b"\0")
    crc = zlib.crc32(sector[_CRC_START:])
    return MAGIC + crc.to_bytes(4, "little") + sector[_CRC_START:]


def decode_segment_header(sector: bytes, *, path: Path) -> SegmentHeader:
    """The header of the segment at ``path``.

    Raises:
        UnsupportedFormat: written by a newer program.
        CorruptSegment: anything else that is not a segment's first sector.
    """
    if len(sector) < SEGMENT_HEADER_BYTES:
        raise CorruptSegment(path, 0, "the file is shorter than a segment header")
    magic, crc, version, *fields = _HEADER.unpack_from(sector)
    if magic != MAGIC:
        raise CorruptSegment(path, 0, "the segment header has the wrong magic")
    if zlib.crc32(sector[_CRC_START:SEGMENT_HEADER_BYTES]) != crc:
        raise CorruptSegment(path, 0, "the segment header fails its CRC")
    if version > FORMAT_VERSION:
        raise UnsupportedFormat(path, version, FORMAT_VERSION)
    if version < FORMAT_VERSION_MIN:
        raise CorruptSegment(path, 12, f"there never was a version {version}")
    if any(sector[_HEADER.size : SEGMENT_HEADER_BYTES]):
        raise CorruptSegment(path, _HEADER.size, "the rest of the segment header is not zero")
    header = attrs.evolve(SegmentHeader(*fields), version=version)
    if path.name != segment_name(header.position_first):
        raise CorruptSegment(
            path, 0, f"the header belongs to {segment_name(header.position_first)}"
        )
    return header
