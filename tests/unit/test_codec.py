"""CBOR and zstd from disk: one encoding of each value, bounded, and nothing else accepted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cbor2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import DecodeError, InvalidField
from nostro.journal.format import codec
from nostro.journal.format.codec import (
    compress_parts,
    decode_cbor,
    decompress,
    encode_cbor,
    encode_cbor_parts,
)
from nostro.journal.model import CreateTransferStatus

KIB = 1024
MIB = 1024 * KIB
REFUSED = int(CreateTransferStatus.EXCEEDS_CREDITS)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9
)


@contextmanager
def memory_bound(bytes_max: int) -> Iterator[None]:
    """Fails when Python takes more memory than that inside."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bytes_max, f"{peak:,} bytes"


def transposed(content: bytes, **options: Any) -> bytes:  # noqa: ANN401  # zstd's own
    return b"\x01" + zstandard.ZstdCompressor(**options).compress(content)


# --- CBOR -----------------------------------------------------------------------------------------


@given(VALUES)
def test_a_plain_value_survives(value: object) -> None:
    """Whatever an event may hold is read back equal, to the type."""
    if _depth(value) < codec.DEPTH_MAX:
        decoded = decode_cbor(encode_cbor(value))
        assert repr(decoded) == repr(cbor2.loads(encode_cbor(value)))
        assert decoded == value


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("1801", id="an integer longer than need be"),
        pytest.param("5800", id="a length longer than need be"),
        pytest.param("a2616201616101", id="keys out of order"),
        pytest.param("a2616101616102", id="a key twice"),
        pytest.param("9f01ff", id="an indefinite list"),
        pytest.param("5f4101ff", id="indefinite bytes"),
        pytest.param("7f6161ff", id="indefinite text"),
        pytest.param("bf616101ff", id="an indefinite map"),
        pytest.param("0101", id="bytes after it"),
        pytest.param("", id="nothing"),
        pytest.param("8201", id="a list cut short"),
        pytest.param("f93c00", id="a float"),
        pytest.param("fb3ff0000000000000", id="a long float"),
        pytest.param("f97e00", id="not a number"),
        pytest.param("f7", id="undefined"),
        pytest.param("e5", id="a simple value"),
        pytest.param("c11a514b67b0", id="a tag: a time"),
        pytest.param("c249010000000000000000", id="a tag: a big integer"),
        pytest.param("d81c8101", id="a tag: a shared value"),
        pytest.param("d90102" + "8101", id="a tag: a set"),
        pytest.param("61ff", id="text that is no UTF-8"),
        pytest.param("1c", id="a reserved length"),
        pytest.param("ff", id="a break without a beginning"),
        pytest.param("a1810101", id="a list as a key"),
        pytest.param("a1a0" + "01", id="a map as a key"),
        pytest.param("81" * 9 + "01", id="nested too deeply"),
    ],
)
def test_cbor_that_no_writer_produces_is_refused(data: str) -> None:
    """There is one encoding of each value; every other one is no CBOR of ours."""
    with pytest.raises(DecodeError):
        decode_cbor(bytes.fromhex(data))


@given(st.binary(max_size=64))
def test_random_bytes_are_decoded_to_what_encodes_to_them_or_refused(data: bytes) -> None:
    """No input is read as something that would be written differently, and none raises else."""
    try:
        value = decode_cbor(data)
    except DecodeError:
        return
    assert encode_cbor(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\x5b" + (2**40).to_bytes(8, "big"),
        b"\x7b" + (2**62).to_bytes(8, "big"),
        b"\x9b" + (2**40).to_bytes(8, "big"),
        b"\xbb" + (2**40).to_bytes(8, "big"),
        b"\x9a\x7f\xff\xff\xff" + b"\x00" * KIB,
        b"\x81" * MIB,
        b"\xa1\x00" * MIB,
    ],
)
def test_a_cbor_bomb_is_refused_before_memory_is_used(data: bytes) -> None:
    """A length that is only declared, or endless nesting, costs nothing."""
    with memory_bound(len(data) + MIB), pytest.raises(DecodeError):
        decode_cbor(data)


# --- zstd -----------------------------------------------------------------------------------------


@given(st.binary(min_size=1))
def test_what_is_compressed_is_decompressed(content: bytes) -> None:
    """The content comes back, and exactly as much as it has is room enough."""
    assert codec.decompress(codec.compress(content), size_bytes_max=len(content)) == content


@pytest.mark.parametrize("size", [64 * KIB + 1, MIB, 1024 * MIB])
def test_a_zstd_bomb_is_refused_before_memory_is_used(size: int) -> None:
    """A frame that declares more than it may hold is not even begun."""
    compressor = zstandard.ZstdCompressor().compressobj(size=size)
    chunk = bytes(min(size, 16 * MIB))
    parts = [compressor.compress(chunk) for _ in range(size // len(chunk))]
    bomb = b"".join([*parts, compressor.compress(bytes(size % len(chunk))), compressor.flush()])
    with memory_bound(MIB), pytest.raises(DecodeError, match="more than it may hold"):
        codec.decompress(bomb, size_bytes_max=64 * KIB)


def test_a_frame_that_understates_its_size_is_refused() -> None:
    """The declared size bounds the output, whatever the frame goes on to produce."""
    small, large = codec.compress(bytes(100)), codec.compress(bytes(200))
    forged = bytearray(large)
    where = next(at for at in range(4, 8) if small[at] == 100 and large[at] == 200)
    forged[where] = 100
    with memory_bound(MIB), pytest.raises(DecodeError):
        codec.decompress(bytes(forged), size_bytes_max=64 * KIB)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(transposed(b"x", write_content_size=False)[1:], id="no declared size"),
        pytest.param(codec.compress(b"x" * 99) + b"\0", id="bytes after it"),
        pytest.param(codec.compress(b""), id="an empty frame"),
        pytest.param(codec.compress(b"") + b"junk", id="bytes after an empty frame"),
        pytest.param(codec.compress(b"x") * 2, id="two frames"),
        pytest.param(codec.compress(b"x" * 99)[:-1], id="cut short"),
        pytest.param(b"\x50\x2a\x4d\x18\x04\0\0\0abcd", id="a skippable frame"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"plain bytes", id="not zstd"),
    ],
)
def test_what_is_not_one_whole_zstd_frame_is_refused(data: bytes) -> None:
    """Exactly one frame, which declares its size, and nothing around it."""
    with pytest.raises(DecodeError):
        codec.decompress(data, size_bytes_max=KIB)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536, 70_000])
def test_parts_are_the_whole(size: int) -> None:
    """Joined they are the canonical CBOR, and so is what their frame holds; nothing is copied."""
    long = bytes(size)
    value = {"b": long, "a": {"zz": long, "y": 1, "": [b"", None]}, "long key": -size, "c": {}}
    parts = encode_cbor_parts(value)
    assert b"".join(parts) == encode_cbor(value)
    assert any(part is long for part in parts)
    frame = compress_parts(parts)
    assert decompress(frame, size_bytes_max=10**6) == encode_cbor(value)
    many = {str(number): number for number in range(300)}
    assert b"".join(encode_cbor_parts(many)) == encode_cbor(many)
    with pytest.raises(InvalidField):
        encode_cbor_parts({"a": object()})


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x42ab", b"\x19\x7f\xff"])
def test_many_small_items_are_refused_before_memory_is_used(item: bytes) -> None:
    """A byte of CBOR may take 80 in memory, so items are counted where there may be many."""
    count = 2 * codec.ITEMS_MAX
    data = b"\x9a" + count.to_bytes(4, "big") + item * count
    with memory_bound(MIB), pytest.raises(DecodeError, match="items"):
        codec.decode_payload(data)
    few = encode_cbor([bytes(codec.ITEMS_MAX), "x" * codec.ITEMS_MAX, [1, {2: 3}]])
    assert encode_cbor(decode_cbor(few, items_max=8)) == few
    with pytest.raises(DecodeError, match="items"):
        decode_cbor(few, items_max=7)


def test_what_is_tagged_is_not_even_made() -> None:
    """A fraction of two long numbers would take hours to be reduced."""
    number = b"\xc2\x5a" + (MIB).to_bytes(4, "big") + b"\xff" * MIB
    with pytest.raises(DecodeError, match="not CBOR"):
        decode_cbor(b"\xd8\x1e\x82" + number + number)


@pytest.mark.parametrize("data", ["a4616282", "a46162811a", "a4616281", "a461629a", "a46162824100"])
def test_blocks_that_are_cut_short_are_refused(data: str) -> None:
    """Where a head should be there is nothing, or only a part of one."""
    with pytest.raises(DecodeError):
        codec.view_payload(memoryview(bytes.fromhex(data)))
