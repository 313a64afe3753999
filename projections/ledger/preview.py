"""A preview of a ledger: it answers requests as the ledger would, and then forgets them."""

from __future__ import annotations

import bisect
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from nostro.journal.errors import OutOfRange
from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.model import BATCH_EVENTS_MAX, TIMESTAMP_MAX, TRANSFER, Account, Rows
from nostro.journal.rows import (
    account_rows,
    accounts_from_bytes,
    check_ids,
    columns,
    transfer_rows,
)
from nostro.journal.storage.directory import Directory, require_ledger
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.index_set import Indexes
from nostro.projections.checkpoints.restore import restore_indexed
from nostro.projections.deciding.decision import Decision, decide_accounts, decide_transfers
from nostro.projections.deciding.expiry import Expiry
from nostro.projections.deciding.fast_path_columns import ROWS_MIN, decide_by_columns
from nostro.projections.deciding.frontier import Draft, Frontier
from nostro.projections.deciding.timestamps import (
    CLOCK_LEAD_SECONDS_MAX,
    lead_ns,
    next_timestamp,
)
from nostro.projections.indexes.transfer_index import TransferIndex
from nostro.projections.rules.values import TransferRow
from nostro.projections.state.archive import Archive
from nostro.projections.state.ledger_state import LedgerState

_STORED: Final = np.dtype([("row", TRANSFER), ("took_effect", np.bool_)])
_IN_MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024


class LedgerPreview:
    """Accounts and transfers on top of a ledger, decided by the same rules and never written.

    A context manager. It begins with every event that is durable when it is opened, and does not
    follow a process that writes meanwhile. It is for one thread.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
        clock_lead_seconds_max: float = CLOCK_LEAD_SECONDS_MAX,
        storage: Storage | None = None,
        in_memory_bytes_max: int = _IN_MEMORY_BYTES_MAX,
    ) -> None:
        """Read the ledger in ``path``, or begin with an empty one.

        Args:
            clock: the time in ns since the epoch.
            clock_lead_seconds_max: as in :meth:`Ledger.open`.
            in_memory_bytes_max: transfers that need more than this move to a temporary file.

        Raises:
            NotALedger: there is no ledger in ``path``.
            Damage: the journal cannot be read.
        """
        self._clock = clock
        self._lead_ns_max = lead_ns(clock_lead_seconds_max)
        self._indexes: Indexes | None = None
        archive = None
        self._state, ids = LedgerState(), TransferIndex()
        if path is not None:
            storage, directory = storage or Storage(), Directory(Path(path))
            require_ledger(directory)
            restored, self._indexes = restore_indexed(storage, directory)
            archive = Archive(directory.path, storage)
            self._state, ids = restored.state, self._indexes.transfers
            self._state.reservations = None  # only balances at past moments need them
        self._ids = ids
        self._transfers = _Transfers(archive, self._state.position, in_memory_bytes_max)
        self._frontier = Frontier(self._state, ids, self._transfers, threading.RLock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything; close all files."""
        self._transfers.close()
        if self._indexes is not None:
            self._indexes.release()

    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """The accounts that exist, with their balances, in the order asked for."""
        self._expire_due()
        return accounts_from_bytes(self._state.accounts.find(check_ids(ids)))

    def create_accounts(self, accounts: Rows) -> Rows:
        """``CREATE_RESULT[n]``: what the ledger would answer to ``ACCOUNT[n]``."""
        return self._create(RecordKind.ACCOUNTS, account_rows(accounts))

    def create_transfers(self, transfers: Rows) -> Rows:
        """``CREATE_RESULT[n]``: what the ledger would answer to ``TRANSFER[n]``."""
        return self._create(RecordKind.TRANSFERS, transfer_rows(transfers))

    def _create(self, kind: RecordKind, rows: Rows) -> Rows:
        self._expire_due()
        first = next_timestamp(self._clock(), self._frontier.timestamp, self._lead_ns_max)
        if first + len(rows) > TIMESTAMP_MAX:
            raise OutOfRange("timestamp", first + len(rows), TIMESTAMP_MAX)
        decision = self._decide(kind, rows, first)
        if len(decision.rows):
            self._apply(kind, decision)
            self._frontier.timestamp = max(self._frontier.timestamp, first + len(rows) - 1)
        return decision.answer()

    def _decide(self, kind: RecordKind, rows: Rows, timestamp_first: int) -> Decision:
        draft = Draft(self._frontier)
        if kind is RecordKind.ACCOUNTS:
            return decide_accounts(rows, draft, timestamp_first=timestamp_first)
        if len(rows) >= ROWS_MIN:
            decided = decide_by_columns(
                rows, self._frontier, timestamp_first=timestamp_first, wait_for_all=lambda: None
            )
            if decided is not None:
                return decided[0]
        return decide_transfers(rows, draft, timestamp_first=timestamp_first)

    def _apply(self, kind: RecordKind, decision: Decision) -> None:
        first = self._state.position + 1
        decision.fold_into(self._state, self._state.position + len(decision.rows))
        if kind is RecordKind.TRANSFERS:
            positions = range(first, first + len(decision.rows))
            self._ids.add(decision.rows["id"].copy(), positions)
            self._transfers.add(first, decision)
        self._frontier.reset()

    def _expire_due(self) -> None:
        state, now = self._state, self._now()
        while ids := state.pending_transfers.due(now, BATCH_EVENTS_MAX):
            Expiry(ids, now).fold_into(state, state.position + len(ids))
            self._frontier.reset()
            if len(ids) < BATCH_EVENTS_MAX:
                return  # what runs out of time meanwhile expires at the next request
            now = self._now()

    def _now(self) -> int:
        return max(self._clock(), self._frontier.timestamp + 1)


class _Transfers:
    """Transfers by position: the journal's, and those of a preview in memory or a file."""

    def __init__(
        self, archive: Archive | None, position_before: int, in_memory_bytes_max: int
    ) -> None:
        self._archive = archive
        self._position_first = position_before + 1
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - close() closes it
            max_size=in_memory_bytes_max
        )
        self._times: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        """When the transfers of each request took effect; they rise."""
        self._last_times: list[int] = []

    def close(self) -> None:
        self._file.close()

    def add(self, position_first: int, decision: Decision) -> None:
        stored = np.zeros(len(decision.rows), _STORED)
        stored["row"] = decision.rows
        stored["took_effect"] = decision.statuses is None or decision.statuses == CREATED
        self._seek(position_first)
        self._file.write(stored.tobytes())
        times = decision.rows["timestamp"][stored["took_effect"]]
        if len(times):
            self._times.append(times)
            self._last_times.append(int(times[-1]))

    def transfer(self, position: int) -> tuple[TransferRow, bool]:
        """The transfer at ``position``, and whether it took effect."""
        if self._archive is not None and position < self._position_first:
            return self._archive.transfer(position)
        self._seek(position)
        stored = np.frombuffer(self._file.read(_STORED.itemsize), _STORED)
        rows = np.ascontiguousarray(stored["row"])
        return TransferRow._make(next(iter(columns(rows)))), bool(stored["took_effect"][0])

    def has_transfer_at(self, timestamp: int) -> bool:
        """Whether one of them took effect at exactly ``timestamp``."""
        index = bisect.bisect_left(self._last_times, timestamp)
        if index < len(self._times) and bool(np.any(self._times[index] == timestamp)):
            return True
        return self._archive is not None and self._archive.has_transfer_at(timestamp)

    def _seek(self, position: int) -> None:
        self._file.seek((position - self._position_first) * _STORED.itemsize)
