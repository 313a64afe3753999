"""Tables of accounts, transfers and other events, as CSV or as Parquet: a directory of three."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from nostro.journal import Reader, RecordKind
from nostro.journal.storage.files import Storage, replacing
from nostro.tools.exporting.csv_table import CsvTable
from nostro.tools.exporting.parquet_table import ParquetTable
from nostro.tools.exporting.selection import Chosen, Exported, Progress, Selection, choose

_NAMES: Final = {
    RecordKind.ACCOUNTS: "accounts",
    RecordKind.TRANSFERS: "transfers",
    RecordKind.EVENTS: "events",
}


class _Table(Protocol):
    def write(self, chosen: Chosen) -> None: ...


def export_csv(
    reader: Reader, folder: Path, selection: Selection, *, progress: Progress | None = None
) -> Exported:
    """Write ``accounts.csv``, ``transfers.csv`` and ``events.csv`` into ``folder``.

    Raises:
        Damage: the journal cannot be read up to there.
    """
    return _export(reader, folder, selection, "csv", CsvTable, progress)


def export_parquet(
    reader: Reader, folder: Path, selection: Selection, *, progress: Progress | None = None
) -> Exported:
    """Write ``accounts.parquet``, ``transfers.parquet`` and ``events.parquet`` into ``folder``.

    Raises:
        ImportError: pyarrow is not installed.
        ExportUnfit: an amount has more than 38 digits.
        Damage: the journal cannot be read up to there.
    """
    return _export(reader, folder, selection, "parquet", ParquetTable, progress)


def _export(
    reader: Reader,
    folder: Path,
    selection: Selection,
    suffix: str,
    make: Callable[[RecordKind, io.FileIO, Path], contextlib.AbstractContextManager[_Table]],
    progress: Progress | None,
) -> Exported:
    head = reader.head()
    last = min(head.position, selection.position_max or head.position)
    counts = dict.fromkeys(_NAMES, 0)
    storage = Storage()
    with contextlib.ExitStack() as stack:
        tables = {}
        for kind, name in _NAMES.items():
            path = folder / f"{name}.{suffix}"
            fd = stack.enter_context(replacing(storage, path))
            file = stack.enter_context(io.FileIO(fd, "w", closefd=False))
            tables[kind] = stack.enter_context(make(kind, file, path))
        for request in choose(reader, selection, last, progress):
            for chosen in request:
                tables[chosen.kind].write(chosen)
                counts[chosen.kind] += len(chosen)
    return Exported(head.ledger_id, last, *counts.values())
