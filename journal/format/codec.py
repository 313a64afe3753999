"""Payloads: canonical CBOR, and rows transposed and compressed. Pure functions, no I/O.

A payload is a CBOR map with these keys, in this order::

    "b"  rows: list of blocks of 512 rows (the last may be shorter), each a byte string
    "c"  what each command did: its numbers of accounts, transfers and domain events, one after
         another in one list
    "e"  domain events: list of maps, each with "t" (type), "v" (version) and its own fields
    "k"  kind: 1 accounts, 2 transfers, 3 domain events, 4 commands
    "n"  number of events
    "s"  refusals: byte string of (u32 index, u32 status) pairs, by index; left out when none
    "v"  version of this layout: 1

Kinds 1 and 2 carry "b", kind 3 carries "e". Kind 4 carries "c", and "b" and "e" if it has rows and
domain events. Its blocks hold all accounts first, and then, beginning with a new block, all
transfers. Positions go command by command: the first one's accounts, transfers and domain events,
then the second one's, and so on. A block starts with one byte: 0, then the rows as they
are; or 1, then one zstd frame of the rows transposed byte by byte (all first bytes, all second
bytes, …), which the compressor finds far more regular; or 2, then one row without its zero bytes,
behind 128 bits that say where it has others. A block is opened on its own, so a look-up of one row
opens 512 rows and not the whole batch.

Reading trusts nothing: CBOR is bounded in depth and in the number of its items, without tags,
floats, indefinite lengths or duplicate keys, and its canonical re-encoding must equal the input; a
zstd frame must declare the exact size of its rows before any byte of it is decompressed.
"""

from __future__ import annotations

import enum
import struct
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

import attrs
import cbor2
import numpy as np
import numpy.typing as npt
import zstandard

from nostro.journal.errors import DecodeError, InvalidField
from nostro.journal.model import (
    ACCOUNT,
    BATCH_EVENTS_MAX,
    ROW_BYTES,
    TRANSFER,
    CreateTransferStatus,
    Rows,
)

PAYLOAD_VERSION: Final = 1
BLOCK_ROWS: Final = 512
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 10 * BATCH_EVENTS_MAX
"""Of a payload's CBOR: an expiry has nine. An item may be one byte, and take 80 in memory."""
ZSTD_LEVEL: Final = -1
CREATED: Final = 0xFFFFFFFF

_STATUSES: Final = frozenset(map(int, CreateTransferStatus)) - {CREATED}
_PLAIN: Final = b"\x00"
_TRANSPOSED: Final = b"\x01"
_SPARSE: Final = b"\x02"
_DIGITS: Final = b"0" + b"1" * 255
"""Translates each byte to the binary digit that says whether it is zero."""
_BITS_BYTES: Final = ROW_BYTES // 8
_SCALARS: Final = (int, bytes, str, bool, type(None))
_CBOR_BYTES: Final = 0x40
_CBOR_BYTES_LONG: Final = 0x59
"""Begins a byte string whose length takes two bytes."""
_CBOR_ARRAY: Final = 0x80
_CBOR_MAP: Final = 0xA0
_CBOR_STRINGS: Final = (2, 3)
"""The major types of what has bytes behind its head."""
_TAGS: Final = (
    *range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
"""What cbor2 would make dates, regular expressions, fractions and more of."""
_BYTES_1: Final = struct.Struct(">BB")
_BYTES_2: Final = struct.Struct(">BH")
_SMALL: Final = [bytes([number]) for number in range(24)]
_VERSION_LAST: Final = b"av" + bytes([PAYLOAD_VERSION])
_FEW_MAX: Final = 24
"""Smaller numbers are one byte of CBOR."""
_COLUMNS_PAY: Final = 16
"""Picking by columns is faster if at least one in this many rows of a block is picked."""
_BUFFER_BLOCKS: Final = 16
"""The number of blocks that are transposed at once."""


class _PerThread(threading.local):
    """What each thread has for itself: none of it may be shared while it works."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()
        self.transposed = np.zeros((_BUFFER_BLOCKS, ROW_BYTES, BLOCK_ROWS), np.uint8)
        """Where rows are transposed: zero except for ``bytes_used``."""
        self.bytes_used: set[int] = set()


_local: Final = _PerThread()


class RecordKind(enum.IntEnum):
    ACCOUNTS = 1
    TRANSFERS = 2
    EVENTS = 3
    COMMANDS = 4


_DTYPES: Final = {RecordKind.ACCOUNTS: ACCOUNT, RecordKind.TRANSFERS: TRANSFER}


@attrs.frozen(eq=False)
class Payload:
    """A decoded payload; :meth:`rows` decompresses its rows."""

    kind: RecordKind
    event_count: int
    blocks: Sequence[bytes | memoryview]
    refusals: Rows
    domain_events: list[dict[str, Any]]
    counts: Sequence[int] = ()
    """Of commands: accounts, transfers and domain events of each; see ``parts.py``."""

    def rows(self) -> Rows:
        """All rows, ``ACCOUNT[event_count]`` or ``TRANSFER[event_count]``."""
        dtype = _DTYPES[self.kind]
        whole = self.event_count // BLOCK_ROWS
        parts: list[Rows] = []
        if whole > 1 and all(block[:1] == _TRANSPOSED for block in self.blocks[:whole]):
            parts.append(_decode_whole_blocks(self.blocks[:whole]).view(dtype))
        rest = range(whole if parts else 0, len(self.blocks))
        parts += [
            _decode_block(self.blocks[number], self.block_rows(number), dtype) for number in rest
        ]
        if len(parts) == 1:
            return parts[0]
        # As bytes: numpy would join rows of fields field by field.
        return np.concatenate([part.view(np.uint8) for part in parts]).view(dtype)

    def statuses(self) -> npt.NDArray[np.uint32] | None:
        """``u32[event_count]``, CREATED where the event took effect; None when all did."""
        if not len(self.refusals):
            return None
        statuses = np.full(self.event_count, CREATED, np.uint32)
        statuses[self.refusals["index"]] = self.refusals["status"]
        return statuses

    def block_rows(self, number: int) -> int:
        """How many rows a block holds."""
        return min(BLOCK_ROWS, self.event_count - number * BLOCK_ROWS)


def block_count(row_count: int) -> int:
    """The number of blocks that ``row_count`` rows fill, the last perhaps in part."""
    return -(-row_count // BLOCK_ROWS)


class OpenBlock(NamedTuple):
    """A block, decompressed, to take single rows from."""

    content: bytes
    row_count: int
    is_transposed: bool

    def rows(self, numbers: Sequence[int]) -> bytes:
        """Those rows, counted from the block's first, 128 bytes each."""
        content, count = self.content, self.row_count
        if not self.is_transposed:
            return b"".join([content[at * ROW_BYTES : (at + 1) * ROW_BYTES] for at in numbers])
        if len(numbers) == 1:
            return content[numbers[0] :: count]
        if len(numbers) * _COLUMNS_PAY < count:
            return b"".join([content[at::count] for at in numbers])
        columns = np.frombuffer(content, np.uint8).reshape(ROW_BYTES, count)
        return columns.T[list(numbers)].tobytes()


def open_block(block: bytes | memoryview, row_count: int) -> OpenBlock:
    """A block, decompressed.

    Raises:
        DecodeError: it does not hold ``row_count`` rows.
    """
    if block[:1] == _TRANSPOSED:
        return OpenBlock(_decompress_block(block, row_count), row_count, is_transposed=True)
    rows = _decode_block(block, row_count, TRANSFER)
    return OpenBlock(rows.tobytes(), row_count, is_transposed=False)


REFUSAL: Final = np.dtype([("index", "<u4"), ("status", "<u4")])


def encode_rows(kind: RecordKind, rows: Rows, statuses: npt.NDArray[np.uint32] | None) -> bytes:
    """The payload of ``rows``; ``statuses`` as :meth:`Payload.statuses` gives them back."""
    if statuses is None and len(rows) < _FEW_MAX:
        return _encode_few(kind, rows)
    payload: dict[str, object] = {
        "b": _encode_blocks(rows),
        "k": int(kind),
        "n": len(rows),
    }
    if statuses is not None and (refused := np.flatnonzero(statuses != CREATED)).size:
        pairs = np.empty(refused.size, REFUSAL)
        pairs["index"] = refused
        pairs["status"] = statuses[refused]
        payload["s"] = pairs.tobytes()
    payload["v"] = PAYLOAD_VERSION
    return cbor2.dumps(payload)  # the keys are in canonical order already


def _encode_few(kind: RecordKind, rows: Rows) -> bytes:
    """The same CBOR, put together by hand in a fifth of the time: one block, and small numbers."""
    block = _encode_block(rows)
    size = len(block)
    head = _BYTES_1.pack(0x58, size) if size < 256 else _BYTES_2.pack(0x59, size)
    if size < 24:
        head = bytes([0x40 + size])
    return b"".join(
        (b"\xa4ab\x81", head, block, b"ak", _SMALL[kind], b"an", _SMALL[len(rows)], _VERSION_LAST)
    )


def encode_commands(
    accounts: Rows, transfers: Rows, events: list[dict[str, Any]], counts: Sequence[int]
) -> bytes:
    """The payload of commands, all of whose events took effect.

    Args:
        counts: how many of each belong to the first command, then to the second, and so on.
    """
    payload: dict[str, object] = {}
    if len(accounts) or len(transfers):
        payload["b"] = _encode_blocks(accounts) + _encode_blocks(transfers)
    payload["c"] = list(counts)
    if events:
        payload["e"] = events
    return encode_cbor(
        {**payload, "k": int(RecordKind.COMMANDS), "n": sum(counts), "v": PAYLOAD_VERSION}
    )


def encode_domain_events(events: list[dict[str, Any]]) -> bytes:
    return encode_cbor(
        {"e": events, "k": int(RecordKind.EVENTS), "n": len(events), "v": PAYLOAD_VERSION}
    )


def decode_payload(data: bytes | memoryview) -> Payload:
    """The payload in ``data``.

    Raises:
        DecodeError: these bytes are not a payload of a version this program knows.
    """
    return _payload(decode_cbor(data, items_max=ITEMS_MAX))


def _payload(body: Any) -> Payload:
    if not isinstance(body, dict) or body.get("v") != PAYLOAD_VERSION:
        raise DecodeError(f"not a payload of version {PAYLOAD_VERSION}")
    version, kind, count = body.get("v"), body.get("k"), body.get("n")
    if type(version) is not int or type(kind) is not int:
        raise DecodeError("the version or the kind of a payload is not a number")
    if type(count) is not int or not 1 <= count <= BATCH_EVENTS_MAX:
        raise DecodeError("a payload holds an impossible number of events")
    if kind == RecordKind.EVENTS:
        if set(body) != {"e", "k", "n", "v"}:
            raise DecodeError("a payload of domain events has unknown or missing keys")
        return _domain_payload(body["e"], count)
    if kind == RecordKind.COMMANDS:
        return _command_payload(body, count)
    optional = {"s"} if kind == RecordKind.TRANSFERS else set()
    if kind not in _DTYPES or set(body) - optional != {"b", "k", "n", "v"}:
        raise DecodeError("a payload has an unknown kind, or unknown or missing keys")
    if "s" in body and not body["s"]:
        raise DecodeError("a payload has an empty list of refusals")
    return _row_payload(RecordKind(kind), count, body["b"], body.get("s"))


def view_payload(data: memoryview) -> tuple[Payload, list[int]]:
    """The payload in ``data``, its blocks views of it, and where each begins; for look-ups.

    Reads the payloads of this program as :func:`decode_payload` does, in a tenth of the time. It
    does not check that the CBOR is canonical, so ``data`` must have passed its CRC.

    Raises:
        DecodeError: these bytes are not a payload of a version this program knows.
    """
    if len(data) < 4 or data[0] & 0xF0 != _CBOR_MAP or bytes(data[1:3]) != b"ab":
        payload = decode_payload(data)
        if payload.blocks:
            raise DecodeError("the rows of a payload do not come first")
        return payload, []
    major, count, at = _cbor_head(data, 3)
    if major != _CBOR_ARRAY or count > BATCH_EVENTS_MAX:
        raise DecodeError("the rows of a payload are not blocks of bytes")
    blocks: list[memoryview] = []
    starts: list[int] = []
    for _ in range(count):
        if at + 3 <= len(data) and data[at] == _CBOR_BYTES_LONG:  # as most are
            major, size, start = _CBOR_BYTES, data[at + 1] << 8 | data[at + 2], at + 3
        else:
            major, size, start = _cbor_head(data, at)
        at = start + size
        if major != _CBOR_BYTES or at > len(data):
            raise DecodeError("the rows of a payload are not blocks of bytes")
        blocks.append(data[start:at])
        starts.append(start)
    rest = decode_cbor(bytes([data[0] - 1]) + data[at:], items_max=ITEMS_MAX)
    if not isinstance(rest, dict) or "b" in rest:
        raise DecodeError("a payload has its rows twice")
    return _payload({**rest, "b": blocks}), starts


def _cbor_head(data: memoryview, at: int) -> tuple[int, int, int]:
    """The major type of the item at ``at``, its length, and where its content begins."""
    if at >= len(data):
        raise DecodeError("CBOR that is cut short")
    head = data[at]
    width = {24: 1, 25: 2, 26: 4}.get(head & 0x1F, 0)
    if at + width >= len(data):
        raise DecodeError("CBOR that is cut short")
    if not width and head & 0x1F > 23:
        raise DecodeError("CBOR with a length that no payload has")
    length = int.from_bytes(data[at + 1 : at + 1 + width]) if width else head & 0x1F
    return head & 0xE0, length, at + 1 + width


def encode_cbor(value: object) -> bytes:
    """The canonical CBOR of ``value``.

    Raises:
        InvalidField: it holds something that CBOR does not carry.
    """
    try:
        return cbor2.dumps(value, canonical=True)
    except cbor2.CBOREncodeError as error:
        raise InvalidField("value", type(value).__name__, f"is not CBOR: {error}") from None


def encode_cbor_parts(value: object) -> list[bytes]:
    """What :func:`encode_cbor` gives, in parts: long byte strings are not copied.

    Raises:
        InvalidField: it holds something that CBOR does not carry.
    """
    if isinstance(value, dict):
        parts = [_long_head(_CBOR_MAP, len(value))]
        encoded = ((encode_cbor(key), item) for key, item in value.items())
        for key, item in sorted(encoded, key=lambda pair: (len(pair[0]), pair[0])):
            parts += [key, *encode_cbor_parts(item)]
        return parts
    if isinstance(value, bytes):
        return [_long_head(_CBOR_BYTES, len(value)), value]
    return [encode_cbor(value)]


def decode_cbor(data: bytes | memoryview, *, items_max: int | None = None) -> Any:
    """The value of canonical CBOR: ints, byte and text strings, booleans, null, lists, maps.

    Args:
        items_max: refuse more items than this before using memory for them; each list, map, key
            and value is one item.

    Raises:
        DecodeError: anything else, including a value nested deeper than 8.
    """
    if items_max is not None and len(data) > items_max:  # an item has at least one byte
        _check_few(memoryview(data), items_max)
    try:
        value = cbor2.loads(
            data,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_NO_TAGS,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DecodeError(f"not CBOR: {error}") from None
    _check_plain(value)
    if cbor2.dumps(value, canonical=True) != data:
        raise DecodeError("CBOR that is not in canonical form, or bytes after it")
    return value


def compress(data: bytes) -> bytes:
    """One zstd frame that declares its size."""
    return _local.compressor.compress(data)


def compress_parts(parts: Sequence[bytes]) -> bytes:
    """One zstd frame of all parts, one after another, that declares its size."""
    frame = _local.compressor.compressobj(size=sum(map(len, parts)))
    return b"".join([*(frame.compress(part) for part in parts), frame.flush()])


def decompress(data: bytes | memoryview, *, size_bytes_max: int) -> bytes:
    """The content of exactly one zstd frame.

    Raises:
        DecodeError: its declared size or window exceeds ``size_bytes_max``, it declares none or
            zero, it is damaged, or bytes follow it.
    """
    try:
        declared = zstandard.get_frame_parameters(data)
        if not declared.content_size:  # the decoder does not see what follows an empty frame
            raise DecodeError("a zstd frame is empty")
        if declared.content_size > size_bytes_max or declared.window_size > max(
            size_bytes_max, 1024
        ):
            raise DecodeError("a zstd frame declares more than it may hold")
        content = _local.decompressor.decompress(
            data, max_output_size=declared.content_size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise DecodeError(f"not a zstd frame: {error}") from None
    except MemoryError:
        raise DecodeError("a zstd frame declares more than there is memory for") from None
    if len(content) != declared.content_size:
        raise DecodeError("a zstd frame is shorter than it declares")
    return content


def _encode_blocks(rows: Rows) -> list[bytes]:
    whole = len(rows) // BLOCK_ROWS
    blocks: list[bytes] = []
    for first in range(0, whole, _BUFFER_BLOCKS):
        count = min(_BUFFER_BLOCKS, whole - first)
        some = rows[first * BLOCK_ROWS : (first + count) * BLOCK_ROWS]
        blocks += _encode_whole_blocks(np.ascontiguousarray(some).view(np.uint8), count)
    starts = range(whole * BLOCK_ROWS, len(rows), BLOCK_ROWS)
    return blocks + [_encode_block(rows[start : start + BLOCK_ROWS]) for start in starts]


def _encode_whole_blocks(data: npt.NDArray[np.uint8], count: int) -> list[bytes]:
    """The blocks of ``u8[count * 512 * 128]``."""
    plain = data.reshape(count, BLOCK_ROWS, ROW_BYTES)
    transposed, used = _local.transposed, _used_bytes(data)
    for byte in _local.bytes_used - used:
        transposed[:, byte] = 0
    _local.bytes_used = used
    for byte in used:  # most bytes of most rows are zero
        transposed[:count, byte] = plain[:, :, byte]
    compress = _local.compressor.compress
    packed = [_TRANSPOSED + compress(transposed[number].data) for number in range(count)]
    return [
        block if len(block) <= BLOCK_ROWS * ROW_BYTES else _PLAIN + rows.tobytes()
        for block, rows in zip(packed, plain, strict=True)
    ]


def _used_bytes(data: npt.NDArray[np.uint8]) -> set[int]:
    """Which bytes of a row (0 to 127) are not zero in some of many rows, a multiple of 64."""
    many = np.bitwise_or.reduce(data.view(np.uint64).reshape(-1, 64 * ROW_BYTES // 8), axis=0)
    every = np.bitwise_or.reduce(many.reshape(64, -1), axis=0)
    return set(np.flatnonzero(every.view(np.uint8)).tolist())


def _encode_block(rows: Rows) -> bytes:
    plain = rows.tobytes()
    if len(rows) == 1:
        bits = int(plain.translate(_DIGITS), 2).to_bytes(_BITS_BYTES)
        packed = _SPARSE + bits + plain.translate(None, b"\0")
    else:
        transposed = np.frombuffer(plain, np.uint8).reshape(-1, ROW_BYTES).T.tobytes()
        packed = _TRANSPOSED + _local.compressor.compress(transposed)
    return packed if len(packed) <= len(plain) else _PLAIN + plain


def _decode_block(block: bytes | memoryview, count: int, dtype: np.dtype[np.void]) -> Rows:
    if block[:1] == _TRANSPOSED:
        columns = _decode_columns(block, count)
        return np.ascontiguousarray(columns.T).reshape(-1).view(dtype)
    if block[:1] == _SPARSE and count == 1:
        return _decode_sparse(np.frombuffer(block, np.uint8, offset=1)).view(dtype)
    if block[:1] == _PLAIN and len(block) == count * ROW_BYTES + 1:
        return np.frombuffer(block, dtype, offset=1)
    raise DecodeError("a block has an unknown form or the wrong size")


def _decode_whole_blocks(blocks: Sequence[bytes | memoryview]) -> npt.NDArray[np.uint8]:
    """``u8[512 * 128 * n]``, the rows of n transposed blocks of 512."""
    transposed = np.stack([_decode_columns(block, BLOCK_ROWS) for block in blocks])
    plain = np.zeros((len(blocks), BLOCK_ROWS, ROW_BYTES), np.uint8)
    for byte in np.flatnonzero(transposed.any(axis=(0, 2))).tolist():  # as in encoding
        plain[:, :, byte] = transposed[:, byte]
    return plain.reshape(-1)


def _decode_sparse(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """``u8[128]`` of one row without its zero bytes."""
    there = np.unpackbits(data[:_BITS_BYTES]).view(bool)
    others = data[_BITS_BYTES:]
    if len(there) != ROW_BYTES or np.count_nonzero(there) != len(others) or not others.all():
        raise DecodeError("a block does not hold the row it should")
    row = np.zeros(ROW_BYTES, np.uint8)
    row[there] = others
    return row


def _decode_columns(block: bytes | memoryview, count: int) -> npt.NDArray[np.uint8]:
    """``u8[128, count]`` of a transposed block."""
    return np.frombuffer(_decompress_block(block, count), np.uint8).reshape(ROW_BYTES, count)


def _decompress_block(block: bytes | memoryview, count: int) -> bytes:
    size = count * ROW_BYTES
    content = decompress(memoryview(block)[1:], size_bytes_max=size)
    if len(content) != size:
        raise DecodeError("a block does not hold the rows it should")
    return content


def _row_payload(kind: RecordKind, count: int, blocks: Any, refusals: Any) -> Payload:
    _check_blocks(blocks, block_count(count))
    if refusals is None:
        return Payload(kind, count, blocks, np.empty(0, REFUSAL), [])
    if not isinstance(refusals, bytes) or len(refusals) % REFUSAL.itemsize:
        raise DecodeError("the refusals of a payload are malformed")
    pairs = np.frombuffer(refusals, REFUSAL)
    index = pairs["index"].astype(np.int64)
    if index[-1] >= count or np.any(np.diff(index) <= 0):
        raise DecodeError("the refusals of a payload are out of order or out of range")
    if not _STATUSES.issuperset(pairs["status"].tolist()):
        raise DecodeError("a payload refuses with a status unknown to this program")
    return Payload(kind, count, blocks, pairs, [])


def _check_blocks(blocks: Any, count: int) -> None:
    if not isinstance(blocks, list) or not all(
        isinstance(block, bytes | memoryview) for block in blocks
    ):
        raise DecodeError("the rows of a payload are not blocks of bytes")
    if len(blocks) != count:
        raise DecodeError("a payload has more or fewer blocks than its rows need")


def _command_payload(body: dict[str, Any], count: int) -> Payload:
    counts = body.get("c")
    if not isinstance(counts, list) or not counts or len(counts) % 3:
        raise DecodeError("a payload does not say what its commands did")
    if not all(type(number) is int and number >= 0 for number in counts) or sum(counts) != count:
        raise DecodeError("a payload holds another number of events than its commands")
    if not all(any(counts[at : at + 3]) for at in range(0, len(counts), 3)):
        raise DecodeError("a payload holds a command that did nothing")
    accounts, transfers, events = (sum(counts[part::3]) for part in range(3))
    optional = {"b"} if accounts or transfers else set()
    if events:
        optional.add("e")
    if set(body) != optional | {"c", "k", "n", "v"}:
        raise DecodeError("a payload of commands has unknown or missing keys")
    blocks = body.get("b", [])
    _check_blocks(blocks, block_count(accounts) + block_count(transfers))
    domain_events = _domain_payload(body.get("e", []), events).domain_events
    no_refusals = np.empty(0, REFUSAL)
    return Payload(RecordKind.COMMANDS, count, blocks, no_refusals, domain_events, counts)


def _domain_payload(events: Any, count: int) -> Payload:
    if not isinstance(events, list) or len(events) != count:
        raise DecodeError("a payload does not hold the domain events it declares")
    for event in events:
        if (
            not isinstance(event, dict)
            or type(event.get("t")) is not str
            or type(event.get("v")) is not int
        ):
            raise DecodeError("a domain event has no type or version")
    return Payload(RecordKind.EVENTS, count, [], np.empty(0, REFUSAL), events)


def _refuse_tag(_: Any) -> NoReturn:
    """Called before cbor2 makes the tagged value: a fraction of two long numbers takes hours."""
    raise cbor2.CBORDecodeError("tags carry nothing that an event contains")


_NO_TAGS: Final = dict.fromkeys(_TAGS, _refuse_tag)


def _check_few(data: memoryview, items_max: int) -> None:
    """Count the items of CBOR by hopping from head to head."""
    at, items = 0, 0
    while at < len(data):
        items += 1
        if items > items_max:
            raise DecodeError(f"CBOR holds more than {items_max:,} items")
        kind, more = divmod(data[at], 32)
        width = 1 << more - 24 if more >= 24 else 0
        length = int.from_bytes(data[at + 1 : at + 1 + width]) if width else more
        at += 1 + width + (length if kind in _CBOR_STRINGS else 0)


def _check_plain(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif type(item) not in _SCALARS:
            raise DecodeError(f"CBOR holds a {type(item).__name__}, which no event contains")
        elif type(item) is int and not -(2**63) <= item < 2**64:
            raise DecodeError("CBOR holds a tagged integer; wider numbers are byte strings here")


def _long_head(kind: int, length: int) -> bytes:
    """What begins a map or a byte string of any length."""
    if length < _FEW_MAX:
        return bytes([kind | length])
    for more, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if length < 1 << 8 * size:
            return bytes([kind | more]) + length.to_bytes(size, "big")
    raise AssertionError("CBOR counts with 64 bits")
