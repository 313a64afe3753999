"""Payloads: what is written is read back; whatever else the bytes are, they are refused as such."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cbor2
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from journal import codec
from journal.codec import BLOCK_ROWS, CREATED, RecordKind, decode_cbor, encode_cbor
from journal.errors import DecodeError
from journal.model import ACCOUNT, BATCH_EVENTS_MAX, CreateTransferStatus
from tests.journals import transfers

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


def body_of(payload: bytes) -> dict[str, Any]:
    body = cbor2.loads(payload)
    assert isinstance(body, dict)
    return body


def rows_payload(count: int = 3, statuses: dict[int, int] | None = None) -> bytes:
    """A payload of transfers; ``statuses`` of some of them by index."""
    column = None
    if statuses is not None:
        column = np.full(count, CREATED, np.uint32)
        for index, status in statuses.items():
            column[index] = status
    return codec.encode_rows(RecordKind.TRANSFERS, transfers(1, count), column)


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


# --- payloads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 1_300])
def test_rows_survive(count: int) -> None:
    """All rows come back as they were, in one piece or block by block."""
    payload = codec.decode_payload(rows_payload(count))
    assert (payload.kind, payload.event_count) == (RecordKind.TRANSFERS, count)
    assert payload.rows().tobytes() == transfers(1, count).tobytes()
    blocks = [payload.block(number) for number in range(len(payload.blocks))]
    assert np.concatenate(blocks).tobytes() == transfers(1, count).tobytes()
    assert {len(block) for block in blocks[:-1]} <= {BLOCK_ROWS}
    assert payload.statuses() is None


def test_rows_that_do_not_compress_are_stored_as_they_are() -> None:
    """A block is never larger than its rows and one byte, and is read back either way."""
    noise = np.frombuffer(np.random.default_rng(1).bytes(128 * 4), ACCOUNT)
    data = codec.encode_rows(RecordKind.ACCOUNTS, noise, None)
    assert body_of(data)["b"][0] == b"\x00" + noise.tobytes()
    assert codec.decode_payload(data).rows().tobytes() == noise.tobytes()


def test_refusals_survive_and_cost_nothing_when_there_are_none() -> None:
    """Only refused rows are listed; a record without any does not carry the list at all."""
    payload = codec.decode_payload(rows_payload(600, {0: REFUSED, 599: REFUSED}))
    statuses = payload.statuses()
    assert statuses is not None
    assert np.flatnonzero(statuses != CREATED).tolist() == [0, 599]
    assert statuses[599] == REFUSED
    assert rows_payload(3, {}) == rows_payload(3)


def test_domain_events_survive() -> None:
    """Maps of their own come back in order, without rows."""
    events = [{"t": "a", "v": 1, "x": b"1"}, {"t": "b", "v": 2, "x": None}]
    payload = codec.decode_payload(codec.encode_domain_events(events))
    assert (payload.kind, payload.event_count) == (RecordKind.EVENTS, 2)
    assert payload.domain_events == events
    assert payload.blocks == []


MALFORMED_ROWS: dict[str, dict[str, Any]] = {
    "another version": {"v": 2},
    "a version that is no number": {"v": True},
    "no version": {"v": ...},
    "an unknown kind": {"k": 4},
    "a kind that is no number": {"k": True},
    "a kind that is a list": {"k": []},
    "another kind": {"k": 3},
    "no kind": {"k": ...},
    "no events": {"n": 0},
    "a negative count": {"n": -1},
    "a count that is no number": {"n": True},
    "too many events": {"n": BATCH_EVENTS_MAX + 1},
    "more events than rows": {"n": 4},
    "fewer events than rows": {"n": 2},
    "an unknown key": {"z": 0},
    "no blocks": {"b": ...},
    "blocks that are no list": {"b": b"x"},
    "a block that is no bytes": {"b": ["x"]},
    "too many blocks": {"b": [b"\x00", b"\x00"]},
    "an empty block": {"b": [b""]},
    "a block of unknown form": {"b": [b"\x02" + bytes(384)]},
    "a plain block too short": {"b": [b"\x00" + bytes(383)]},
    "a plain block too long": {"b": [b"\x00" + bytes(385)]},
    "a block that is no zstd": {"b": [b"\x01" + bytes(99)]},
    "a packed block too short": {"b": [transposed(bytes(383))]},
    "a packed block too long": {"b": [transposed(bytes(385))]},
    "a packed block without its size": {"b": [transposed(bytes(384), write_content_size=False)]},
    "a packed block and more": {"b": [transposed(bytes(384)) + b"\0"]},
    "refusals that are no bytes": {"s": [0]},
    "refusals that are none": {"s": b""},
    "refusals that are null": {"s": None},
    "half a refusal": {"s": bytes(7)},
    "a refusal past the end": {"s": np.array([3, REFUSED], "<u4").tobytes()},
    "a refusal far past the end": {"s": np.array([2**31, REFUSED], "<u4").tobytes()},
    "refusals out of order": {"s": np.array([1, REFUSED, 0, REFUSED], "<u4").tobytes()},
    "a row refused twice": {"s": np.array([1, REFUSED, 1, REFUSED], "<u4").tobytes()},
    "a refusal that is none": {"s": np.array([1, CREATED], "<u4").tobytes()},
    "a refusal of no known status": {"s": np.array([1, 9_999], "<u4").tobytes()},
    "refused accounts": {"k": 1, "s": np.array([1, REFUSED], "<u4").tobytes()},
}


@pytest.mark.parametrize("change", MALFORMED_ROWS.values(), ids=MALFORMED_ROWS)
def test_a_malformed_payload_of_rows_is_refused(change: dict[str, Any]) -> None:
    """Whatever is wrong with it, reading a payload ends in DecodeError and nothing else."""
    body = {**body_of(rows_payload(3)), **change}
    data = encode_cbor({key: value for key, value in body.items() if value is not ...})
    with pytest.raises(DecodeError):
        codec.decode_payload(data).rows()


@pytest.mark.parametrize(
    "change",
    [
        {"e": ...},
        {"e": []},
        {"e": {"t": "a", "v": 1}},
        {"e": [{"t": "a", "v": 1}] * 2},
        {"e": ["a"]},
        {"e": [{"v": 1}]},
        {"e": [{"t": "a"}]},
        {"e": [{"t": 1, "v": 1}]},
        {"e": [{"t": "a", "v": True}]},
        {"b": []},
        {"s": bytes(8)},
        {"n": 2},
    ],
)
def test_a_malformed_payload_of_domain_events_is_refused(change: dict[str, Any]) -> None:
    """Every event has a type and a version, and there are as many as announced."""
    body = {**body_of(codec.encode_domain_events([{"t": "a", "v": 1}])), **change}
    data = encode_cbor({key: value for key, value in body.items() if value is not ...})
    with pytest.raises(DecodeError):
        codec.decode_payload(data)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xa0", encode_cbor([1]), encode_cbor({"v": 1})])
def test_what_is_no_payload_at_all_is_refused(data: bytes) -> None:
    """CBOR that is something else is refused like bytes that are no CBOR."""
    with pytest.raises(DecodeError):
        codec.decode_payload(data)


@given(st.data())
def test_a_damaged_payload_is_refused_or_read_never_else(data: st.DataObject) -> None:
    """Bytes changed at random raise DecodeError or give rows; nothing else ever comes out."""
    payload = bytearray(rows_payload(5, {2: REFUSED}))
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=4)):
        payload[at] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode_payload(bytes(payload))
        assert len(decoded.rows()) == decoded.event_count
    except DecodeError:
        pass


@given(st.sampled_from([rows_payload(5, {2: REFUSED}), rows_payload(600)]), st.data())
def test_a_truncated_payload_is_refused(payload: bytes, data: st.DataObject) -> None:
    """No beginning of a payload is a payload."""
    size = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(DecodeError):
        codec.decode_payload(payload[:size])
