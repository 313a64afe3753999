"""A ledger's indexes, as one: loaded from their runs, completed from the journal, kept on disk.

They are derived. What no sound run describes is read from the journal again; for reservations that
means to fold it, from the nearest checkpoint before the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import takewhile
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.storage.directory import Directory, read_head
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import Restored, apply_record, restore_state
from nostro.projections.checkpoints.runner import holds_frame
from nostro.projections.indexes.posting_index import PostingIndex
from nostro.projections.indexes.reservation_index import ReservationIndex
from nostro.projections.indexes.run_file import Span
from nostro.projections.indexes.run_stack import Run, RunFiles, RunStack
from nostro.projections.indexes.transfer_index import Column, TransferIndex, run_of_records
from nostro.projections.rules.posting import AccountSlots
from nostro.projections.state.ledger_state import LedgerState

R = TypeVar("R", bound=Run)

_RECENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of so many changes recorded while the journal is read again a run is made at once."""
_LISTINGS_MAX: Final = 10
"""A writer may merge runs, and remove them, while they are read: then what they became is there."""


class Indexes:
    """Ids, postings and reservations.

    Whoever opens a ledger calls, in this order: :meth:`load`;
    :func:`restore_state` with :meth:`observe` and ``reservations``;
    :meth:`complete`.
    """

    def __init__(self, storage: Storage, directory: Directory) -> None:
        self._storage = storage
        self._directory = directory
        self.transfers = TransferIndex()
        self.postings = PostingIndex(self._slots_of)
        self.reservations = ReservationIndex()
        self._state = LedgerState()
        self.files = RunFiles(storage, directory.indexes, read_head(storage, directory).ledger_id)
        self._ids: list[tuple[int, Column]] = []
        self._postings_missing_from: int | None = None
        self._reservations_missing_from: int | None = None
        self._is_observing = False

    def load(self) -> None:
        """Take the runs on disk that are sound and follow on one another."""
        reader = Reader(self._directory.path, storage=self._storage)
        ends_at = cache(partial(holds_frame, reader))  # the runs of each index end where others do
        for stack in self.stacks:
            _load(stack, self.files, ends_at)

    def observe(self, state: LedgerState, record: Record) -> None:
        """Take in a record that was folded into ``state``."""
        self._state = state
        self._begin(record.position_first - 1)
        self._take_ids(record)
        self.postings.take(record)
        if self.reservations.recent_bytes > _RECENT_BYTES_MAX:
            self.reservations.freeze()
            self.reservations.finish_freeze(record.position_last, record.sha256)

    def complete(self, restored: Restored) -> None:
        """Make what is still missing: between the runs on disk and what was replayed."""
        self._state = restored.state
        self._begin(restored.state.position)
        replayed_from = restored.checkpoint.position if restored.checkpoint is not None else 0
        self._complete_ids_and_postings(restored, replayed_from)
        self._complete_reservations(restored, replayed_from)
        restored.state.reservations = self.reservations

    # keeping

    def add(
        self, position_first: int, rows: Rows, statuses: Any, slots: AccountSlots | None = None
    ) -> None:
        """Take in a request's transfers, now durable and folded. Call with the writer held off.

        Args:
            slots: those of all the rows' accounts, if they are known.
        """
        self.transfers.add(rows["id"], position_first)
        self.postings.add(position_first, rows, statuses, slots)

    def freeze(self) -> None:
        """Set what is newer than the runs aside, to become runs. Call with the writer held off."""
        self.transfers.freeze()
        self.postings.freeze()
        self.reservations.freeze()

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> None:
        """Make runs of what was set aside, which ends at ``position_last``."""
        self.transfers.finish_freeze(position_last, frame_sha256)
        self.postings.finish_freeze(position_last, frame_sha256)
        self.reservations.finish_freeze(position_last, frame_sha256)

    @property
    def stacks(self) -> tuple[RunStack[Any], ...]:
        return self.transfers.stack, self.postings.stack, self.reservations.stack

    @property
    def are_stored(self) -> bool:
        """Whether each run of each index is in a file."""
        return all(stack.is_stored for stack in self.stacks)

    def store(self) -> None:
        """Write the new runs.

        Raises:
            OSError: something could not be written; the next time writes it.
        """
        if not self._storage.exists(self.files.folder):
            self._storage.make_directory(self.files.folder)
        for stack in self.stacks:
            stack.store(self.files)

    def release(self) -> None:
        """Let go of all files. Nothing is found any more."""
        for stack in self.stacks:
            stack.release()

    def _slots_of(self, ids: Column) -> npt.NDArray[np.int64]:
        return self._state.accounts.slots_of(ids)

    # completing

    def _begin(self, position: int) -> None:
        """What is observed follows ``position``: what no run describes before it is missing."""
        if self._is_observing:
            return
        self._is_observing = True
        if self.postings.stack.position < position:
            self._postings_missing_from = self.postings.stack.position + 1
            self.postings.stack.position = position
        if self.reservations.stack.position < position:
            self._reservations_missing_from = self.reservations.stack.position + 1
            self.reservations.stack.position = position

    def _take_ids(self, record: Record) -> None:
        if record.kind is not RecordKind.TRANSFERS:
            return
        if record.position_first > self.transfers.stack.position:
            self._ids.append((record.position_first, record.rows["id"].copy()))

    def _complete_ids_and_postings(self, restored: Restored, replayed_from: int) -> None:
        replayed, self._ids = self._ids, []
        missing_from = min(
            self.transfers.stack.position + 1, self._postings_missing_from or replayed_from + 1
        )
        missing = PostingIndex(self._state.accounts.slots_of)
        missing.stack.position = (self._postings_missing_from or replayed_from + 1) - 1
        for record in self._records(missing_from, replayed_from):
            self._take_ids(record)
            missing.take(record)
        if self._postings_missing_from is not None:
            missing.freeze()
            missing.finish_freeze(replayed_from, _frame_sha256(restored))
            self.postings.stack.insert(missing.stack.runs)
        if self.transfers.stack.position < restored.state.position:
            span = Span(
                self.transfers.stack.position + 1, restored.state.position, restored.frame_sha256
            )
            self.transfers.stack.append(run_of_records(span, self._ids + replayed))
        self.transfers.know_greatest()
        self._ids = []

    def _complete_reservations(self, restored: Restored, replayed_from: int) -> None:
        first = self._reservations_missing_from
        if first is None:
            return
        missing = ReservationIndex()
        missing.stack.position = first - 1
        if restored.state.pending_transfers.has_been_any:
            before = restore_state(self._storage, self._directory, position_max=first - 1)
            before.state.reservations = missing
            for record in self._records(first, replayed_from):
                apply_record(before.state, record)
                if missing.recent_bytes > _RECENT_BYTES_MAX:
                    missing.freeze()
                    missing.finish_freeze(record.position_last, record.sha256)
        missing.freeze()
        missing.finish_freeze(replayed_from, _frame_sha256(restored))
        self.reservations.stack.insert(missing.stack.runs)

    def _records(self, first: int, last: int) -> Iterator[Record]:
        """The records of positions ``first`` to ``last``; both are where records begin and end."""
        if first > last:
            return
        reader = Reader(self._directory.path, storage=self._storage)
        yield from takewhile(
            lambda record: record.position_first <= last,
            reader.records(Cursor(position=first)),
        )


def _load(stack: RunStack[Any], files: RunFiles, ends_at: Callable[[int, bytes], bool]) -> None:
    found = _sound_runs(stack, files)
    for run in sorted(found, key=lambda run: (run.span.position_first, -run.span.position_last)):
        span = run.span
        if span.position_first == stack.position + 1 and ends_at(
            span.position_last, span.frame_sha256
        ):
            stack.append(run, stored=True)


def _sound_runs(stack: RunStack[R], files: RunFiles) -> list[R]:
    """Those in files. One that is damaged is left out: it is made from the journal again."""
    found: dict[str, R] = {}
    for _ in range(_LISTINGS_MAX):
        vanished = False
        for name in files.names(stack.kind.suffix):
            if name not in found:
                try:
                    found[name] = stack.read(files, name)
                except FileNotFoundError:
                    vanished = True
                except (CorruptCheckpoint, OSError):
                    continue
        if not vanished:
            break
    return list(found.values())


def _frame_sha256(restored: Restored) -> bytes:
    """The hash of the frame before what was replayed."""
    if restored.checkpoint is None:
        raise AssertionError("nothing can be missing before the first event")
    return restored.checkpoint.frame_sha256
