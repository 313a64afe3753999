"""A forger with every right to the disk: rewrites history and chains it anew, soundly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Reader, Record
from tests.journals import open_writer

_JOURNAL = ("HEAD", "MANIFEST", "segments")


def rewrite(path: Path, forge: Callable[[Rows], None], *, last: int | None = None) -> None:
    """Write the journal anew up to position ``last``, transfers as ``forge`` leaves their rows.

    Ledger identity, times and everything else stay; checksums, chain, seals and HEAD are new, and
    right. Checkpoints and indexes are gone, as the forger would have it; ``tree`` stays.
    """
    reader = Reader(path)
    ledger_id = reader.head().ledger_id
    forged = path.with_name(path.name + "-forged")
    with mock.patch("nostro.journal.writing.creation.os.urandom", return_value=ledger_id):
        writer = open_writer(forged)
    for record in _until(reader.records(), last):
        queued = writer.append(
            _payload(record, forge),
            event_count=record.event_count,
            timestamp_min=record.timestamp_min,
            timestamp_max=record.timestamp_max,
            generation=writer.generation,
        )
        assert queued is not None
        writer.wait(queued)
    writer.close()
    for name in ("checkpoints", "indexes"):
        shutil.rmtree(path / name)
    for name in _JOURNAL:
        old, new = path / name, forged / name
        if old.is_dir():
            shutil.rmtree(old)
        elif old.exists():
            old.unlink()
        if new.exists():
            new.rename(old)
    shutil.rmtree(forged)


def _until(records: Iterable[Record], last: int | None) -> Iterable[Record]:
    return (record for record in records if last is None or record.position_last <= last)


def _payload(record: Record, forge: Callable[[Rows], None]) -> bytes:
    if record.kind is not RecordKind.TRANSFERS:
        return record.encoded
    rows = record.rows.copy()
    forge(rows)
    return codec.encode_rows(record.kind, rows, record.statuses)
