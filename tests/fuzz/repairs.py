"""Puts the checksums of altered files right, so that what they guard is reached."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import zlib
from typing import Any, Final

import cbor2
import zstandard

from nostro.journal.format import codec, container, frame, head, segment
from nostro.journal.format.frame import ALIGNMENT_BYTES, HEADER_BYTES, TRAILER_BYTES
from nostro.journal.format.parts import parts_of
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES

_EVENTS_AND_POSITION: Final = struct.Struct("<IQ")
_TRAILER: Final = struct.Struct("<QI4s")
_RUN_HEADER_BYTES: Final = 112
_RUN_COLUMN: Final = struct.Struct("<Q32s")
_MASK_64: Final = 2**64 - 1


def sector(data: bytes) -> bytes:
    """The CRC of a segment's header, or of each slot of HEAD."""
    changed = bytearray(data)
    for start in range(0, min(len(data), head.HEAD_BYTES), head.SLOT_BYTES):
        _set_crc(changed, start + 8, start + 12, start + head.SLOT_BYTES)
    return bytes(changed)


def one_frame(data: bytes) -> bytes:
    """Both CRCs and the trailer of a frame, as far as it goes."""
    changed = bytearray(data)
    _seal_frame(changed, 0)
    return bytes(changed)


def fitted_frame(data: bytes) -> bytes:
    """The same, and it has the length that its header says."""
    changed = bytearray(data)
    if len(changed) >= HEADER_BYTES + TRAILER_BYTES:
        del changed[len(changed) - len(changed) % ALIGNMENT_BYTES :]
        payload_bytes = len(changed) - HEADER_BYTES - TRAILER_BYTES
        changed[8:12] = payload_bytes.to_bytes(4, "little")
        changed[-4:] = frame.END_MARK
    _seal_frame(changed, 0)
    return bytes(changed)


def whole_segment(data: bytes) -> bytes:
    """The header's CRC, and frame by frame position, hash of the one before, CRCs, trailer."""
    changed = bytearray(sector(data[:SEGMENT_HEADER_BYTES]) + data[SEGMENT_HEADER_BYTES:])
    if len(changed) < SEGMENT_HEADER_BYTES:
        return bytes(changed)
    ledger_id, before = bytes(changed[16:32]), bytes(changed[48:80])
    position = int.from_bytes(changed[40:48], "little")
    at = SEGMENT_HEADER_BYTES
    while (end := frame_end(changed, at)) is not None:
        changed[at + 16 : at + 24] = (position & _MASK_64).to_bytes(8, "little")
        changed[at + 48 : at + HEADER_BYTES] = ledger_id + before
        _seal_frame(changed, at)
        before = hashlib.sha256(changed[at:end]).digest()
        position += int.from_bytes(changed[at + 12 : at + 15], "little")
        at = end
    return bytes(changed)


def frame_end(data: bytes | bytearray, at: int) -> int | None:
    """Where the frame that begins at ``at`` ends; None if none does, or it ends later."""
    if data[at : at + 4] != frame.MAGIC or len(data) < at + HEADER_BYTES:
        return None
    end = at + frame.frame_bytes(int.from_bytes(data[at + 8 : at + 12], "little"))
    return end if end <= len(data) else None


def envelope(data: bytes) -> bytes:
    """The SHA-256 of a derived file."""
    return container.MAGIC + hashlib.sha256(data[40:]).digest() + data[40:]


def checkpoint(data: bytes) -> bytes:
    """The SHA-256 of a checkpoint and, where there is a state in it, of that."""
    with contextlib.suppress(Exception):  # it may not be much of a checkpoint any more
        body = cbor2.loads(data[40:])
        state = zstandard.ZstdDecompressor().decompress(body["state"], max_output_size=1 << 20)
        body["state_sha256"] = hashlib.sha256(state).digest()
        data = bytes(40) + cbor2.dumps(body, canonical=True)
    return envelope(data)


def run(data: bytes) -> bytes:
    """The SHA-256 of each column of an index's run, and of its header."""
    changed = bytearray(data)
    width = int.from_bytes(changed[44:48], "little")
    end = _RUN_HEADER_BYTES + width * _RUN_COLUMN.size
    if len(changed) < end or width > 64:
        return data
    return bytes(changed[:8]) + hashlib.sha256(changed[40:end]).digest() + bytes(changed[40:])


def run_columns(widths: tuple[int, ...], data: bytes) -> bytes:
    """The same where the bytes of each entry are known: the columns' hashes and the size, too."""
    end = _RUN_HEADER_BYTES + len(widths) * _RUN_COLUMN.size
    if len(data) < end:
        return data
    changed = bytearray(data)
    at = end
    for number, width in enumerate(widths):
        place = _RUN_HEADER_BYTES + number * _RUN_COLUMN.size
        count = int.from_bytes(changed[place : place + 8], "little")
        if count * width > 1 << 20:  # no file of that size is made
            break
        changed += bytes(max(0, at + count * width - len(changed)))
        digest = hashlib.sha256(changed[at : at + count * width]).digest()
        changed[place + 8 : place + _RUN_COLUMN.size] = digest
        at += -(-count * width // 8) * 8
    else:
        changed += bytes(max(0, at - len(changed)))
        del changed[at:]
    return run(bytes(changed))


def export(data: bytes) -> bytes:
    """The SHA-256 in the last line of an export."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    before = b"".join(lines[:-1])
    try:
        last = json.loads(lines[-1])
        last["sha256"] = hashlib.sha256(before).hexdigest()
    except Exception:  # noqa: BLE001  # the last line is something else by now
        return data
    return before + json.dumps(last).encode() + b"\n"


def _seal_frame(data: bytearray, at: int) -> None:
    if len(data) < at + HEADER_BYTES:
        return
    _set_crc(data, at + 4, at + 8, at + HEADER_BYTES)
    payload_bytes = int.from_bytes(data[at + 8 : at + 12], "little")
    end = at + frame.frame_bytes(payload_bytes)
    if end > len(data):
        return
    events, position = _EVENTS_AND_POSITION.unpack_from(data, at + 12)
    crc = zlib.crc32(data[at + HEADER_BYTES : at + HEADER_BYTES + payload_bytes])
    last = (position + (events & frame.EVENTS_MAX) - 1) & _MASK_64
    _TRAILER.pack_into(data, end - TRAILER_BYTES, last, crc, bytes(data[end - 4 : end]))


def _set_crc(data: bytearray, at: int, start: int, end: int) -> None:
    if end <= len(data):
        data[at : at + 4] = zlib.crc32(data[start:end]).to_bytes(4, "little")


def plain_rows(payload: bytes) -> dict[str, Any]:
    """A payload's CBOR, its rows neither transposed nor compressed: each byte is one of a row."""
    body: dict[str, Any] = cbor2.loads(payload)
    decoded = codec.decode_payload(payload)
    if decoded.blocks:
        body["b"] = []
    for part in parts_of(decoded):
        if part.kind is codec.RecordKind.EVENTS:
            continue
        rows = part.payload.rows()
        for start in range(0, len(rows), codec.BLOCK_ROWS):
            body["b"].append(b"\0" + rows[start : start + codec.BLOCK_ROWS].tobytes())
    return body


assert segment.SEGMENT_HEADER_BYTES == head.SLOT_BYTES
