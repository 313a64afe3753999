"""Rewriting a journal under a new identity: the same payloads, another hash chain.

A shortened journal must not be confused with the whole one: a follower, a checkpoint or a mirror
that has read further would take new events for the old ones at the same positions. A shortened
journal is therefore another ledger. Positions, times and the limits of each request stay;
identity, hash chain and segments are new. The first event after the kept ones names the origin.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import DomainEvent, encode_domain_event
from nostro.journal.format.frame import FrameHeader
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.copying import as_copy_failed
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.verification import Progress, VerifyReport, verify
from nostro.journal.writing.writer import QueuedRecord, Writer

_GROUP_BYTES: Final = 4 * 1024 * 1024
"""Bytes that share one sync."""


def rewrite_journal(
    storage: Storage,
    path: Path,
    records: Iterable[tuple[FrameHeader, bytes]],
    last: Callable[[int], DomainEvent] | None = None,
    *,
    bytes_total: int = 0,
    progress: Progress | None = None,
) -> VerifyReport:
    """Write records, given as header and payload, as a new journal into an empty directory.

    Args:
        last: makes the event that follows them, given its timestamp; None for no such event.
        bytes_total: the size of all the records.

    Raises:
        CopyFailed, JournalFull, WriterPoisoned: the disk is full or broken.
        Damage: it does not read back.
    """
    digest = hashlib.sha256()
    with as_copy_failed(path):
        writer = Writer.open(path, storage=storage)
        try:
            queued, done_bytes, waiting_bytes, highest = None, 0, 0, 0
            for header, payload in records:
                queued = _append(writer, header, payload, digest)
                waiting_bytes += len(payload)
                if waiting_bytes >= _GROUP_BYTES:
                    writer.wait(queued)
                    waiting_bytes = 0
                done_bytes += header.frame_bytes
                highest = max(highest, header.timestamp_max)
                if progress is not None:
                    progress(done_bytes, bytes_total)
            if last is not None:
                timestamp = max(time.time_ns(), highest + 1)
                payload = codec.encode_domain_events([encode_domain_event(last(timestamp))])
                header = FrameHeader(
                    len(payload), 1, 0, 0, timestamp, timestamp, b"", b"", RecordKind.EVENTS
                )
                queued = _append(writer, header, payload, digest)
            if queued is not None:
                writer.wait(queued)
        finally:
            writer.close()
    report = verify(path, storage=storage)
    if _digest(storage, path) != digest.digest():
        raise AssertionError("the rewritten journal does not hold the payloads it was given")
    return report


def _append(
    writer: Writer, header: FrameHeader, payload: bytes, digest: hashlib._Hash
) -> QueuedRecord:
    digest.update(payload)
    queued = writer.append(
        payload,
        kind=RecordKind(header.kind) if header.kind else codec.decode_payload(payload).kind,
        event_count=header.event_count,
        timestamp_min=header.timestamp_min,
        timestamp_max=header.timestamp_max,
        generation=writer.generation,
    )
    assert queued is not None  # no one else writes here: nothing was refused
    return queued


def _digest(storage: Storage, path: Path) -> bytes:
    digest = hashlib.sha256()
    for record in Reader(path, storage=storage).records():
        digest.update(record.encoded)
    return digest.digest()
