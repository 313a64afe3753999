"""Frames: what is written is read back, and not one other bit pattern is."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.format import frame
from nostro.journal.format.frame import (
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    TRAILER_BYTES,
    BadFrame,
    FrameHeader,
    decode_header,
    decode_payload,
    encode_frame,
    frame_bytes,
    frame_sha256,
    has_zero_sector,
)

PAYLOAD = b"what happened"
U64 = st.integers(0, 2**64 - 1)


def header_of(payload: bytes, *, event_count: int = 3, position_first: int = 7) -> FrameHeader:
    return FrameHeader(
        payload_bytes=len(payload),
        event_count=event_count,
        position_first=position_first,
        position_durable=6,
        timestamp_min=1_000,
        timestamp_max=2_000,
        ledger_id=bytes(range(16)),
        previous_sha256=bytes(range(32)),
    )


def decode(data: bytes) -> tuple[FrameHeader, bytes]:
    header = decode_header(memoryview(data))
    return header, bytes(decode_payload(memoryview(data), header))


@given(
    payload=st.binary(max_size=2_000),
    event_count=st.integers(1, 2**24 - 1),
    position_first=st.integers(0, 2**63),
    others=st.tuples(U64, U64, U64),
    ids=st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)),
    kind=st.integers(0, 4),
)
def test_what_is_encoded_is_decoded(
    payload: bytes,
    event_count: int,
    position_first: int,
    others: tuple[int, int, int],
    ids: tuple[bytes, bytes],
    kind: int,
) -> None:
    """Every header and payload comes back as it was, from a frame of the size announced."""
    header = FrameHeader(len(payload), event_count, position_first, *others, *ids, kind)
    data = encode_frame(header, payload)
    assert decode(data) == (header, payload)
    assert len(data) == header.frame_bytes == frame_bytes(len(payload))
    assert decode(data + b"what follows") == (header, payload)


@pytest.mark.parametrize(("payload_bytes", "expected"), [(0, 112), (1, 128), (16, 128), (17, 144)])
def test_a_frame_is_a_multiple_of_16_bytes(payload_bytes: int, expected: int) -> None:
    """Header, payload and trailer are rounded up, never down."""
    assert frame_bytes(payload_bytes) == expected


def test_the_layout_is_the_one_documented() -> None:
    """Every field lies at the offset that the module's drawing gives it."""
    data = encode_frame(header_of(PAYLOAD), PAYLOAD)
    fields = {
        0: b"NSTR",
        8: len(PAYLOAD).to_bytes(4, "little"),
        12: (3).to_bytes(4, "little"),
        16: (7).to_bytes(8, "little"),
        24: (6).to_bytes(8, "little"),
        32: (1_000).to_bytes(8, "little"),
        40: (2_000).to_bytes(8, "little"),
        48: bytes(range(16)),
        64: bytes(range(32)),
        96: PAYLOAD,
        96 + len(PAYLOAD): bytes(3),
        112: (9).to_bytes(8, "little"),
        124: b"END.",
    }
    for offset, expected in fields.items():
        assert data[offset : offset + len(expected)] == expected, offset


def test_every_flipped_bit_is_noticed() -> None:
    """No single bit of a frame can change unseen: header, payload, padding or trailer."""
    data = encode_frame(header_of(PAYLOAD), PAYLOAD)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadFrame):
            decode(bytes(flipped))


def test_a_flipped_length_does_not_look_like_the_end_of_the_file() -> None:
    """A damaged header is told from a short file: only a sound one says where its frame ends."""
    data = bytearray(encode_frame(header_of(PAYLOAD), PAYLOAD))
    data[10] ^= 0x40
    with pytest.raises(BadFrame, match="header fails its CRC") as caught:
        decode(bytes(data))
    assert caught.value.frame_bytes is None


def test_every_truncation_is_noticed() -> None:
    """A frame that stops short is no frame; from its header on it says how long it would be."""
    data = encode_frame(header_of(PAYLOAD), PAYLOAD)
    for size in range(len(data)):
        with pytest.raises(BadFrame, match="the file ends inside a frame") as caught:
            decode(data[:size])
        assert caught.value.frame_bytes == (len(data) if size >= HEADER_BYTES else None)


@pytest.mark.parametrize(
    "header",
    [
        header_of(b"")._replace(payload_bytes=PAYLOAD_BYTES_MAX + 1),
        header_of(b"")._replace(payload_bytes=2**32 - 1),
        header_of(b"")._replace(event_count=0),
        header_of(b"")._replace(event_count=5 << 24 | 1),
    ],
)
def test_sizes_that_no_writer_produces_are_refused(header: FrameHeader) -> None:
    """A header with a sound CRC still announces no large payload, no unknown kind, some event."""
    rest = struct.pack("<IIQQQQ16s32s", *header[:-1])
    data = b"NSTR" + zlib.crc32(rest).to_bytes(4, "little") + rest
    with pytest.raises(BadFrame, match="impossible size"):
        decode_header(memoryview(data))


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (header_of(b"x"), b"xy"),
        (header_of(b"", event_count=0), b""),
        (header_of(bytes(PAYLOAD_BYTES_MAX + 1)), bytes(PAYLOAD_BYTES_MAX + 1)),
    ],
)
def test_a_frame_that_could_not_be_read_is_never_written(
    header: FrameHeader, payload: bytes
) -> None:
    """What decoding refuses, encoding refuses first: that would be our own bug."""
    with pytest.raises(AssertionError):
        encode_frame(header, payload)


def test_the_chain_link_covers_the_whole_frame() -> None:
    """The hash that the next frame names changes with any byte, the last one included."""
    data = encode_frame(header_of(PAYLOAD), PAYLOAD)
    links = {frame_sha256(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]) for i in (0, 50, 127)}
    assert len(links | {frame_sha256(data)}) == 4
    assert frame_sha256(memoryview(data)) == frame_sha256(data)


@pytest.mark.parametrize(
    ("data", "offset_bytes", "expected"),
    [
        (b"", 0, False),
        (bytes(512), 0, True),
        (b"x" + bytes(511), 0, False),
        (b"x" * 512 + bytes(511) + b"x", 0, False),
        (b"x" * 512 + bytes(512) + b"x", 0, True),
        (bytes(16) + b"x" * 512, 496, True),
        (bytes(16) + b"x" * 512, 480, False),
        (b"x" * 16 + bytes(16), 496, True),
        (b"x" * 16 + bytes(16), 480, False),
    ],
)
def test_a_sector_that_was_never_written_is_seen(
    data: bytes, offset_bytes: int, expected: bool
) -> None:
    """Sectors are those of the file, and count where the data only overlaps them."""
    assert has_zero_sector(memoryview(data), offset_bytes=offset_bytes) is expected


@given(st.binary(max_size=3_000).map(lambda data: data.replace(b"\0", b"\1")), st.integers(0, 99))
def test_no_whole_frame_holds_an_empty_sector(payload: bytes, place: int) -> None:
    """Wherever a frame lies, its own fields keep the sectors it only touches from being zero."""
    data = encode_frame(header_of(payload), payload)
    assert not has_zero_sector(memoryview(data), offset_bytes=place * 16)
    assert data.endswith(frame.END_MARK)
    assert len(data) >= HEADER_BYTES + TRAILER_BYTES
