"""Reading single transfers and moments of time back out of the journal."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np

from journal import codec
from journal.codec import RecordKind, Rows
from journal.model import TIMESTAMP_MAX
from journal.reader import Cursor, Reader, Record
from journal.rows import columns
from journal.storage import Storage
from projections.rules import TransferRow

_RECORDS_KEPT: Final = 8


class Archive:
    """Transfers by position, with the last few records kept open. Thread-safe."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._reader = Reader(path, storage=storage)
        self._lock = threading.Lock()
        self._times_from = TIMESTAMP_MAX
        self._times = np.zeros(1, np.uint64)
        self._kept: OrderedDict[int, _OpenRecord] = OrderedDict()

    def transfer(self, position: int) -> tuple[TransferRow, bool]:
        """The transfer at ``position``, and whether it took effect."""
        with self._lock:
            record = self._open(position)
            return record.transfer(position)

    def row(self, position: int) -> tuple[Rows, bool]:
        """``TRANSFER[1]``, the transfer at ``position``, and whether it took effect."""
        with self._lock:
            return self._open(position).row(position)

    def has_transfer_at(self, timestamp: int) -> bool:
        """Whether a durable transfer took effect at exactly ``timestamp``.

        Transfers are in order of time among themselves, whatever accounts were imported between.
        """
        with self._lock:
            if not self._times_from <= timestamp <= int(self._times[-1]):
                self._find_times(timestamp)
            return bool(np.any(self._times == np.uint64(timestamp)))

    def _find_times(self, timestamp: int) -> None:
        """Keep the times of the first record whose transfers reach ``timestamp``."""
        self._times_from, self._times = TIMESTAMP_MAX, np.zeros(1, np.uint64)
        for record in self._reader.records(Cursor(timestamp=timestamp)):
            if record.kind is not RecordKind.TRANSFERS:
                continue
            rows, statuses = record.rows, record.statuses
            if statuses is not None:
                rows = rows[statuses == codec.CREATED]
            if len(rows) and int(rows["timestamp"][-1]) >= timestamp:
                times = rows["timestamp"].copy()
                self._times_from, self._times = min(timestamp, int(times[0])), times
                return

    def _open(self, position: int) -> _OpenRecord:
        for first, kept in reversed(self._kept.items()):
            if first <= position <= kept.position_last:
                self._kept.move_to_end(first)
                return kept
        record = self._reader.record_at(position)
        if record is None:
            raise AssertionError(f"position {position} is indexed, but not in the journal")
        opened = self._kept[record.position_first] = _OpenRecord(record)
        if len(self._kept) > _RECORDS_KEPT:
            self._kept.popitem(last=False)
        return opened


class _OpenRecord:
    """A record and those of its blocks that were decompressed so far."""

    def __init__(self, record: Record) -> None:
        self._first = record.position_first
        self.position_last = record.position_last
        self._payload = record.payload
        self._statuses = self._payload.statuses()
        self._blocks: dict[int, Rows] = {}

    def transfer(self, position: int) -> tuple[TransferRow, bool]:
        row, took_effect = self.row(position)
        return TransferRow._make(next(iter(columns(row)))), took_effect

    def row(self, position: int) -> tuple[Rows, bool]:
        index = position - self._first
        number, within = divmod(index, codec.BLOCK_ROWS)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._payload.block(number)
        took_effect = self._statuses is None or int(self._statuses[index]) == codec.CREATED
        return block[within : within + 1], took_effect
