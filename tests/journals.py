"""Small journals for tests: transfers that follow from their ids, appended, read back, compared."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import TRANSFER, Rows
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.storage.files import Storage
from nostro.journal.writing.writer import QueuedRecord, SyncMode, Writer


def transfers(first: int, count: int = 1) -> Rows:
    """``TRANSFER[count]`` with ids from ``first`` on; every field follows from the id."""
    ids = np.arange(first, first + count, dtype=np.uint64)
    rows = np.zeros(count, TRANSFER)
    rows["id"][:, 0] = ids
    rows["debit_account_id"][:, 0] = ids % np.uint64(7) + np.uint64(1)
    rows["credit_account_id"][:, 0] = ids % np.uint64(5) + np.uint64(11)
    rows["amount"][:, 0] = ids * np.uint64(3)
    # Spread over all bits, so that a record does not compress to almost nothing.
    rows["user_data_128"] = np.random.default_rng(first).integers(
        0, 2**63, (count, 2), dtype=np.uint64
    )
    rows["ledger"], rows["code"] = 1, 1
    rows["timestamp"] = ids * np.uint64(10)
    return rows


def open_writer(
    path: Path,
    *,
    segment_bytes_max: int = 4096,
    sync: SyncMode = "group",
    storage: Storage | None = None,
) -> Writer:
    return Writer.open(path, segment_bytes_max=segment_bytes_max, sync=sync, storage=storage)


def append(writer: Writer, first: int, count: int = 1) -> QueuedRecord:
    """Put the record of :func:`transfers` in line."""
    queued = writer.append(
        codec.encode_rows(RecordKind.TRANSFERS, transfers(first, count), None),
        kind=RecordKind.TRANSFERS,
        event_count=count,
        timestamp_min=first * 10,
        timestamp_max=(first + count - 1) * 10,
        generation=writer.generation,
    )
    assert queued is not None
    return queued


def commit(writer: Writer, first: int, count: int = 1) -> QueuedRecord:
    """Append one record and wait until it is durable."""
    queued = append(writer, first, count)
    writer.wait(queued)
    return queued


def wait_in_threads(writer: Writer, records: list[QueuedRecord]) -> list[threading.Thread]:
    """One started thread per record, waiting until it is durable."""
    threads = [threading.Thread(target=writer.wait, args=(queued,)) for queued in records]
    for thread in threads:
        thread.start()
    return threads


def write_journal(path: Path, records: int, *, segment_bytes_max: int = 4096) -> None:
    """A closed journal of so many records of one transfer each; ids and positions begin at 1."""
    writer = open_writer(path, segment_bytes_max=segment_bytes_max)
    for first in range(1, records + 1):
        commit(writer, first)
    writer.close()


def ids_in(path: Path, cursor: Cursor | None = None) -> list[int]:
    """The ids of all durable transfers in order; what was not written as it should be fails."""
    ids: list[int] = []
    for record in Reader(path).records(cursor):
        rows = record.parts[0].rows
        first = int(rows["id"][0, 0])
        assert rows.tobytes() == transfers(first, len(rows)).tobytes()
        ids.extend(range(first, first + len(rows)))
    return ids


def files_under(path: Path) -> dict[str, bytes]:
    """Every file by relative name, with its content."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def flip(path: Path, offset_bytes: int | None = None) -> None:
    """Flip a bit of one byte of a file; without an offset, in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if offset_bytes is None else offset_bytes] ^= 1
    path.write_bytes(data)


def segment_names(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "segments").iterdir())
