"""Entries: the bytes that stand for one event in the Merkle tree.

::

    offset  bytes  field
         0      8  position
         8      4  kind: 1 account, 2 transfer, 3 domain event
        12      4  status: the refusal's, 0xFFFFFFFF if the event took effect
        16    128  the row; of a domain event its canonical CBOR, as it is stored

Integers are little-endian. Requests, blocks, compression, frames and segments leave no trace in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from nostro.journal.errors import DecodeError
from nostro.journal.evidence.merkle import LEAF_PREFIX, hash_each, leaf_hash
from nostro.journal.format.codec import CREATED, RecordKind, decode_cbor, encode_cbor
from nostro.journal.model import ACCOUNT, ROW_BYTES, TRANSFER, CreateTransferStatus
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.rows import field_ints

_HEAD: Final = struct.Struct("<QII")
_LEAF: Final = np.dtype(
    [
        ("prefix", "u1"),
        ("position", "<u8"),
        ("kind", "<u4"),
        ("status", "<u4"),
        ("row", "u1", (ROW_BYTES,)),
    ]
)
_LEAVES_AT_ONCE: Final = 4096
_COLUMNS_PAY: Final = 8
"""Hashing by columns is faster from this many rows on."""
_ENTRY_KINDS: Final = frozenset(RecordKind) - {RecordKind.COMMANDS}
_DTYPES: Final = {RecordKind.ACCOUNTS: ACCOUNT, RecordKind.TRANSFERS: TRANSFER}


def entry_at(record: Record, position: int) -> bytes:
    """The entry of the event at ``position``, which the record holds."""
    part, index = record.part_at(position)
    statuses = part.statuses
    head = _HEAD.pack(position, part.kind, CREATED if statuses is None else statuses[index])
    if part.kind is RecordKind.EVENTS:
        return head + encode_cbor(part.payload.domain_events[index])
    return head + part.rows[index : index + 1].tobytes()


def leaf_hashes(reader: Reader, first: int, last: int) -> Iterator[bytes]:
    """The leaf hashes of the events from position ``first`` to ``last``, at most 4,096 at a time.

    Raises:
        Damage: the journal cannot be read there.
    """
    for record in reader.records(Cursor(position=first)):
        if record.position_first > last:
            return
        yield from record_leaf_hashes(record, first, last)


def record_leaf_hashes(record: Record, first: int, last: int) -> Iterator[bytes]:
    """The same for those of these events that are in one record."""
    start = max(first, record.position_first)
    end = min(last, record.position_last) + 1
    is_rows = record.kind in (RecordKind.ACCOUNTS, RecordKind.TRANSFERS)
    if not is_rows or end - start < _COLUMNS_PAY:
        for begin in range(start, end, _LEAVES_AT_ONCE):
            positions = range(begin, min(begin + _LEAVES_AT_ONCE, end))
            yield b"".join([leaf_hash(entry_at(record, position)) for position in positions])
        return
    [whole] = record.parts
    rows, statuses = whole.rows, whole.statuses
    leaves = np.empty(min(_LEAVES_AT_ONCE, end - start), _LEAF)
    leaves["prefix"], leaves["kind"], leaves["status"] = LEAF_PREFIX, record.kind, CREATED
    for position in range(start, end, _LEAVES_AT_ONCE):
        some = leaves[: end - position]
        part = slice(position - record.position_first, position - record.position_first + len(some))
        some["position"] = np.arange(position, position + len(some), dtype=np.uint64)
        some["row"] = rows[part].view(np.uint8).reshape(-1, ROW_BYTES)
        if statuses is not None:
            some["status"] = statuses[part]
        yield hash_each(some)


def describe_entry(entry: bytes) -> dict[str, Any]:
    """The fields of an entry for people, by name, with wide numbers as text.

    Raises:
        DecodeError: the bytes are not an entry.
    """
    if len(entry) <= _HEAD.size:
        raise DecodeError("an entry is cut short")
    position, number, status = _HEAD.unpack_from(entry)
    if number not in _ENTRY_KINDS:
        raise DecodeError("an entry has an unknown kind")
    kind = RecordKind(number)
    shown: dict[str, Any] = {"position": position, "kind": kind.name.lower().removesuffix("s")}
    if kind is RecordKind.EVENTS:
        return shown | _describe_event(entry[_HEAD.size :])
    if len(entry) != _HEAD.size + ROW_BYTES:
        raise DecodeError("an entry does not hold the row it should")
    if kind is RecordKind.TRANSFERS:
        shown["status"] = _status_name(status)
    row = np.frombuffer(entry, _DTYPES[kind], offset=_HEAD.size)
    for field in row.dtype.names or ():
        value = field_ints(row[field])[0]
        shown[field] = str(value) if row[field].dtype.itemsize == 8 else value
    return shown


def _describe_event(encoded: bytes) -> dict[str, Any]:
    stored = decode_cbor(encoded)
    if not isinstance(stored, dict) or not all(isinstance(key, str) for key in stored):
        raise DecodeError("an entry does not hold the event it should")
    return {key: _shown(value) for key, value in stored.items()}


def _shown(value: object) -> object:
    """A stored value as JSON can hold it: bytes as hexadecimal, the keys of maps as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(_shown(key)): _shown(item) for key, item in value.items()}
    return value


def _status_name(status: int) -> str:
    try:
        return CreateTransferStatus(status).name
    except ValueError:
        raise DecodeError("an entry has a status unknown to this program") from None
