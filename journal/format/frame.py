"""A frame: the bytes of one record. Pure functions, no I/O.

A frame is a multiple of 16 bytes and starts at one; integers are little-endian::

    offset  bytes  field
         0      4  magic "NSTR"
         4      4  CRC-32 of header bytes 8 to 95
         8      4  payload bytes, n
        12      3  events in the payload
        15      1  kind of the record, see journal/format/codec.py; 0 in segments of version 1
        16      8  position of the first event
        24      8  durable position: the last event known to be on disk when this was written
        32      8  lowest timestamp in the payload, ns
        40      8  highest timestamp in the payload, ns
        48     16  identity of the ledger
        64     32  SHA-256 of the whole frame before this one
        96      n  payload: canonical CBOR, see journal/format/codec.py
      96+n      p  zero padding, so that the frame is a multiple of 16
    96+n+p      8  position of the last event
             + 8 4  CRC-32 of the payload
            + 12 4  end mark "END."

The header has a CRC of its own: without it a flipped length would look like the end of the file.
The end mark keeps the last sector of every frame from being all zero, so that an all-zero sector
always means "never reached the disk".
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

MAGIC: Final = b"NSTR"
END_MARK: Final = b"END."
HEADER_BYTES: Final = 96
TRAILER_BYTES: Final = 16
ALIGNMENT_BYTES: Final = 16
SECTOR_BYTES: Final = 512
PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
EVENTS_MAX: Final = 2**24 - 1
KIND_MAX: Final = 4
GENESIS_SHA256: Final = bytes(32)
"""What the first frame of a ledger names as its predecessor's hash."""

_HEADER: Final = struct.Struct("<4sIIIQQQQ16s32s")
_KIND_SHIFT: Final = 24
_TRAILER: Final = struct.Struct("<QI4s")

HEADERS: Final[Any] = np.dtype(
    [
        ("magic", "S4"),
        ("crc", "<u4"),
        ("payload_bytes", "<u4"),
        ("event_count_and_kind", "<u4"),
        ("position_first", "<u8"),
        ("position_durable", "<u8"),
        ("timestamp_min", "<u8"),
        ("timestamp_max", "<u8"),
        ("ledger_id", "u1", 16),
        ("previous_sha256", "u1", 32),
    ]
)
"""Many headers as one array."""
TRAILERS: Final[Any] = np.dtype(
    [("before", "u1", ALIGNMENT_BYTES), ("position_last", "<u8"), ("crc", "<u4"), ("mark", "S4")]
)
"""Many trailers, with the bytes before each, of which the last are padding."""

if not (
    _HEADER.size == HEADERS.itemsize == HEADER_BYTES
    and _TRAILER.size == TRAILERS.itemsize - ALIGNMENT_BYTES == TRAILER_BYTES
):
    raise AssertionError("the frame's layout does not add up")


class FrameHeader(NamedTuple):
    payload_bytes: int
    event_count: int
    position_first: int
    position_durable: int
    timestamp_min: int
    timestamp_max: int
    ledger_id: bytes
    previous_sha256: bytes
    kind: int = 0
    """Of the record: a :class:`~nostro.journal.format.codec.RecordKind`. 0: see the payload."""

    @property
    def position_last(self) -> int:
        return self.position_first + self.event_count - 1

    @property
    def frame_bytes(self) -> int:
        return frame_bytes(self.payload_bytes)


class BadFrame(Exception):
    """Bytes that are not a frame. ``frame_end`` is where it would end, if its header is sound.

    ``is_split``: its header is sound, but it follows on another frame than the one before it.
    """

    def __init__(
        self, cause: str, *, frame_bytes: int | None = None, is_split: bool = False
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.frame_bytes = frame_bytes
        self.is_split = is_split


def frame_bytes(payload_bytes: int) -> int:
    """The size of a frame that carries ``payload_bytes``."""
    body = HEADER_BYTES + payload_bytes + TRAILER_BYTES
    return -(-body // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def encode_frame(header: FrameHeader, payload: bytes) -> bytes:
    if len(payload) != header.payload_bytes or not 1 <= header.event_count <= EVENTS_MAX:
        raise AssertionError("the header does not describe the payload")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise AssertionError("the payload is larger than a frame may be")
    size, count, *others, kind = header
    rest = _HEADER.pack(MAGIC, 0, size, count | kind << _KIND_SHIFT, *others)[8:]
    padding = bytes(header.frame_bytes - HEADER_BYTES - len(payload) - TRAILER_BYTES)
    trailer = _TRAILER.pack(header.position_last, zlib.crc32(payload), END_MARK)
    start = MAGIC + zlib.crc32(rest).to_bytes(4, "little")
    return b"".join((start, rest, payload, padding, trailer))


def decode_header(data: memoryview) -> FrameHeader:
    """The header at the start of ``data``.

    Raises:
        BadFrame: too few bytes, wrong magic, a failing CRC, or sizes no writer produces.
    """
    if len(data) < HEADER_BYTES:
        raise BadFrame("the file ends inside a frame header")
    magic, crc, *fields = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadFrame("no frame starts here")
    if zlib.crc32(data[8:HEADER_BYTES]) != crc:
        raise BadFrame("the frame header fails its CRC")
    size, count, *others = fields
    fields = [size, count & EVENTS_MAX, *others, count >> _KIND_SHIFT]
    header = FrameHeader(*fields)
    if size > PAYLOAD_BYTES_MAX or header.event_count < 1 or header.kind > KIND_MAX:
        raise BadFrame("the frame header holds an impossible size or kind")
    return header


def decode_payload(data: memoryview, header: FrameHeader) -> memoryview:
    """The payload of the frame that starts ``data``, a view without a copy.

    Raises:
        BadFrame: the frame is cut short, or its padding, trailer or payload CRC is wrong.
    """
    size = header.frame_bytes
    if len(data) < size:
        raise BadFrame("the file ends inside a frame", frame_bytes=size)
    payload_end = HEADER_BYTES + header.payload_bytes
    trailer_start = size - TRAILER_BYTES
    position_last, crc, mark = _TRAILER.unpack_from(data, trailer_start)
    payload = data[HEADER_BYTES:payload_end]
    if mark != END_MARK or position_last != header.position_last:
        raise BadFrame("the frame's end mark is wrong", frame_bytes=size)
    if any(data[payload_end:trailer_start]):
        raise BadFrame("the frame's padding is not zero", frame_bytes=size)
    if zlib.crc32(payload) != crc:
        raise BadFrame("the payload fails its CRC", frame_bytes=size)
    return payload


def frame_sha256(frame: bytes | memoryview) -> bytes:
    """The link of the hash chain: what the next frame names as ``previous_sha256``."""
    return hashlib.sha256(frame).digest()


def find_headers(data: bytes, *, offset_bytes: int) -> Iterator[tuple[int, FrameHeader]]:
    """The sound frame headers in ``data``, which begins at ``offset_bytes`` of the file.

    Each comes with its place in the file, in bytes. What follows a header is not checked.
    """
    at = data.find(MAGIC)
    while at != -1:
        if (offset_bytes + at) % ALIGNMENT_BYTES == 0:
            with contextlib.suppress(BadFrame):
                yield offset_bytes + at, decode_header(memoryview(data)[at:])
        at = data.find(MAGIC, at + 1)


def has_zero_sector(data: memoryview, *, offset_bytes: int) -> bool:
    """Whether some 512-byte sector of the file, where it overlaps ``data``, is all zero.

    ``data`` begins at ``offset_bytes`` of the file. Such a sector was never written.
    """
    start = 0
    while start < len(data):
        end = start + SECTOR_BYTES - (offset_bytes + start) % SECTOR_BYTES
        if not any(data[start:end]):
            return True
        start = end
    return False
