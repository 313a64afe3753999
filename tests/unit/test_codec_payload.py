"""Payloads: rows, refusals and domain events survive; malformed ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cbor2
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import DecodeError
from nostro.journal.format import codec
from nostro.journal.format.codec import BLOCK_ROWS, CREATED, RecordKind, encode_cbor
from nostro.journal.model import ACCOUNT, BATCH_EVENTS_MAX, TRANSFER, CreateTransferStatus
from tests.journals import transfers

REFUSED = int(CreateTransferStatus.EXCEEDS_CREDITS)


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


@pytest.mark.parametrize("count", [1, 2, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 1_300])
def test_rows_survive(count: int) -> None:
    """All rows come back as they were, in one piece or block by block."""
    payload = codec.decode_payload(rows_payload(count))
    assert (payload.kind, payload.event_count) == (RecordKind.TRANSFERS, count)
    assert payload.rows().tobytes() == transfers(1, count).tobytes()
    row_counts = [payload.block_rows(number) for number in range(len(payload.blocks))]
    assert (sum(row_counts), set(row_counts[:-1]) <= {BLOCK_ROWS}) == (count, True)
    opened = [
        codec.open_block(block, row_count).rows(range(row_count))
        for block, row_count in zip(payload.blocks, row_counts, strict=True)
    ]
    assert b"".join(opened) == transfers(1, count).tobytes()
    assert payload.statuses() is None


@pytest.mark.parametrize("count", [1, 2, 3, 22, 23, 24, 25])
@pytest.mark.parametrize("kind", [RecordKind.ACCOUNTS, RecordKind.TRANSFERS])
@pytest.mark.parametrize("fill", ["nothing", "noise", "one byte"])
def test_a_few_rows_are_the_same_canonical_cbor(count: int, kind: RecordKind, fill: str) -> None:
    """Put together by hand or by the library, a payload has the same bytes."""
    dtype = ACCOUNT if kind is RecordKind.ACCOUNTS else TRANSFER
    rows = np.zeros(count, dtype)
    if fill != "nothing":
        noise = np.random.default_rng(count).integers(0, 256, 128 * count, np.uint8)
        bytes_of_rows = rows.view(np.uint8)
        bytes_of_rows[:] = noise if fill == "noise" else 0
        bytes_of_rows[5] = 77
    data = codec.encode_rows(kind, rows, None)
    assert data == encode_cbor(codec.decode_cbor(data))
    assert codec.decode_payload(data).rows().tobytes() == rows.tobytes()
    payload, starts = codec.view_payload(memoryview(data))
    assert payload.rows().tobytes() == rows.tobytes()
    assert [
        data[at : at + len(block)] for at, block in zip(starts, payload.blocks, strict=True)
    ] == (payload.blocks)


@pytest.mark.parametrize("kept", [(), (0,), (127,), (0, 7, 8, 64, 127), range(0, 128, 2)])
def test_one_row_is_stored_without_its_zero_bytes(kept: Sequence[int]) -> None:
    """Behind a bit for each byte, most significant first, stand the bytes that are not zero."""
    row = np.zeros(128, np.uint8)
    row[list(kept)] = np.arange(1, len(kept) + 1)
    rows = row.view(TRANSFER)
    data = codec.encode_rows(RecordKind.TRANSFERS, rows, None)
    bits = bytearray(16)
    for place in kept:
        bits[place // 8] |= 0x80 >> place % 8
    assert body_of(data)["b"][0] == b"\x02" + bits + bytes(range(1, len(kept) + 1))
    assert codec.decode_payload(data).rows().tobytes() == rows.tobytes()


@pytest.mark.parametrize(
    ("block", "count"),
    [
        (b"\x02", 1),
        (b"\x02" + bytes(15), 1),
        (b"\x02" + bytes(16) + b"\x01", 1),
        (b"\x02\x80" + bytes(15), 1),
        (b"\x02\x80" + bytes(15) + b"\x00", 1),
        (b"\x02\xc0" + bytes(15) + b"\x01", 1),
        (b"\x02\x80" + bytes(15) + b"\x01\x01", 1),
        (b"\x02\x80" + bytes(15) + b"\x01", 2),
    ],
)
def test_a_sparse_row_that_does_not_add_up_is_refused(block: bytes, count: int) -> None:
    """Bits cut short, bytes too few or too many, a zero among them, two rows in one."""
    data = encode_cbor({"b": [block], "k": 2, "n": count, "v": 1})
    with pytest.raises(DecodeError):
        codec.decode_payload(data).rows()


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
    with pytest.raises(DecodeError):
        codec.view_payload(memoryview(data))[0].rows()


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
