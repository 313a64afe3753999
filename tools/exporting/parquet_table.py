"""One table as Parquet, by pyarrow.

Ids and user_data_128 are 16 bytes, the high byte first, so that they sort as numbers. Amounts are
decimal(38, 0), which every reader can add up; one of 10**38 or more is refused. Times are
nanoseconds in UTC, flags the number that they are.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from nostro.journal import RecordKind, Rows
from nostro.journal.rows import columns
from nostro.tools.exporting.errors import ExportUnfit
from nostro.tools.exporting.naming import event_cells, status_names
from nostro.tools.exporting.selection import Chosen

if TYPE_CHECKING:
    import pyarrow as pa

_AMOUNT_END: Final = 10**38
_GROUP_ROWS: Final = 65_536
"""So many rows are in memory at most, and one request's on top."""


class ParquetTable:
    """Writes one kind of event to a file. A context manager."""

    def __init__(self, kind: RecordKind, file: io.FileIO, path: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - an extra that most do without
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._pa = pa
        self._path = path
        self._kind = kind
        id_, amount = pa.binary(16), pa.decimal128(38, 0)
        time = pa.timestamp("ns", tz="UTC")
        place = [("position", pa.uint64()), ("timestamp", time)]
        user = [("user_data_128", id_), ("user_data_64", pa.uint64()),
                ("user_data_32", pa.uint32())]  # fmt: skip
        numbers = [("ledger", pa.uint32()), ("code", pa.uint16()), ("flags", pa.uint16())]
        fields = {
            RecordKind.ACCOUNTS: [*place, ("id", id_), *user, *numbers],
            RecordKind.TRANSFERS: [
                *place, ("status", pa.string()), ("id", id_), ("debit_account_id", id_),
                ("credit_account_id", id_), ("amount", amount), ("pending_id", id_), *user,
                ("timeout", pa.uint32()), *numbers,
            ],
            RecordKind.EVENTS: [
                *place, ("event", pa.string()), ("transfer_id", id_), ("details", pa.string()),
            ],
        }[kind]  # fmt: skip
        self._schema = pa.schema([pa.field(name, type_) for name, type_ in fields])
        self._writer = pq.ParquetWriter(file, self._schema, version="2.6", compression="zstd")
        self._waiting: list[Chosen] = []
        self._waiting_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def write(self, chosen: Chosen) -> None:
        self._waiting.append(chosen)
        self._waiting_rows += len(chosen)
        if self._waiting_rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            make = self._events if self._kind is RecordKind.EVENTS else self._rows
            self._writer.write_table(make(self._waiting))
        self._waiting, self._waiting_rows = [], 0

    def _rows(self, waiting: list[Chosen]) -> pa.Table:
        pa = self._pa
        packed = b"".join([chosen.rows.tobytes() for chosen in waiting])
        rows = np.frombuffer(packed, waiting[0].rows.dtype)
        arrays = []
        for field in self._schema:
            if field.name == "position":
                array = pa.array(np.concatenate([chosen.positions for chosen in waiting]))
            elif field.name == "status":
                array = pa.array([name for chosen in waiting for name in status_names(chosen)])
            elif field.name == "timestamp":
                array = pa.array(rows["timestamp"].astype(np.int64)).cast(field.type)
            elif field.name == "amount":
                self._check_amounts(rows)
                buffer = pa.py_buffer(np.ascontiguousarray(rows["amount"]).tobytes())
                array = pa.Array.from_buffers(field.type, len(rows), [None, buffer])
            elif field.type == pa.binary(16):
                data = np.ascontiguousarray(rows[field.name]).view(np.uint8).reshape(-1, 16)
                buffer = pa.py_buffer(np.ascontiguousarray(data[:, ::-1]).tobytes())
                array = pa.Array.from_buffers(field.type, len(rows), [None, buffer])
            else:
                array = pa.array(np.ascontiguousarray(rows[field.name]))
            arrays.append(array)
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _check_amounts(self, rows: Rows) -> None:
        if int(rows["amount"][:, 1].max()) < _AMOUNT_END >> 64:
            return
        for row in columns(rows):
            if row[3] >= _AMOUNT_END:
                raise ExportUnfit(
                    self._path,
                    f"transfer {row[0]} has an amount of {row[3]}, which is more than 38 digits;"
                    " JSON Lines and CSV hold it",
                )

    def _events(self, waiting: list[Chosen]) -> pa.Table:
        pa = self._pa
        events = [event for chosen in waiting for event in chosen.events]
        names, ids, details = zip(*map(event_cells, events), strict=True)
        table = {
            "position": [event.position for event in events],
            "timestamp": pa.array([event.timestamp for event in events], pa.int64()).cast(
                self._schema.field("timestamp").type
            ),
            "event": names,
            "transfer_id": [int(id_).to_bytes(16, "big") if id_ else None for id_ in ids],
            "details": [text or None for text in details],
        }
        return pa.Table.from_pydict(table, schema=self._schema)
