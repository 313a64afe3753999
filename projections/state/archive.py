"""Reading transfers and moments of time back out of the journal."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import TIMESTAMP_MAX, Rows
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.reading.row_lookup import TransferLookup
from nostro.journal.rows import columns
from nostro.journal.storage.files import Storage
from nostro.projections.rules.values import TransferRow


class Archive:
    """Transfers by position. Thread-safe."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._lookup = TransferLookup(path, storage)
        self._reader = Reader(path, storage=storage)
        self._lock = threading.Lock()
        self._times_from = TIMESTAMP_MAX
        self._times = np.zeros(1, np.uint64)

    def transfer(self, position: int) -> tuple[TransferRow, bool]:
        """The transfer at ``position``, and whether it took effect."""
        row, took_effect = self._lookup.row(position)
        return TransferRow._make(next(iter(columns(row)))), took_effect

    def rows(self, positions: npt.NDArray[np.int64]) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """``TRANSFER[n]`` at positions that rise, and which of them are transfers with effect."""
        return self._lookup.rows(positions)

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
        for part in self._reader.parts(Cursor(timestamp=timestamp)):
            if part.kind is not RecordKind.TRANSFERS:
                continue
            rows, statuses = part.rows, part.statuses
            if statuses is not None:
                rows = rows[statuses == codec.CREATED]
            if len(rows) and int(rows["timestamp"][-1]) >= timestamp:
                times = rows["timestamp"].copy()
                self._times_from, self._times = min(timestamp, int(times[0])), times
                return
