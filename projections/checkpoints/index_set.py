"""A ledger's indexes, as one: loaded from their runs, completed by a replay, kept on disk.

They are derived. What no sound run describes is replayed, from the newest checkpoint before it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.parts import Positions
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.storage.directory import Directory, read_head
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import holds_frame
from nostro.projections.indexes.posting_index import PostingIndex
from nostro.projections.indexes.reservation_index import ReservationIndex
from nostro.projections.indexes.run_file import RunFiles
from nostro.projections.indexes.run_stack import Run, RunStack
from nostro.projections.indexes.transfer_index import Column, TransferIndex
from nostro.projections.rules.posting import AccountSlots
from nostro.projections.state.ledger_state import LedgerState

R = TypeVar("R", bound=Run)

_WITH_TRANSFERS: Final = (RecordKind.TRANSFERS, RecordKind.COMMANDS)

RUN_ROWS: Final = 500_000
"""A replay stores its rows, and its changes to reservations, once there are this many."""
_RECENT_BYTES_MAX: Final = 64 * 1024 * 1024
_LISTINGS_MAX: Final = 10
"""A writer may merge runs and remove them during a read. The folder is then listed again."""


class Indexes:
    """Ids, postings and reservations. Call :meth:`load`, then :func:`restore_state`."""

    def __init__(self, storage: Storage, directory: Directory) -> None:
        self._storage = storage
        self._directory = directory
        self._state = LedgerState()
        self.transfers = TransferIndex()
        self.postings = PostingIndex(self._slots_of)
        self.reservations = ReservationIndex()
        self.files = RunFiles(storage, directory.indexes, read_head(storage, directory).ledger_id)
        self._rows = 0
        """How many were replayed since the last run."""

    def load(self) -> None:
        """Take the runs on disk that are sound and follow on one another."""
        reader = Reader(self._directory.path, storage=self._storage)
        ends_at = cache(partial(holds_frame, reader))  # the runs of each index end where others do
        for stack in self.stacks:
            _load(stack, self.files, ends_at)
        self.transfers.know_greatest()

    @property
    def position(self) -> int:
        """The runs of each index describe the events up to here, or further."""
        return min(stack.position for stack in self.stacks)

    # replaying

    def attach(self, state: LedgerState) -> None:
        """What is taken in from now on is folded into ``state``."""
        self._state = state

    def begin(self, record: Record) -> None:
        """Call before a record is folded into the state."""
        if record.position_first > self.reservations.stack.position:
            self._state.reservations = self.reservations

    def take(self, record: Record) -> None:
        """Take in a record that was folded into the state, unless runs hold it."""
        first = record.position_first
        part = record.part(RecordKind.TRANSFERS) if record.kind in _WITH_TRANSFERS else None
        if part is not None:
            if first > self.transfers.stack.position:
                self.transfers.add(part.rows["id"].copy(), part.positions)
            if first > self.postings.stack.position:
                self.postings.add(part.positions, part.rows, part.statuses)
            self._rows += len(part.rows)
        if self._rows >= RUN_ROWS or self.reservations.recent_bytes > _RECENT_BYTES_MAX:
            self.freeze()
            self.finish_freeze(record.position_last, record.sha256)
            self._rows = 0

    # keeping

    def add(
        self, positions: Positions, rows: Rows, statuses: Any, slots: AccountSlots | None = None
    ) -> None:
        """Take in a request's transfers, now durable and folded. Call with the writer held off.

        Args:
            slots: those of all the rows' accounts, if they are known.
        """
        self.transfers.add(rows["id"], positions)
        self.postings.add(positions, rows, statuses, slots)

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


def _load(stack: RunStack[Any], files: RunFiles, ends_at: Callable[[int, bytes], bool]) -> None:
    found: dict[str, Any] = {}
    try:
        _read_sound(stack, files, found)
        spans = {name: run.span for name, run in found.items()}
        for name in sorted(spans, key=lambda n: (spans[n].position_first, -len(spans[n]))):
            span = spans[name]
            if span.position_first == stack.position + 1 and ends_at(
                span.position_last, span.frame_sha256
            ):
                stack.append(found[name], stored=True)
    finally:
        found.clear()  # else mapped until an error is forgotten


def _read_sound(stack: RunStack[R], files: RunFiles, found: dict[str, R]) -> None:
    """Read those in files. One that is damaged is left out: it is made from the journal again."""
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
