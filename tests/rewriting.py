"""A forger with every right to the disk: rewrites history and chains it anew, soundly."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.rewriting import rewrite_journal

_JOURNAL = ("HEAD", "MANIFEST", "segments")


def rewrite(path: Path, forge: Callable[[Rows], None], *, last: int | None = None) -> None:
    """Write the journal anew up to position ``last``, transfers as ``forge`` leaves their rows.

    Ledger identity, times and everything else stay; checksums, chain, seals and HEAD are new, and
    right. Checkpoints and indexes are gone, as the forger would have it; ``tree`` stays.
    """
    reader = Reader(path)
    ledger_id = reader.head().ledger_id
    forged = path.with_name(path.name + "-forged")
    until = itertools.takewhile(
        lambda record: last is None or record.position_last <= last, reader.records()
    )
    with mock.patch("os.urandom", return_value=ledger_id):
        rewrite_journal(
            Storage(), forged, ((record.header, _payload(record, forge)) for record in until)
        )
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


def _payload(record: Record, forge: Callable[[Rows], None]) -> bytes:
    if record.kind is not RecordKind.TRANSFERS:
        return record.encoded
    [part] = record.parts
    rows = part.rows.copy()
    forge(rows)
    return codec.encode_rows(record.kind, rows, part.statuses)
