"""HEAD: the witness of what was acknowledged. Pure functions, no I/O.

The file HEAD holds two sectors. After each sync of the journal the older of the two is
overwritten, before any caller gets an answer. So HEAD never leads the journal, one slot is always
whole, and a reader may show everything up to HEAD.

A slot; integers are little-endian::

    offset  bytes  field
         0      8  magic "NOSTROHD"
         8      4  CRC-32 of bytes 12 to 511
        12      4  format version: 1
        16     16  identity of the ledger
        32      8  sequence number of this writing; the slot is sequence modulo 2
        40      8  position of the last durable event (0: none)
        48      8  highest timestamp among the events so far, ns
        56      8  position of the first event of the active segment
        64      8  end of the last durable frame in that segment, in bytes
        72     32  SHA-256 of the last durable frame (zero: none)
       104      4  1 if the writer closed the ledger, else 0
       108    404  zero
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from nostro.journal.errors import CorruptHead, UnsupportedFormat

MAGIC: Final = b"NOSTROHD"
FORMAT_VERSION: Final = 1
SLOT_BYTES: Final = 512
HEAD_BYTES: Final = 2 * SLOT_BYTES

_SLOT: Final = struct.Struct("<8sII16sQQQQQ32sI")
_CRC_START: Final = 12


class Head(NamedTuple):
    """How far the journal is durable."""

    ledger_id: bytes
    sequence: int
    position: int
    timestamp: int
    segment_position: int
    offset_bytes: int
    frame_sha256: bytes
    closed: bool

    @property
    def slot_offset_bytes(self) -> int:
        return self.sequence % 2 * SLOT_BYTES


def encode_slot(head: Head) -> bytes:
    packed = _SLOT.pack(MAGIC, 0, FORMAT_VERSION, *head)
    sector = packed.ljust(SLOT_BYTES, b"\0")
    crc = zlib.crc32(sector[_CRC_START:])
    return MAGIC + crc.to_bytes(4, "little") + sector[_CRC_START:]


def encode_slots(head: Head) -> bytes:
    """A whole HEAD that says ``head`` twice, the second time with the next sequence number."""
    pair = sorted((head, head._replace(sequence=head.sequence + 1)), key=_slot_offset)
    return b"".join(map(encode_slot, pair))


def decode_slots(data: bytes, *, path: Path) -> tuple[Head | None, Head | None]:
    """Both slots; None for one that is not whole.

    Raises:
        UnsupportedFormat: written by a newer program.
    """
    return _decode_slot(data, 0, path), _decode_slot(data, 1, path)


def newest(data: bytes, *, path: Path) -> Head:
    """The newer of the whole slots.

    Raises:
        CorruptHead: neither is whole.
        UnsupportedFormat: written by a newer program.
    """
    heads = [head for head in decode_slots(data, path=path) if head is not None]
    if not heads:
        raise CorruptHead(path, 0, "neither of its two slots is readable")
    return max(heads, key=lambda head: head.sequence)


def _slot_offset(head: Head) -> int:
    return head.slot_offset_bytes


def _decode_slot(data: bytes, number: int, path: Path) -> Head | None:
    sector = data[number * SLOT_BYTES : (number + 1) * SLOT_BYTES]
    if len(sector) < SLOT_BYTES:
        return None
    magic, crc, version, *fields = _SLOT.unpack_from(sector)
    if magic != MAGIC or zlib.crc32(sector[_CRC_START:]) != crc:
        return None
    if version > FORMAT_VERSION:
        raise UnsupportedFormat(path, version, FORMAT_VERSION)
    head = Head(*fields)
    whole = (
        version == FORMAT_VERSION
        and head.sequence % 2 == number
        and head.closed in (0, 1)
        and not sector[_SLOT.size :].strip(b"\0")
    )
    return head._replace(closed=bool(head.closed)) if whole else None
