"""What reads the journal's own bytes: frames, payloads, headers, HEAD, manifest, whole segments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import cbor2
import numpy as np
import zstandard

from nostro.journal.errors import (
    CorruptHead,
    CorruptManifest,
    CorruptSegment,
    Damage,
    DecodeError,
    UnsupportedFormat,
)
from nostro.journal.evidence.entries import describe_entry, entry_at, record_leaf_hashes
from nostro.journal.format import codec, container, frame
from nostro.journal.format.codec import Payload, RecordKind
from nostro.journal.format.events import decode_domain_event, encode_domain_event, events_of
from nostro.journal.format.frame import BadFrame, FrameHeader
from nostro.journal.format.head import (
    SLOT_BYTES,
    Head,
    decode_slots,
    encode_slot,
    encode_slots,
    newest,
)
from nostro.journal.format.parts import parts_of, positions_of
from nostro.journal.format.segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    decode_segment_header,
    encode_segment_header,
    segment_name,
)
from nostro.journal.model import ACCOUNT, TRANSFER
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.reading.row_lookup import TransferLookup
from nostro.journal.storage.directory import Directory
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing.manifest import SealedSegment, read_manifest
from nostro.journal.writing.recovery import recover
from nostro.projections.checkpoints.restore import restore_state
from tests.crash.memory import MemoryStorage
from tests.fuzz import bombs, repairs
from tests.fuzz.corpus import LEDGER_ID, Corpus, file_in, in_folder
from tests.fuzz.decoder import Decoder, Form

_LOOKED_UP_MAX: Final = 200
_ZSTD_BYTES_MAX: Final = 64 * 1024


def decoders(corpus: Corpus) -> list[Decoder]:
    [segment] = in_folder(corpus.files, "segments").values()
    frames = _frames(segment)
    payloads = tuple(_payload(one) for one in frames)
    blocks = [block for one in payloads for block in codec.decode_payload(one).blocks]
    tree = Form(cbor2.loads, _canonical)
    of_frame = Form(_open_frame, _close_frame)
    of_segment = Form(_open_segment, _close_segment)
    of_payload = (tree, Form(repairs.plain_rows, _canonical))
    header = _segment_header(segment)
    with_bomb = partial(_close_segment_of, header)
    return [
        Decoder(
            "frame", _decode_frame, frames, (BadFrame,),
            agrees=lambda found, data: frame.encode_frame(*found) == data,
            repairs=(repairs.one_frame, repairs.fitted_frame), forms=(of_frame,),
        ),
        Decoder(
            "segment header", _decode_segment_header, (segment[:SEGMENT_HEADER_BYTES],),
            (CorruptSegment, UnsupportedFormat),
            agrees=lambda found, data: encode_segment_header(found) == data[:SEGMENT_HEADER_BYTES],
            repairs=(repairs.sector,),
        ),
        Decoder(
            "HEAD", _decode_head, (file_in(corpus.files, "HEAD"), _head_in_the_middle(segment)),
            (CorruptHead, UnsupportedFormat), agrees=_is_head, repairs=(repairs.sector,),
        ),
        Decoder(
            "manifest", _manifest_decoder(corpus), _manifests(), (CorruptManifest,),
            agrees=lambda found, data: _manifest(found) == data,
            repairs=(repairs.envelope,), forms=(Form(_open_envelope, _close_envelope),),
            bombs=bombs.around(lambda body: repairs.envelope(bytes(40) + body), bombs.CBOR_FEW),
        ),
        Decoder(
            "CBOR", codec.decode_cbor, (*payloads, *bombs.CBOR_SEEDS), (DecodeError,),
            agrees=lambda found, data: codec.encode_cbor(found) == data,
            forms=(tree,), words=bombs.CBOR_WORDS, bombs=bombs.CBOR_SHALLOW,
        ),
        Decoder(
            "zstd block", _decode_zstd,
            tuple(bytes(block[1:]) for block in blocks if block[:1] == b"\1"), (DecodeError,),
            bombs=bombs.ZSTD,
        ),
        Decoder(
            "payload", _decode_payload, payloads, (DecodeError,), agrees=_is_payload,
            forms=of_payload, words=bombs.CBOR_WORDS,
            bombs=(*bombs.CBOR, lambda: _many_rows(2**16)),
        ),
        Decoder(
            "payload, block by block", _view_payload, payloads, (DecodeError,),
            forms=of_payload, words=bombs.CBOR_WORDS,
            bombs=(*bombs.CBOR_FEW, lambda: _many_rows(2**16)),
        ),
        Decoder(
            "domain event", _decode_domain_event, _domain_events(payloads), (DecodeError,),
            agrees=lambda found, data: codec.encode_cbor(encode_domain_event(found)) == data,
            forms=(tree,),
        ),
        Decoder("tree entry", describe_entry, _entries(corpus), (DecodeError,)),
        Decoder(
            "journal", _journal_decoder(corpus.path), (segment,), (Damage, UnsupportedFormat),
            repairs=(repairs.whole_segment,), forms=(of_segment, of_segment),
            bombs=bombs.around(with_bomb, (*bombs.CBOR_FEW, lambda: _many_rows(2**16))),
        ),
        Decoder(
            "recovery", _recovery_decoder(corpus.path), (segment,),
            (Damage, UnsupportedFormat), repairs=(repairs.whole_segment,), forms=(of_segment,),
        ),
    ]  # fmt: skip


_ONE_EVENT: Final = (1, 0, 1, 1, 0)
_SEGMENT: Final = Path(segment_name(1))


# --- frames ---------------------------------------------------------------------------------------


def _decode_frame(data: bytes) -> tuple[FrameHeader, bytes]:
    view = memoryview(data)
    header = frame.decode_header(view)
    payload = bytes(frame.decode_payload(view, header))
    if len(data) != header.frame_bytes:
        raise BadFrame("more bytes than the frame has")
    return header, payload


def _frames(segment: bytes) -> tuple[bytes, ...]:
    found, at = [], SEGMENT_HEADER_BYTES
    while (end := repairs.frame_end(segment, at)) is not None:
        found.append(segment[at:end])
        at = end
    return tuple(found)


def _payload(one: bytes) -> bytes:
    return one[frame.HEADER_BYTES :][: frame.decode_header(memoryview(one)).payload_bytes]


def _open_frame(data: bytes) -> list[Any]:
    """Events, durable position, times and the payload's CBOR."""
    header, payload = _decode_frame(data)
    return [*_changeable(header), repairs.plain_rows(payload)]


def _changeable(header: FrameHeader) -> tuple[int, int, int, int, int]:
    times = header.timestamp_min, header.timestamp_max
    return header.event_count, header.position_durable, *times, header.kind


def _close_frame(value: Any) -> bytes:  # noqa: ANN401  # of any form by now
    *fields, body = value
    return _forged(1, LEDGER_ID, frame.GENESIS_SHA256, fields, _canonical(body))


def _forged(
    position: int, ledger_id: bytes, before: bytes, fields: Sequence[int], payload: bytes
) -> bytes:
    events, durable, first, last, kind = fields
    header = FrameHeader(
        len(payload), events, position, durable, first, last, ledger_id, before, kind
    )
    return frame.encode_frame(header, payload)


def _canonical(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


# --- headers --------------------------------------------------------------------------------------


def _decode_segment_header(data: bytes) -> SegmentHeader:
    return decode_segment_header(data, path=_SEGMENT)


def _segment_header(segment: bytes) -> tuple[Any, ...]:
    header = decode_segment_header(segment, path=_SEGMENT)
    return (
        header.ledger_id, header.number, header.position_first, header.previous_frame_sha256,
        header.previous_file_sha256, header.previous_file_bytes, header.created_at_ns,
        header.version,
    )  # fmt: skip


def _decode_head(data: bytes) -> tuple[Head | None, Head | None]:
    slots = decode_slots(data, path=Path("HEAD"))
    assert newest(data, path=Path("HEAD")) in slots
    return slots


def _is_head(slots: tuple[Head | None, Head | None], data: bytes) -> bool:
    return all(
        slot is None or encode_slot(slot) == data[number * SLOT_BYTES :][:SLOT_BYTES]
        for number, slot in enumerate(slots)
    )


def _head_of(segment: bytes, count: int | None = None) -> bytes:
    """HEAD as it is after the segment's first frames, or all; the segment may be forged."""
    first = int.from_bytes(segment[40:48], "little")
    at, position, sha256 = SEGMENT_HEADER_BYTES, first - 1, segment[48:80].ljust(32, b"\0")
    while count != 0 and (end := repairs.frame_end(segment, at)) is not None:
        position += int.from_bytes(segment[at + 12 : at + 15], "little")
        at, sha256 = end, hashlib.sha256(segment[at:end]).digest()
        count = None if count is None else count - 1
    position = max(0, position) % 2**64
    return encode_slots(Head(LEDGER_ID, 4, position, 2**62, first, at, sha256, closed=False))


def _head_in_the_middle(segment: bytes) -> bytes:
    return _head_of(segment, 3)


# --- manifest -------------------------------------------------------------------------------------


def _manifests() -> tuple[bytes, ...]:
    sealed = [
        SealedSegment(1 + 10 * number, 4096 << number, hashlib.sha256(bytes([number])).digest())
        for number in range(3)
    ]
    return _manifest([]), _manifest(sealed)


def _manifest(sealed: list[SealedSegment]) -> bytes:
    entries = [[one.position_first, one.size_bytes, one.sha256] for one in sealed]
    return container.pack(
        {"ledger": LEDGER_ID, "segments": entries, "type": "manifest", "version": 1}
    )


def _manifest_decoder(corpus: Corpus) -> Callable[[bytes], object]:
    def decode(data: bytes) -> list[SealedSegment]:
        storage = MemoryStorage()
        storage.load(corpus.path, {"MANIFEST": data})
        return read_manifest(storage, Directory(corpus.path), ledger_id=LEDGER_ID)

    return decode


def _open_envelope(data: bytes) -> object:
    return cbor2.loads(data[40:])


def _close_envelope(value: object) -> bytes:
    return repairs.envelope(bytes(40) + _canonical(value))


# --- payloads -------------------------------------------------------------------------------------


def _decode_zstd(data: bytes) -> object:
    return codec.decompress(data, size_bytes_max=_ZSTD_BYTES_MAX)


def _decode_payload(data: bytes) -> Payload:
    payload = codec.decode_payload(data)
    _read_all(payload)
    return payload


def _read_all(payload: Payload) -> None:
    count = 0
    for part in parts_of(payload):
        one = part.payload
        if part.kind is not RecordKind.EVENTS:
            assert len(one.rows()) == one.event_count
        statuses = one.statuses()
        assert statuses is None or len(statuses) == one.event_count
        assert len(list(events_of(one, positions_of(part.places, 1)))) == one.event_count
        count += one.event_count
    assert count == payload.event_count


def _is_payload(payload: Payload, data: bytes) -> bool:
    """What is written of it reads the same; rows may be compressed in many ways, events not."""
    parts = {part.kind: part.payload for part in parts_of(payload)}
    events = []
    if (of_domains := parts.get(RecordKind.EVENTS)) is not None:
        found = events_of(of_domains, range(of_domains.event_count))
        events = [encode_domain_event(one) for one in found]  # type: ignore[arg-type]
    if payload.kind is RecordKind.EVENTS:
        return codec.encode_domain_events(events) == data
    if payload.kind is RecordKind.COMMANDS:
        accounts, transfers = (
            parts[kind].rows() if kind in parts else np.zeros(0, dtype)
            for kind, dtype in ((RecordKind.ACCOUNTS, ACCOUNT), (RecordKind.TRANSFERS, TRANSFER))
        )
        encoded = codec.encode_commands(accounts, transfers, events, payload.counts)
        written = list(parts_of(codec.decode_payload(encoded)))
        return [one.kind for one in written] == list(parts) and all(
            one.kind is RecordKind.EVENTS
            or one.payload.rows().tobytes() == parts[one.kind].rows().tobytes()
            for one in written
        )
    again = codec.decode_payload(
        codec.encode_rows(payload.kind, payload.rows(), payload.statuses())
    )
    refused = payload.refusals.tobytes() == again.refusals.tobytes()
    return refused and again.rows().tobytes() == payload.rows().tobytes()


def _view_payload(data: bytes) -> object:
    """As look-ups read it; what :func:`codec.decode_payload` takes it takes as well."""
    try:
        whole: Payload | None = codec.decode_payload(data)
    except DecodeError:
        whole = None
    try:
        payload, starts = codec.view_payload(memoryview(data))
    except DecodeError:
        assert whole is None, "what is read whole must be read block by block"
        raise
    for part in parts_of(payload):
        for number, block in enumerate(part.payload.blocks):
            start = starts[part.block_first + number]
            assert block == data[start : start + len(block)]
            count = part.payload.block_rows(number)
            opened = codec.open_block(block, count)
            assert len(opened.rows([0, count - 1])) == 2 * 128
            assert len(opened.rows(range(count))) == count * 128
    return payload


def _domain_events(payloads: tuple[bytes, ...]) -> tuple[bytes, ...]:
    origin = {"from": bytes(16), "kept": 7, "frame": bytes(32), "at": 9, "v": 1}
    made: list[dict[str, Any]] = [
        {"t": "ledger_restored", **origin},
        {"t": "ledger_repaired", **origin, "lost": 3, "why": "a bit fell over"},
    ]
    found = [event for one in payloads for event in codec.decode_payload(one).domain_events]
    return tuple(map(codec.encode_cbor, [*found, *made]))


def _decode_domain_event(data: bytes) -> object:
    stored = codec.decode_cbor(data)
    payload = codec.decode_payload(codec.encode_domain_events([stored]))
    return decode_domain_event(payload.domain_events[0], position=1)


def _entries(corpus: Corpus) -> tuple[bytes, ...]:
    storage = _storage_of(corpus.path, in_folder(corpus.files, "segments")[_SEGMENT.name])
    records = list(Reader(corpus.path, storage=storage).records())
    return tuple(entry_at(record, record.position_last) for record in records)


# --- a whole journal ------------------------------------------------------------------------------


def _open_segment(data: bytes) -> list[Any]:
    """The fields of its header, and its frames: what may change, and the payload's CBOR."""
    return [
        list(_segment_header(data)),
        [
            [*_changeable(frame.decode_header(memoryview(one))), repairs.plain_rows(_payload(one))]
            for one in _frames(data)
        ],
    ]


def _close_segment(value: Any) -> bytes:  # noqa: ANN401  # of any form by now
    header, frames = value
    ledger_id, _, position, before, *_ = header
    parts = [encode_segment_header(SegmentHeader(*header))]
    for *fields, body in frames:
        parts.append(_forged(position, ledger_id, before, fields, _canonical(body)))
        before = hashlib.sha256(parts[-1]).digest()
        position += fields[0]
    return b"".join(parts)


def _close_segment_of(header: Sequence[Any], payload: bytes) -> bytes:
    """A segment of one frame."""
    made = _forged(1, LEDGER_ID, frame.GENESIS_SHA256, _ONE_EVENT, payload)
    return encode_segment_header(SegmentHeader(*header)) + made


def _storage_of(path: Path, segment: bytes, head: bytes | None = None) -> MemoryStorage:
    name = segment_name(int.from_bytes(segment[40:48], "little"))
    storage = MemoryStorage()
    storage.load(
        path,
        {
            "HEAD": _head_of(segment) if head is None else head,
            "segments": {name: segment},
            "checkpoints": {}, "indexes": {}, "tree": {}, "quarantine": {},
        },
    )  # fmt: skip
    return storage


def _journal_decoder(path: Path) -> Callable[[bytes], object]:
    def decode(data: bytes) -> object:
        """As readers, look-ups, proofs, checks and openings do."""
        storage = _storage_of(path, data)
        reader = Reader(path, storage=storage)
        position, transfer = 0, 0
        for record in reader.records():
            _read_record(record)
            position = record.position_last
            if (part := record.part(RecordKind.TRANSFERS)) is not None:
                transfer = int(part.positions[0])
        lookup = TransferLookup(path, storage)
        lookup.rows(np.arange(1, min(position, _LOOKED_UP_MAX) + 1))
        if transfer:
            lookup.row(transfer)
        if hashlib.sha256(data).digest()[0] < 16:  # it starts threads
            verify(path, decode=True, storage=storage)
        return restore_state(storage, Directory(path)).state

    return decode


def _read_record(record: Record) -> None:
    assert len(list(record.events())) == record.event_count
    last = min(record.position_last, record.position_first + _LOOKED_UP_MAX)
    assert all(record_leaf_hashes(record, record.position_first, last))


def _recovery_decoder(path: Path) -> Callable[[bytes], object]:
    def decode(data: bytes) -> object:
        """As a writer opens it after a crash; what it makes of it must be sound."""
        storage = _storage_of(path, data, _head_in_the_middle(data))
        recovered = recover(storage, Directory(path), ())
        place = recovered.place
        found = storage.content(recovered.files[-1].path)
        assert not any(found[place.offset_bytes :]), "what follows the last frame is zero"
        return recovered

    return decode


def _many_rows(count: int) -> bytes:
    """Many rows in few bytes, as a writer might have sent them."""
    block = b"\1" + zstandard.ZstdCompressor().compress(bytes(codec.BLOCK_ROWS * 128))
    blocks = [block] * (count // codec.BLOCK_ROWS)
    return _canonical({"b": blocks, "k": 2, "n": count, "v": 1})
