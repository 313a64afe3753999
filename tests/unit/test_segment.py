"""Segment headers and names: the order of the log, and what ties a file to its neighbours."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import CorruptSegment, UnsupportedFormat
from nostro.journal.format.segment import (
    FORMAT_VERSION,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    decode_segment_header,
    encode_segment_header,
    segment_name,
)

HEADER = SegmentHeader(
    ledger_id=bytes(range(16)),
    number=3,
    position_first=1_000,
    previous_frame_sha256=b"f" * 32,
    previous_file_sha256=b"s" * 32,
    previous_file_bytes=4_096,
    created_at_ns=1_700_000_000_000_000_000,
)
PATH = Path(segment_name(1_000))
U64 = st.integers(0, 2**64 - 1)


def with_version(version: int) -> bytes:
    sector = encode_segment_header(HEADER)
    rest = version.to_bytes(4, "little") + sector[16:]
    return sector[:8] + zlib.crc32(rest).to_bytes(4, "little") + rest


@given(st.lists(U64))
def test_names_sort_in_the_order_of_the_log(positions: list[int]) -> None:
    """The order of file names is the order of first positions, whatever their size."""
    by_name = sorted(positions, key=segment_name)
    assert by_name == sorted(positions)


@given(
    st.builds(
        SegmentHeader,
        ledger_id=st.binary(min_size=16, max_size=16),
        number=U64,
        position_first=U64,
        previous_frame_sha256=st.binary(min_size=32, max_size=32),
        previous_file_sha256=st.binary(min_size=32, max_size=32),
        previous_file_bytes=U64,
        created_at_ns=U64,
    )
)
def test_what_is_encoded_is_decoded(header: SegmentHeader) -> None:
    """A header fills exactly one sector, from which it comes back as it was."""
    sector = encode_segment_header(header)
    path = Path(segment_name(header.position_first))
    assert len(sector) == SEGMENT_HEADER_BYTES == 512
    assert decode_segment_header(sector, path=path) == header
    assert decode_segment_header(sector + b"frames", path=path) == header


def test_the_layout_is_the_one_documented() -> None:
    """Every field lies at the offset that the module's drawing gives it."""
    sector = encode_segment_header(HEADER)
    fields = {
        0: b"NOSTROSG" + zlib.crc32(sector[12:]).to_bytes(4, "little"),
        12: (2).to_bytes(4, "little"),
        16: bytes(range(16)),
        32: (3).to_bytes(8, "little"),
        40: (1_000).to_bytes(8, "little"),
        48: b"f" * 32,
        80: b"s" * 32,
        112: (4_096).to_bytes(8, "little"),
        120: HEADER.created_at_ns.to_bytes(8, "little"),
        128: bytes(384),
    }
    for offset, expected in fields.items():
        assert sector[offset : offset + len(expected)] == expected, offset


def test_every_flipped_bit_is_refused() -> None:
    """No bit of the sector can change unseen, the unused ones included."""
    sector = encode_segment_header(HEADER)
    for bit in range(len(sector) * 8):
        flipped = bytearray(sector)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptSegment):
            decode_segment_header(bytes(flipped), path=PATH)


@pytest.mark.parametrize("size", [0, 1, 100, 511])
def test_a_short_file_is_refused(size: int) -> None:
    """A file that ends inside its header is damage, and the message says so."""
    with pytest.raises(CorruptSegment, match="shorter than a segment header"):
        decode_segment_header(encode_segment_header(HEADER)[:size], path=PATH)


def test_a_newer_format_is_told_from_damage() -> None:
    """A later version is refused by its number, and asks for a newer program."""
    with pytest.raises(UnsupportedFormat, match="use a newer nostro") as caught:
        decode_segment_header(with_version(FORMAT_VERSION + 1), path=PATH)
    assert (caught.value.path, caught.value.version) == (PATH, FORMAT_VERSION + 1)


def test_a_version_that_never_was_is_damage() -> None:
    """Version 0 was never written, so it is not offered as an older format."""
    with pytest.raises(CorruptSegment):
        decode_segment_header(with_version(0), path=PATH)


def test_a_renamed_segment_is_refused() -> None:
    """A segment under another's name is refused by the name it should have."""
    with pytest.raises(CorruptSegment, match=segment_name(1_000)):
        decode_segment_header(encode_segment_header(HEADER), path=Path(segment_name(2_000)))


@pytest.mark.parametrize("at", [128, 300, 511])
def test_what_is_to_be_zero_is_zero(at: int) -> None:
    """There is one way to write a header: one with more in it, and a CRC that fits, is damage."""
    sector = bytearray(encode_segment_header(HEADER))
    sector[at] = 1
    sector[8:12] = zlib.crc32(sector[12:]).to_bytes(4, "little")
    with pytest.raises(CorruptSegment, match="not zero"):
        decode_segment_header(bytes(sector), path=PATH)
