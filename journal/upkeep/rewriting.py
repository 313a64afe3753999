"""Writing a journal anew under an identity of its own: the same payloads, another chain.

What is left out of a journal must not be confused with it: a follower, a checkpoint or a mirror
that has seen more would take what comes next for what it has seen. So a shortened journal is
another ledger. Positions, times and the requests' borders stay; identity, hash chain and segments
are new; and the first event after what was kept says where it comes from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.format import codec
from nostro.journal.format.events import DomainEvent, encode_domain_event
from nostro.journal.format.frame import FrameHeader
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.copying import told
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.verification import VerifyReport, verify
from nostro.journal.writing.writer import Ticket, Writer

_GROUP_BYTES: Final = 4 * 1024 * 1024
"""So much is written before it is synced."""


@attrs.frozen
class Carried:
    """One record on its way from a journal to another."""

    header: FrameHeader
    payload: bytes


def write_anew(
    storage: Storage,
    path: Path,
    records: Iterable[Carried],
    last: Callable[[int], DomainEvent] | None,
) -> VerifyReport:
    """Make a new journal of ``records`` at ``path``, an empty directory, and read it back.

    Args:
        last: makes the event that comes after them from its timestamp; None for no such event.

    Raises:
        CopyFailed, JournalFull, WriterPoisoned: the disk is full or broken.
        Damage: it does not read back.
    """
    digest = hashlib.sha256()
    with told(path):
        writer = Writer.open(path, storage=storage)
        try:
            _write(writer, records, last, digest.update)
        finally:
            writer.close()
    report = verify(path, storage=storage)
    if _digest(storage, path) != digest.digest():
        raise AssertionError("what was written anew is not what was to be written")
    return report


def _write(
    writer: Writer,
    records: Iterable[Carried],
    last: Callable[[int], DomainEvent] | None,
    note: Callable[[bytes], object],
) -> None:
    ticket, waiting_bytes = None, 0
    for record in records:
        note(record.payload)
        ticket = _append(writer, record.header, record.payload)
        waiting_bytes += len(record.payload)
        if waiting_bytes >= _GROUP_BYTES:
            writer.wait(ticket)
            waiting_bytes = 0
    if ticket is not None:
        writer.wait(ticket)
    if last is not None:
        timestamp = max(time.time_ns(), writer.head.timestamp + 1)
        payload = codec.encode_domain_events([encode_domain_event(last(timestamp))])
        note(payload)
        header = FrameHeader(len(payload), 1, 0, 0, timestamp, timestamp, b"", b"")
        writer.wait(_append(writer, header, payload))


def _append(writer: Writer, header: FrameHeader, payload: bytes) -> Ticket:
    ticket = writer.append(
        payload,
        event_count=header.event_count,
        timestamp_min=header.timestamp_min,
        timestamp_max=header.timestamp_max,
        generation=writer.generation,
    )
    assert ticket is not None  # nobody else writes, so nothing was refused
    return ticket


def _digest(storage: Storage, path: Path) -> bytes:
    digest = hashlib.sha256()
    for record in Reader(path, storage=storage).records():
        digest.update(record.encoded)
    return digest.digest()
