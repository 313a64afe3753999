"""HEAD: two slots, of which one is always whole."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import CorruptHead, UnsupportedFormat
from nostro.journal.format.head import (
    HEAD_BYTES,
    SLOT_BYTES,
    Head,
    decode_slots,
    encode_slot,
    newest,
)

PATH = Path("HEAD")
U64 = st.integers(0, 2**64 - 1)
HEAD = Head(
    ledger_id=bytes(range(16)),
    sequence=6,
    position=41,
    timestamp=1_000,
    segment_position=40,
    offset_bytes=768,
    frame_sha256=b"f" * 32,
    closed=False,
)
LATER = HEAD._replace(sequence=7, position=42, offset_bytes=1024, frame_sha256=b"g" * 32)


def file_of(*heads: Head) -> bytes:
    """HEAD after these were written one after the other."""
    data = bytearray(HEAD_BYTES)
    for head in heads:
        at = head.slot_offset_bytes
        data[at : at + SLOT_BYTES] = encode_slot(head)
    return bytes(data)


@given(
    st.builds(
        Head,
        ledger_id=st.binary(min_size=16, max_size=16),
        sequence=U64,
        position=U64,
        timestamp=U64,
        segment_position=U64,
        offset_bytes=U64,
        frame_sha256=st.binary(min_size=32, max_size=32),
        closed=st.booleans(),
    )
)
def test_what_is_encoded_is_decoded(head: Head) -> None:
    """A slot is one sector, from which the head comes back as it was."""
    assert len(encode_slot(head)) == SLOT_BYTES == 512
    assert newest(file_of(head), path=PATH) == head


def test_the_layout_is_the_one_documented() -> None:
    """Every field lies at the offset that the module's drawing gives it."""
    slot = encode_slot(HEAD._replace(closed=True))
    fields = {
        0: b"NOSTROHD" + zlib.crc32(slot[12:]).to_bytes(4, "little"),
        12: (1).to_bytes(4, "little"),
        16: bytes(range(16)),
        32: (6).to_bytes(8, "little"),
        40: (41).to_bytes(8, "little"),
        48: (1_000).to_bytes(8, "little"),
        56: (40).to_bytes(8, "little"),
        64: (768).to_bytes(8, "little"),
        72: b"f" * 32,
        104: (1).to_bytes(4, "little"),
        108: bytes(404),
    }
    for offset, expected in fields.items():
        assert slot[offset : offset + len(expected)] == expected, offset


def test_writings_alternate_and_the_newer_counts() -> None:
    """Each writing leaves the one before it untouched, and is the one that is read."""
    assert HEAD.slot_offset_bytes == 0
    assert LATER.slot_offset_bytes == SLOT_BYTES
    assert decode_slots(file_of(HEAD, LATER), path=PATH) == (HEAD, LATER)
    assert newest(file_of(HEAD, LATER), path=PATH) == LATER
    third = LATER._replace(sequence=8)
    assert newest(file_of(HEAD, LATER, third), path=PATH) == third


def test_every_flipped_bit_leaves_the_other_slot() -> None:
    """A damaged slot counts for nothing: the other one speaks, never a mixture."""
    data = file_of(HEAD, LATER)
    for bit in range(SLOT_BYTES * 8, HEAD_BYTES * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert newest(bytes(flipped), path=PATH) == HEAD


@pytest.mark.parametrize("version", [2, 3, 2**31])
def test_a_newer_format_is_refused(version: int) -> None:
    """A slot of a later version is never passed over for an older one."""
    slot = bytearray(encode_slot(LATER))
    slot[12:16] = version.to_bytes(4, "little")
    slot[8:12] = zlib.crc32(slot[12:]).to_bytes(4, "little")
    with pytest.raises(UnsupportedFormat) as caught:
        newest(encode_slot(HEAD) + slot, path=PATH)
    assert (caught.value.path, caught.value.version) == (PATH, version)


@pytest.mark.parametrize("data", [b"", bytes(HEAD_BYTES), b"x" * HEAD_BYTES, bytes(100)])
def test_without_a_whole_slot_head_is_damaged(data: bytes) -> None:
    """Nothing is guessed when neither slot is readable."""
    with pytest.raises(CorruptHead, match="neither"):
        newest(data, path=PATH)


def test_a_slot_in_the_other_ones_place_does_not_count() -> None:
    """A slot lies where its sequence number says; a copy elsewhere is damage."""
    data = encode_slot(HEAD) + encode_slot(HEAD)
    assert decode_slots(data, path=PATH) == (HEAD, None)


def test_a_mark_other_than_open_or_closed_is_damage() -> None:
    """A slot with a sound CRC but an impossible value is not whole."""
    slot = bytearray(encode_slot(HEAD))
    slot[104] = 2
    slot[8:12] = zlib.crc32(slot[12:]).to_bytes(4, "little")
    assert decode_slots(bytes(slot) + encode_slot(LATER), path=PATH) == (None, LATER)


@pytest.mark.parametrize("at", [108, 300, 511])
def test_what_is_to_be_zero_is_zero(at: int) -> None:
    """There is one way to write a slot: one with more in it, and a CRC that fits, is not whole."""
    slot = bytearray(encode_slot(HEAD))
    slot[at] = 1
    slot[8:12] = zlib.crc32(slot[12:]).to_bytes(4, "little")
    assert decode_slots(bytes(slot) + encode_slot(LATER), path=PATH) == (None, LATER)
