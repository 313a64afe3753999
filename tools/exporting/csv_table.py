"""One table as CSV: every number is decimal text, flags are names between blanks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from nostro.journal import TRANSFER, AccountFlags, RecordKind, TransferFlags
from nostro.journal.rows import columns
from nostro.tools.exporting.naming import event_cells, status_names
from nostro.tools.exporting.selection import Chosen
from nostro.tools.flag_names import flag_names
from nostro.tools.times import format_rfc3339

_PLACE: Final = ("position", "timestamp", "timestamp_ns")
_FIELDS: Final = {
    RecordKind.ACCOUNTS: (
        "id", "user_data_128", "user_data_64", "user_data_32", "ledger", "code", "flags",
    ),
    RecordKind.TRANSFERS: ("status", *(TRANSFER.names or ())[:-1]),  # all but the timestamp
    RecordKind.EVENTS: ("event", "transfer_id", "details"),
}  # fmt: skip


class CsvTable:
    """Writes one kind of event to a file. A context manager."""

    def __init__(self, kind: RecordKind, file: io.FileIO, path: Path) -> None:
        del path
        self._kind = kind
        self._text = io.TextIOWrapper(
            io.BufferedWriter(file, 1 << 20), encoding="utf-8", newline=""
        )
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow([*_PLACE, *_FIELDS[kind]])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.flush()
        self._text.detach()

    def write(self, chosen: Chosen) -> None:
        self._csv.writerows(_csv_rows(chosen))


def _csv_rows(chosen: Chosen) -> Iterator[tuple[object, ...]]:
    if chosen.kind is RecordKind.EVENTS:
        for event in chosen.events:
            yield (*_place(event.position, event.timestamp), *event_cells(event))
        return
    rows = zip(chosen.positions.tolist(), columns(chosen.rows), strict=True)
    if chosen.kind is RecordKind.ACCOUNTS:
        for position, (id_, *_, u128, u64, u32, _reserved, ledger, code, flags, at) in rows:
            names = " ".join(flag_names(AccountFlags, flags))
            yield (*_place(position, at), id_, u128, u64, u32, ledger, code, names)
        return
    statuses = status_names(chosen)
    for (position, (*facts, flags, at)), status in zip(rows, statuses, strict=True):
        yield (*_place(position, at), status, *facts, " ".join(flag_names(TransferFlags, flags)))


def _place(position: int, timestamp: int) -> tuple[int, str, int]:
    return position, format_rfc3339(timestamp), timestamp
