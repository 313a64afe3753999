"""Requests on their way: decided, appended to the journal, durable, folded into the state.

::

    request -> decide against the frontier -> encode -> append -> (sync, HEAD)
            -> fold into the durable state -> answer

Two locks. One orders decisions, so the journal's order is the order in which requests saw each
other. The other guards the durable state, which look-ups read. Nobody holds either while waiting
for the disk, with two exceptions: pending transfers expire before the next decision, and many
transfers that depend on balances wait until nothing is in flight.

While the disk writes a request, the one before it is folded in. So the last request stays unfolded
until the next comes or somebody reads, if it is sure that all of it takes effect.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import JournalFull, LedgerClosed, OutOfRange, WriterPoisoned
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import BATCH_EVENTS_MAX, CREATE_RESULT, TIMESTAMP_MAX, Rows
from nostro.journal.writing.writer import QueuedRecord, Writer
from nostro.projections.checkpoints.checkpointer import Checkpointer
from nostro.projections.checkpoints.index_set import Indexes
from nostro.projections.deciding.decision import Decision, decide_accounts, decide_transfers
from nostro.projections.deciding.expiry import Expiry
from nostro.projections.deciding.fast_path_columns import ROWS_MIN, decide_by_columns
from nostro.projections.deciding.fast_path_rows import decide_by_rows
from nostro.projections.deciding.frontier import Draft, Frontier
from nostro.projections.deciding.timestamps import next_timestamp
from nostro.projections.rules.posting import AccountSlots, AppliedTransfer
from nostro.projections.state.archive import Archive
from nostro.projections.state.ledger_state import LedgerState

Decided = tuple[Decision, Draft]


class _InFlightRefused(Exception):
    """Records that were in flight are not in the journal: what was seen on top of them is void."""


class _InFlight(NamedTuple):
    queued: QueuedRecord
    kind: RecordKind
    decision: Decision | Expiry
    draft: Draft
    applied: list[AppliedTransfer] | None
    """Where to put what its transfers did."""


class Pipeline:
    """Takes requests from any thread to the journal and into ``state``."""

    def __init__(
        self,
        writer: Writer,
        state: LedgerState,
        indexes: Indexes,
        state_lock: threading.RLock,
        *,
        archive: Archive,
        clock: Callable[[], int],
        lead_ns_max: float,
        checkpointer: Checkpointer,
        fast_paths: bool,
    ) -> None:
        """Nothing is done yet.

        Args:
            state_lock: held while ``state`` and ``indexes`` change.
            archive: where transfers are found that are asked for again.
            clock: the time in ns since the epoch.
            lead_ns_max: how far the newest event may be ahead of the clock.
            checkpointer: learns of each frame folded in.
            fast_paths: decide what is sure to be created without the rules.
        """
        self._writer = writer
        self._state = state
        self._indexes = indexes
        self._state_lock = state_lock
        self._clock = clock
        self._lead_ns_max = lead_ns_max
        self._checkpointer = checkpointer
        self._fast_paths = fast_paths
        self._deciding = threading.Lock()
        self._frontier = Frontier(state, indexes.transfers, archive, state_lock)
        self._in_flight: deque[_InFlight] = deque()
        self._generation = writer.generation
        self._is_stopped = False
        self._note_counts()

    def stop(self) -> bool:
        """Take no more requests; False if that was so already."""
        with self._deciding:
            was_going, self._is_stopped = not self._is_stopped, True
        return was_going

    def finish(self) -> None:
        """Wait until what is in flight is durable, and fold it in.

        Raises:
            JournalFull, WriterPoisoned: the last of it was refused, or may be lost.
        """
        last = self._last_in_flight()
        if last is not None:
            try:
                self._writer.wait(last)
            finally:
                self.fold_durable()

    def decide(
        self, kind: RecordKind, rows: Rows, applied: list[AppliedTransfer] | None = None
    ) -> tuple[npt.NDArray[np.void], QueuedRecord | None]:
        """Decide a request and put what happened in line for the journal.

        Args:
            applied: takes the transfers that took effect and their accounts after each.

        Returns:
            ``CREATE_RESULT[n]``, and the queued record to complete before it may be given out.

        Raises:
            LedgerClosed, WriterPoisoned: nothing was decided.
            WrongClock: the clock contradicts the ledger; nothing was decided.
            OutOfRange: there are no timestamps left.
        """
        if not len(rows):
            return np.zeros(0, CREATE_RESULT), None
        with self._deciding:
            self._check_going()
            writer = self._writer
            while True:
                if self._generation != writer.generation:
                    self._retreat()
                first = self._next_timestamp()
                if 0 < self._state.pending_transfers.next_expiry <= first:
                    self._expire_due()
                    first = self._next_timestamp()
                if first + len(rows) > TIMESTAMP_MAX:
                    raise OutOfRange("timestamp", first + len(rows), TIMESTAMP_MAX)
                try:
                    decision, draft = self._decide_rows(kind, rows, first)
                except _InFlightRefused:
                    continue
                if not len(decision.rows):
                    # The answer may rest on a record in flight: give it out no sooner.
                    return decision.answer(), self._last_in_flight()
                queued = self._append(kind, decision)
                if queued is None:
                    continue  # what this was decided on top of has just been refused
                self._take(_InFlight(queued, kind, decision, draft, applied))
                self._frontier.timestamp = first + len(rows) - 1
                self.fold_durable()  # those before it, while the disk is at work
                return decision.answer(), queued

    def interrupted(self, cause: BaseException) -> WriterPoisoned:
        """The error for requests that an interrupted caller was carrying out for others."""
        path = self._writer.directory.path
        return WriterPoisoned(path, "answering", f"interrupted by {cause!r}")

    def wait_for_disk(self) -> None:
        """Return once what is in flight now is durable.

        Raises:
            JournalFull, WriterPoisoned: it never will be.
        """
        last = self._last_in_flight()
        if last is not None:
            self._writer.wait(last)

    def complete(self, queued: QueuedRecord | None) -> None:
        """Return once what was decided with ``queued`` may be given out.

        Raises:
            JournalFull, WriterPoisoned: it may not.
        """
        if queued is None:
            return
        self._writer.wait(queued)
        if not self._may_stay_unfolded(queued):
            self.fold_durable()

    def _may_stay_unfolded(self, queued: QueuedRecord) -> bool:
        try:
            (last,) = self._in_flight
        except (ValueError, RuntimeError):  # none or several, or they have just changed
            return False
        return (
            last.queued is queued
            and last.applied is None
            and isinstance(last.decision, Decision)
            and last.decision.may_stay_unfolded
            and not self._checkpointer.is_waiting_for(queued.position_last)
        )

    def _wait_for_all(self) -> None:
        """Wait until nothing is in flight. The caller holds the lock on decisions.

        Raises:
            _InFlightRefused: there was no room for some of it, and it is forgotten.
        """
        last = self._last_in_flight()
        if last is not None:
            with contextlib.suppress(JournalFull):  # its own caller gets the error
                self._writer.wait(last)
            self.fold_durable()
        if self._generation != self._writer.generation:
            raise _InFlightRefused

    def _take(self, taken: _InFlight) -> None:
        """A record was put in line: it counts for the requests after it."""
        try:
            self._frontier.take(taken.draft, taken.queued.position_last)
            self._in_flight.append(taken)
        except BaseException as cause:
            self._writer.poison(cause)  # in line for the journal, but not for the state
            raise

    def _next_timestamp(self) -> int:
        return next_timestamp(self._clock(), self._frontier.timestamp, self._lead_ns_max)

    def check_clock(self) -> None:
        """Return if an event could be recorded by this clock.

        Raises:
            WrongClock: it contradicts the ledger.
        """
        self._next_timestamp()

    @property
    def is_expiry_due(self) -> bool:
        """Whether a pending transfer has run out of time that has not expired yet."""
        next_expiry = self._state.pending_transfers.next_expiry
        return next_expiry != 0 and next_expiry <= max(self._clock(), self._frontier.timestamp + 1)

    def _expire_due(self) -> None:
        """Put in line that pending transfers have run out of time.

        The caller holds the lock on decisions. What is in flight is waited for: it may resolve
        some of them.
        """
        writer = self._writer
        while True:
            try:
                self._wait_for_all()
            except _InFlightRefused:
                self._retreat()
            now = self._next_timestamp()
            with self._state_lock:
                ids = self._state.pending_transfers.due(now, BATCH_EVENTS_MAX)
            if not ids:
                return
            draft, expiry = Draft(self._frontier), Expiry(ids, now)
            for id_ in ids:
                draft.expire(id_)
            queued = writer.append(
                codec.encode_domain_events(expiry.encoded()),
                kind=RecordKind.EVENTS,
                event_count=len(ids),
                timestamp_min=expiry.timestamp_min,
                timestamp_max=expiry.timestamp_max,
                generation=self._generation,
            )
            if queued is not None:
                self._take(_InFlight(queued, RecordKind.EVENTS, expiry, draft, None))
                self._frontier.timestamp = expiry.timestamp_max
                if len(ids) < BATCH_EVENTS_MAX:
                    return

    def expire(self) -> None:
        """Let what has run out of time expire, durably, though nobody asks for anything else."""
        if not self.is_expiry_due:
            return
        with self._deciding:
            self._check_going()
            self._expire_due()
        self.finish()

    def _decide_rows(self, kind: RecordKind, rows: Rows, timestamp_first: int) -> Decided:
        frontier = self._frontier
        if kind is RecordKind.TRANSFERS and self._fast_paths:
            sure = self._decide_fast(rows, timestamp_first)
            if sure is not None:
                return sure
        self.fold_durable()
        if frontier.unmerged_rows >= ROWS_MIN:  # sooner on the disk than seen through one by one
            self._wait_for_all()
        frontier.merge()
        draft = Draft(frontier)
        decide = decide_transfers if kind is RecordKind.TRANSFERS else decide_accounts
        return decide(rows, draft, timestamp_first=timestamp_first), draft

    def _decide_fast(self, rows: Rows, timestamp_first: int) -> Decided | None:
        """The decision if all of it is easily seen to be created."""
        frontier = self._frontier
        if len(rows) < ROWS_MIN:
            return decide_by_rows(rows, frontier, timestamp_first=timestamp_first)
        return decide_by_columns(
            rows, frontier, timestamp_first=timestamp_first, wait_for_all=self._wait_for_all
        )

    def _append(self, kind: RecordKind, decision: Decision) -> QueuedRecord | None:
        return self._writer.append(
            codec.encode_rows(kind, decision.rows, decision.statuses),
            kind=kind,
            event_count=len(decision.rows),
            timestamp_min=decision.timestamp_min,
            timestamp_max=decision.timestamp_max,
            generation=self._generation,
        )

    def _last_in_flight(self) -> QueuedRecord | None:
        try:
            return self._in_flight[-1].queued
        except IndexError:  # none, or another thread has just folded the last
            return None

    def reached(self) -> tuple[int, int]:
        """Position and highest timestamp of what is durable, folded in or not. Takes no lock."""
        position, timestamp = self._state.position, self._state.timestamp
        for queued in (item.queued for item in self._in_flight.copy()):
            if queued.durable:
                position = max(position, queued.position_last)
                timestamp = max(timestamp, queued.timestamp_max)
        return position, timestamp

    def counts(self) -> tuple[int, int]:
        """Accounts, and transfers that took effect, durable, folded in or not. Takes no lock."""
        durable = [item for item in self._in_flight.copy() if item.queued.durable]
        position, accounts, transfers = self._counts  # after the copy: what has left it is counted
        for item in durable:
            if item.queued.position_last > position and isinstance(item.decision, Decision):
                created = item.decision.created
                accounts += created if item.kind is RecordKind.ACCOUNTS else 0
                transfers += created if item.kind is RecordKind.TRANSFERS else 0
        return accounts, transfers

    def _note_counts(self) -> None:
        state = self._state
        self._counts = state.position, state.accounts.count, state.transfer_count

    @property
    def is_behind(self) -> bool:
        """Whether something durable is not in the state yet."""
        in_flight = self._in_flight
        try:
            return bool(in_flight) and in_flight[0].queued.durable
        except IndexError:  # another thread has just folded the last
            return False

    def fold_durable(self) -> None:
        """Fold everything that became durable into the state, in order."""
        if not self.is_behind:
            return
        with self._state_lock:
            try:
                while self.is_behind:
                    self._fold(self._in_flight[0])
            except BaseException as cause:
                self._writer.poison(cause)  # in the journal, but perhaps half in the state
                raise

    def _fold(self, done: _InFlight) -> None:
        decision, queued = done.decision, done.queued
        last = queued.position_last
        decision.fold_into(self._state, last, done.applied)
        if isinstance(decision, Decision) and done.kind is RecordKind.TRANSFERS:
            found = decision.precomputed
            slots = found if isinstance(found, AccountSlots) else None
            first = last - len(decision.rows) + 1
            self._indexes.add(range(first, last + 1), decision.rows, decision.statuses, slots)
        self._frontier.drop(done.draft, last)
        self._note_counts()
        self._in_flight.popleft()
        self._checkpointer.advance(last, queued.sha256)

    def _retreat(self) -> None:
        """The writer refused records in line: forget what was decided on top of the disk."""
        self._writer.check_usable()
        self.fold_durable()
        with self._state_lock:
            self._generation = self._writer.generation
            self._in_flight.clear()
            self._frontier.reset()

    def _check_going(self) -> None:
        if self._is_stopped:
            raise LedgerClosed(self._writer.directory.path)
