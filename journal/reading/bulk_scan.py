"""Checking the frames of a whole segment, thousands at a time.

This module checks what :func:`scan` checks, but for many frames at once with numpy. Only a SHA-256
and two CRCs remain to be computed per frame. When a check fails, ``scan`` finds what and where.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, Self

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.format.frame import (
    ALIGNMENT_BYTES,
    END_MARK,
    EVENTS_MAX,
    HEADER_BYTES,
    HEADERS,
    KIND_MAX,
    MAGIC,
    PAYLOAD_BYTES_MAX,
    TRAILER_BYTES,
    TRAILERS,
    frame_bytes,
    frame_sha256,
)
from nostro.journal.reading.scan import Place, ScannedFrame, scan
from nostro.journal.storage.files import Storage

_CHUNK_BYTES: Final = 1024 * 1024
_POSITION_MAX: Final = 2**64 - 1
_SIZE: Final = struct.Struct("<I")
_SIZE_START: Final = HEADERS.fields["payload_bytes"][1]
"""The CRC of a header covers it from here on."""


@attrs.frozen(eq=False)
class FrameChunk:
    """Consecutive sound frames: their bytes, and the number of their records and events."""

    data: memoryview
    records: int
    events: int
    next_place: Place

    @classmethod
    def of(cls, scanned: ScannedFrame) -> Self:
        return cls(scanned.frame, 1, scanned.header.event_count, scanned.next_place)


def scan_chunks(
    storage: Storage,
    fd: int,
    start: Place,
    *,
    end_bytes: int,
    ledger_id: bytes,
    chunk_bytes: int = _CHUNK_BYTES,
) -> Iterator[FrameChunk]:
    """The frames from ``start`` up to ``end_bytes``, about ``chunk_bytes`` at a time.

    Raises:
        FrameBreak: as :func:`nostro.journal.reading.scan.scan` does, after the sound frames.
    """
    place = start
    while place.offset_bytes < end_bytes:
        chunk_end = min(place.offset_bytes + chunk_bytes, end_bytes)
        data = storage.read(fd, chunk_end - place.offset_bytes, place.offset_bytes)
        chunk = _sound_chunk(data, place, ledger_id)
        if chunk is not None:
            yield chunk
            place = chunk.next_place
            continue
        for scanned in scan(storage, fd, place, end_bytes=end_bytes, ledger_id=ledger_id):
            place = scanned.next_place
            yield FrameChunk.of(scanned)
            if place.offset_bytes >= chunk_end:
                break


def _sound_chunk(data: bytes, start: Place, ledger_id: bytes) -> FrameChunk | None:
    """The whole frames at the start of ``data``; None if there are none, or one is not sound."""
    heads, tails, header_crcs, payload_crcs, links = [], [], [], [], []
    view, offset, room = memoryview(data), 0, len(data)
    while offset + HEADER_BYTES <= room:
        (payload_bytes,) = _SIZE.unpack_from(data, offset + _SIZE_START)
        end = offset + frame_bytes(payload_bytes)
        if end > room:
            break
        payload = offset + HEADER_BYTES
        heads.append(data[offset:payload])
        tails.append(data[end - TRAILERS.itemsize : end])
        header_crcs.append(zlib.crc32(data[offset + _SIZE_START : payload]))
        payload_crcs.append(zlib.crc32(view[payload : payload + payload_bytes]))
        links.append(frame_sha256(view[offset:end]))
        offset = end
    if not heads:
        return None
    headers: Any = np.frombuffer(b"".join(heads), HEADERS)
    trailers: Any = np.frombuffer(b"".join(tails), TRAILERS)
    counts = (headers["event_count_and_kind"] & np.uint32(EVENTS_MAX)).astype(np.uint64)
    end_position = start.position + int(counts.sum())
    if end_position > _POSITION_MAX:
        return None
    next_positions = np.uint64(start.position) + np.cumsum(counts)
    are_sound = (
        (headers["magic"] == MAGIC)
        & (headers["crc"] == header_crcs)
        & (headers["payload_bytes"] <= PAYLOAD_BYTES_MAX)
        & (counts > 0)
        & (headers["event_count_and_kind"] >> np.uint32(24) <= KIND_MAX)
        & (headers["position_first"] == next_positions - counts)
        & (headers["position_durable"] < headers["position_first"])
        & (headers["ledger_id"] == np.frombuffer(ledger_id, np.uint8)).all(axis=1)
        & (trailers["position_last"] == next_positions - np.uint64(1))
        & (trailers["crc"] == payload_crcs)
        & (trailers["mark"] == END_MARK)
        & ~(trailers["before"] * _is_padding(headers["payload_bytes"])).any(axis=1)
    )
    expected = [start.previous_sha256 or headers["previous_sha256"][0].tobytes(), *links[:-1]]
    if not are_sound.all() or headers["previous_sha256"].tobytes() != b"".join(expected):
        return None
    place = Place(start.offset_bytes + offset, end_position, links[-1])
    return FrameChunk(view[:offset], len(heads), end_position - start.position, place)


def _is_padding(payload_bytes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which of the 16 bytes before each trailer are padding; shape (frames, 16)."""
    count = -(payload_bytes.astype(np.int64) + HEADER_BYTES + TRAILER_BYTES) % ALIGNMENT_BYTES
    return np.arange(ALIGNMENT_BYTES) >= ALIGNMENT_BYTES - count[:, None]
