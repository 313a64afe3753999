"""The ledger: decides requests, appends what follows to the journal, answers once it is durable.

::

    caller -> create_transfers -> decide against the frontier -> encode -> append -> (sync, HEAD)
           -> fold into the durable state -> answer

Two locks. One orders decisions, so the journal's order is the order in which requests saw each
other. The other guards the durable state, which look-ups read. Nobody holds either while waiting
for the disk.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, Self, overload

import attrs
import numpy as np
import numpy.typing as npt

from journal import codec
from journal.codec import RecordKind, Rows
from journal.directory import Directory, require_ledger
from journal.errors import (
    InvalidField,
    JournalError,
    JournalFull,
    LedgerClosed,
    OutOfRange,
    ReadOnly,
)
from journal.model import (
    BATCH_EVENTS_MAX,
    CREATE_RESULT,
    TIMESTAMP_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    QueryFilter,
    Transfer,
)
from journal.recovery import RecoveryReport
from journal.rows import (
    account_rows,
    accounts_from_rows,
    copy_rows,
    transfer_rows,
    transfers_from_rows,
)
from journal.segment import SEGMENT_BYTES_MAX
from journal.storage import Storage
from journal.writer import SyncMode, Ticket, Writer
from projections.archive import Archive
from projections.changes import ChangeEvent, change_events
from projections.checkpoint import Checkpoint, checkpoint_witnesses
from projections.checkpointer import CHECKPOINT_EVENTS, CHECKPOINT_SECONDS, Checkpointer
from projections.columns import decide_plain
from projections.decision import (
    Decision,
    decide_accounts,
    decide_transfers,
)
from projections.expiry import EXPIRY_SECONDS, Expiry, ExpiryTimer, expire
from projections.frontier import Draft, Frontier
from projections.indexes.index_set import Indexes
from projections.past import PastLedger
from projections.queries import (
    Selection,
    account_selection,
    query_selection,
    select_accounts,
    select_balances,
    select_transfers,
)
from projections.restore import Restored, restore_state
from projections.rules import HISTORY, AccountState, TransferRow
from projections.signals import uninterrupted

_ACCOUNT_STATUS: Final = {int(status): status for status in CreateAccountStatus}
_TRANSFER_STATUS: Final = {int(status): status for status in CreateTransferStatus}
"""By number: calling an enum takes longer than deciding the transfer."""


@attrs.frozen
class OpenReport:
    """What opening did: the journal's recovery, and where the state came from."""

    recovery: RecoveryReport | None
    """None for a ledger opened read-only."""
    checkpoint: Checkpoint | None
    checkpoints_refused: tuple[str, ...]
    events_replayed: int
    seconds: float


@attrs.frozen
class TransferWithBalances(CreateTransferResult):
    """A result, and for a transfer that was created the balances of its accounts just after it."""

    debit_balance: AccountBalance | None = None
    credit_balance: AccountBalance | None = None


Posting = tuple[TransferRow, AccountState, AccountState]
"""A transfer that took effect, its debit and its credit account just after it."""


@attrs.frozen(eq=False)
class _InFlight:
    ticket: Ticket
    kind: RecordKind
    decision: Decision | Expiry
    draft: Draft
    postings: list[Posting] | None
    """Where to put what its transfers did."""


class Ledger:
    """A double-entry ledger in a directory. Thread-safe; use :meth:`open`.

    Methods, arguments, results and statuses are those of TigerBeetle's synchronous client.
    """

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        checkpoint_events: int = CHECKPOINT_EVENTS,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        expiry_seconds: float = EXPIRY_SECONDS,
        sync: SyncMode = "group",
        clock: Callable[[], int] = time.time_ns,
        storage: Storage | None = None,
    ) -> Ledger:
        """Open the ledger in ``path``, recovering it first if need be.

        Args:
            create: make a new ledger where there is none.
            read_only: take no lock and write nothing; the ledger as HEAD vouches for it now,
                while another process may be writing to it.
            segment_bytes_max: size at which a segment is sealed.
            checkpoint_events: write a checkpoint after so many events.
            checkpoint_seconds: write one so many seconds after the first event since the last.
            expiry_seconds: look so often for pending transfers that have run out of time, when no
                request or look-up does.
            sync: "group" syncs HEAD at most a second late, "strict" with every group. What is
                acknowledged is on disk either way.
            clock: the time in ns since the epoch.

        Raises:
            InvalidField: an argument is out of range.
            NotALedger, NotOwner, LedgerLocked, UnsupportedFormat: nothing was touched.
            Damage: the journal is not as it was written. Nothing is lost by having tried: at most
                a torn tail was put in quarantine.
        """
        if checkpoint_events < 1:
            raise InvalidField("checkpoint_events", checkpoint_events, "must be at least 1")
        if not checkpoint_seconds > 0:
            raise InvalidField("checkpoint_seconds", checkpoint_seconds, "must be positive")
        if not expiry_seconds > 0:
            raise InvalidField("expiry_seconds", expiry_seconds, "must be positive")
        storage = storage or Storage()
        directory = Directory(Path(path))
        writer = None
        if read_only:
            require_ledger(directory)
        else:
            writer = Writer.open(
                directory.path,
                create=create,
                segment_bytes_max=segment_bytes_max,
                sync=sync,
                storage=storage,
                witnesses=checkpoint_witnesses,
            )
        try:
            indexes = Indexes(storage, directory)
            indexes.load()
            restored = restore_state(
                storage, directory, history=indexes.balances, observe=indexes.observe
            )
            indexes.complete(restored)
            ledger = cls(storage, directory, writer, restored, indexes, clock, expiry_seconds)
        except BaseException:
            if writer is not None:
                writer.close()
            raise
        ledger._checkpointer.start(checkpoint_events, checkpoint_seconds)
        if writer is not None:
            ledger._timer.start()
        return ledger

    def __init__(
        self,
        storage: Storage,
        directory: Directory,
        writer: Writer | None,
        restored: Restored,
        indexes: Indexes,
        clock: Callable[[], int],
        expiry_seconds: float,
    ) -> None:
        self.path = directory.path
        self.ledger_id = restored.ledger_id
        self.report = OpenReport(
            writer.recovery if writer is not None else None,
            restored.checkpoint,
            restored.checkpoints_refused,
            restored.events_replayed,
            restored.seconds,
        )
        self._storage = storage
        self._directory = directory
        self._writer = writer
        self._clock = clock
        self._state = restored.state
        self._indexes = indexes
        self._archive = Archive(directory.path, storage)
        self._queried = Archive(directory.path, storage)
        """Apart, so that nobody who decides waits for a query."""
        self._deciding = threading.Lock()
        self._settling = threading.Lock()
        self._frontier = Frontier(
            self._state,
            indexes.transfers,
            self._settling,
            fetch=self._archive.transfer,
            has_transfer_at=self._archive.has_transfer_at,
        )
        self._in_flight: deque[_InFlight] = deque()
        self._generation = writer.generation if writer is not None else 0
        self._closed = False
        self._timer = ExpiryTimer(self._expire, expiry_seconds)
        self._checkpointer = Checkpointer(
            storage, directory, self._state, indexes, self._settling,
            frame_sha256=restored.frame_sha256, ledger_id=restored.ledger_id,
            checkpointed=restored.checkpoint, writable=writer is not None,
            before=self._sync_head,
        )  # fmt: skip

    # --- writing ---

    @overload
    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    def create_accounts(
        self, accounts: Sequence[Account] | Rows
    ) -> list[CreateAccountResult] | npt.NDArray[np.void]:
        """Create accounts; the answer has one result for each, in order, once they are durable.

        Args:
            accounts: a list, or ``ACCOUNT[n]``, which is answered with ``CREATE_RESULT[n]``.

        Raises:
            InvalidField, BatchTooLarge: nothing was created.
            JournalFull: no room; nothing was created, and the ledger stays usable.
            WriterPoisoned: the disk failed; reopen, and look the ids up.
        """
        rows = account_rows(accounts)
        results = uninterrupted(self._request, RecordKind.ACCOUNTS, rows)
        if isinstance(accounts, np.ndarray):
            return results
        return [
            CreateAccountResult(timestamp, _ACCOUNT_STATUS[status])
            for timestamp, status, _ in results.tolist()
        ]

    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[False] = False
    ) -> list[CreateTransferResult]: ...
    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[True]
    ) -> list[TransferWithBalances]: ...
    @overload
    def create_transfers(self, transfers: Rows) -> npt.NDArray[np.void]: ...
    def create_transfers(
        self, transfers: Sequence[Transfer] | Rows, *, balances: bool = False
    ) -> Sequence[CreateTransferResult] | npt.NDArray[np.void]:
        """Create transfers; the answer has one result for each, in order, once they are durable.

        Args:
            transfers: a list, or ``TRANSFER[n]``, which is answered with ``CREATE_RESULT[n]``.
            balances: answer with :class:`TransferWithBalances`: what each of a list of transfers
                left its accounts with, whatever else happened meanwhile.

        Raises:
            InvalidField, BatchTooLarge: nothing was created.
            JournalFull: no room; nothing was created, and the ledger stays usable.
            WriterPoisoned: the disk failed; reopen, and look the ids up.
        """
        rows = transfer_rows(transfers)
        if balances:
            if isinstance(transfers, np.ndarray):
                raise InvalidField("balances", balances, "goes with a list, not with rows")
            postings: list[Posting] = []
            results = uninterrupted(self._request, RecordKind.TRANSFERS, rows, postings)
            return _with_balances(results, postings)
        results = uninterrupted(self._request, RecordKind.TRANSFERS, rows)
        if isinstance(transfers, np.ndarray):
            return results
        return [
            CreateTransferResult(timestamp, _TRANSFER_STATUS[status])
            for timestamp, status, _ in results.tolist()
        ]

    # --- reading ---

    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """The accounts that exist, with their balances, in the order asked for."""
        self._expire_before_reading()
        with self._settling:
            rows = self._state.accounts.find(ids)
        return accounts_from_rows(rows)

    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked for."""
        return transfers_from_rows(self.transfer_rows(ids)[0])

    def transfer_rows(self, ids: Iterable[int]) -> tuple[Rows, list[int]]:
        """``TRANSFER[m]`` of those that took effect, and their positions in the journal."""
        self._check_open()
        durable = self._state.position
        found = [self._indexes.transfers.find(id_) for id_ in ids]
        wanted = np.array([p for p in found if p is not None and p <= durable], np.int64)
        rising, places = np.unique(wanted, return_inverse=True)
        rows, took_effect = self._archive.rows(rising)
        places = places[took_effect[places]]
        return rows[places], rising[places].tolist()

    def accounts(self) -> Rows:
        """``ACCOUNT[n]``: every account with its balances, in order of creation."""
        self._expire_before_reading()
        with self._settling:
            return copy_rows(self._state.accounts.rows)

    def at(self, *, timestamp: int | None = None, position: int | None = None) -> PastLedger:
        """The ledger at a past moment: at ``timestamp`` (ns) or after ``position``, included.

        Raises:
            InvalidField: neither or both are given.
            OutOfRange: the journal does not reach that position, or there is no such time.
        """
        self._check_open()
        if (timestamp is None) == (position is None):
            raise InvalidField("at", None, "takes either a timestamp or a position")
        if timestamp is not None and not 0 <= timestamp <= TIMESTAMP_MAX:
            raise OutOfRange("timestamp", timestamp, TIMESTAMP_MAX)
        if position is not None and not 0 <= position <= self._state.position:
            raise OutOfRange("position", position, self._state.position)
        # At a timestamp too: what is imported later, with an earlier time, stays out of it.
        position_max = self._state.position if position is None else position
        restored = restore_state(
            self._storage, self._directory, position_max=position_max, timestamp_max=timestamp
        )
        return PastLedger(restored.state, self, position=position_max, timestamp=timestamp)

    @property
    def position(self) -> int:
        """The last durable event; 0 if there is none."""
        return self._state.position

    @property
    def timestamp(self) -> int:
        """The highest timestamp of any durable event, ns."""
        return self._state.timestamp

    @property
    def transfer_count(self) -> int:
        """How many transfers took effect."""
        return self._state.transfer_count

    def state_sha256(self) -> bytes:
        """The hash of accounts, balances and position: equal for equal ledgers."""
        self._check_open()
        with self._settling:
            return self._state.sha256()

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not been called yet, in this process."""
        return not (self._closed or (self._writer is not None and self._writer.is_in_child))

    def get_change_events(
        self,
        *,
        position_min: int = 1,
        timestamp_min: int = 0,
        follow: bool = False,
        stop: threading.Event | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[ChangeEvent]:
        """Every posting with the balances of both accounts as of that event, in journal order.

        See :func:`projections.change_events`, which needs no open ledger.
        """
        self._expire_before_reading()
        return change_events(
            self.path, position_min=position_min, timestamp_min=timestamp_min,
            follow=follow, stop=stop, timeout_seconds=timeout_seconds, storage=self._storage,
        )  # fmt: skip

    # queries

    def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account, by time; none if the filter is invalid.

        A limit above 65,536 is answered with so many.

        Raises:
            InvalidField: a field of the filter is no integer or does not fit.
        """
        return self._transfers(account_selection(filter))

    def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """The balances of an account with HISTORY after each of its transfers, by time.

        None if the filter is invalid or there is no such account. A limit above 65,536 is answered
        with so many.

        Raises:
            InvalidField: a field of the filter is no integer or does not fit.
        """
        self._check_open()
        selection = account_selection(filter)
        if selection is None:
            return []
        with self._settling:
            slot = self._state.accounts.slots.get(selection.account_id)
            if slot is None or not self._state.accounts.state(slot).flags & HISTORY:
                return []
            postings, balances = self._indexes.postings.view(), self._indexes.balances.view()
        return select_balances(selection, slot, postings, balances, self._queried.rows)

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """The accounts whose fields are those of the filter, by time; none if it is invalid.

        A limit above 65,536 is answered with so many.

        Raises:
            InvalidField: a field of the filter is no integer or does not fit.
        """
        self._expire_before_reading()
        selection = query_selection(query_filter)
        if selection is None:
            return []
        with self._settling:
            rows = self._state.accounts.rows
        slots = select_accounts(selection, rows)  # by what never changes, so without the lock
        with self._settling:
            rows = self._state.accounts.rows[slots]
        return accounts_from_rows(rows)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """The transfers whose fields are those of the filter, by time; none if it is invalid.

        A limit above 65,536 is answered with so many.

        Raises:
            InvalidField: a field of the filter is no integer or does not fit.
        """
        return self._transfers(query_selection(query_filter))

    def _transfers(self, selection: Selection | None) -> list[Transfer]:
        self._check_open()
        if selection is None:
            return []
        with self._settling:
            view = self._indexes.postings.view()
        return transfers_from_rows(select_transfers(selection, view, self._queried.rows))

    # --- keeping ---

    def checkpoint(self) -> Checkpoint:
        """Write a checkpoint of the state as it is now.

        Raises:
            ReadOnly: this object was opened for reading.
            OSError: it could not be written; older checkpoints are as they were.
        """
        self._check_open()
        if self._writer is None:
            raise ReadOnly(self.path)
        return uninterrupted(self._checkpointer.checkpoint)

    def close(self) -> None:
        """Finish what is in flight, write a checkpoint, release the ledger. May be repeated."""
        if self._writer is not None and self._writer.is_in_child:
            return
        uninterrupted(self._close)

    def _close(self) -> None:
        with self._deciding:
            if self._closed:
                return
            self._closed = True
            last = self._last_in_flight()
        self._timer.close()
        try:
            if self._writer is not None and last is not None:
                self._writer.wait(last)
                self._settle()
        finally:
            try:
                self._checkpointer.close()
            finally:
                if self._writer is not None:
                    self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- a request ---

    def _request(
        self, kind: RecordKind, rows: Rows, postings: list[Posting] | None = None
    ) -> npt.NDArray[np.void]:
        """Decide, append, wait until it is durable, and answer ``CREATE_RESULT[n]``.

        Args:
            postings: takes the transfers that took effect and their accounts after each.
        """
        self._check_open()
        if self._writer is None:
            raise ReadOnly(self.path)
        if not len(rows):
            return np.zeros(0, CREATE_RESULT)
        results, ticket = self._decide(self._writer, kind, rows, postings)
        if ticket is not None:
            self._writer.wait(ticket)
            try:
                self._settle()
            except BaseException as cause:
                self._writer.poison(cause)  # in the journal, but perhaps half in the state
                raise
        return results

    def _decide(
        self, writer: Writer, kind: RecordKind, rows: Rows, postings: list[Posting] | None = None
    ) -> tuple[npt.NDArray[np.void], Ticket | None]:
        """The results, and the ticket they may be given out with."""
        with self._deciding:
            self._check_open()
            while True:
                if self._generation != writer.generation:
                    self._retreat(writer)
                first = self._now()
                if 0 < self._state.pendings.next_expiry <= first:
                    self._expire_due(writer)
                    first = self._now()
                if first + len(rows) > TIMESTAMP_MAX:
                    raise OutOfRange("timestamp", first + len(rows), TIMESTAMP_MAX)
                decision, draft = self._decide_rows(kind, rows, first)
                if not len(decision.rows):
                    # The answer may rest on a record in flight: give it out no sooner.
                    return decision.results, self._last_in_flight()
                ticket = self._append(writer, kind, decision)
                if ticket is None:
                    continue  # what this was decided on top of has just been refused
                self._take(writer, _InFlight(ticket, kind, decision, draft, postings))
                self._frontier.timestamp = first + len(rows) - 1
                return decision.results, ticket

    def _take(self, writer: Writer, taken: _InFlight) -> None:
        """A record was put in line: it counts for the requests after it."""
        try:
            self._frontier.take(taken.draft, taken.ticket.position_last)
            self._in_flight.append(taken)
        except BaseException as cause:
            writer.poison(cause)  # in line for the journal, but not for the state
            raise

    def _now(self) -> int:
        """The time for the next event, ns: the clock's, or just after the last event."""
        return max(self._clock(), self._frontier.timestamp + 1)

    def _is_expiry_due(self) -> bool:
        next_expiry = self._state.pendings.next_expiry
        return next_expiry != 0 and next_expiry <= self._now()

    def _expire_due(self, writer: Writer) -> None:
        """Put in line that pending transfers have run out of time.

        The caller holds the lock on decisions. What is in flight is waited for: it may resolve
        some of them.
        """
        while True:
            last = self._last_in_flight()
            if last is not None:
                with contextlib.suppress(JournalFull):  # whoever asked for it is told
                    writer.wait(last)
                self._settle()
            if self._generation != writer.generation:
                self._retreat(writer)
            now = self._now()
            with self._settling:
                ids = self._state.pendings.due(now, BATCH_EVENTS_MAX)
            if not ids:
                return
            draft = Draft(self._frontier)
            expiry = expire(ids, draft, timestamp_first=now)
            ticket = writer.append(
                codec.encode_domain_events(expiry.encoded()),
                event_count=len(ids),
                timestamp_min=expiry.timestamp_min,
                timestamp_max=expiry.timestamp_max,
                generation=self._generation,
            )
            if ticket is not None:
                self._take(writer, _InFlight(ticket, RecordKind.EVENTS, expiry, draft, None))
                self._frontier.timestamp = expiry.timestamp_max
                if len(ids) < BATCH_EVENTS_MAX:
                    return

    def _expire_before_reading(self) -> None:
        self._check_open()
        if self._is_expiry_due():
            with contextlib.suppress(JournalError):  # what is read is still what is durable
                uninterrupted(self._expire)

    def _expire(self) -> None:
        """Let what has run out of time expire, durably, though nobody asks for anything else."""
        writer = self._writer
        if writer is None or not self._is_expiry_due():
            return
        with self._deciding:
            self._check_open()
            self._expire_due(writer)
            last = self._last_in_flight()
        if last is not None:
            writer.wait(last)
            self._settle()

    def _decide_rows(
        self, kind: RecordKind, rows: Rows, timestamp_first: int
    ) -> tuple[Decision, Draft]:
        frontier = self._frontier
        if kind is RecordKind.TRANSFERS:
            plain = decide_plain(rows, frontier, timestamp_first=timestamp_first)
            if plain is not None:
                return plain
            decide = decide_transfers
        else:
            decide = decide_accounts
        frontier.catch_up()
        draft = Draft(frontier)
        return decide(rows, draft, timestamp_first=timestamp_first), draft

    def _append(self, writer: Writer, kind: RecordKind, decision: Decision) -> Ticket | None:
        return writer.append(
            codec.encode_rows(kind, decision.rows, decision.statuses),
            event_count=len(decision.rows),
            timestamp_min=decision.timestamp_min,
            timestamp_max=decision.timestamp_max,
            generation=self._generation,
        )

    def _last_in_flight(self) -> Ticket | None:
        try:
            return self._in_flight[-1].ticket
        except IndexError:  # none, or another thread has just settled the last
            return None

    def _settle(self) -> None:
        """Fold everything that became durable into the state, in order."""
        with self._settling:
            while self._in_flight and self._in_flight[0].ticket.durable:
                done = self._in_flight[0]
                decision, ticket = done.decision, done.ticket
                if isinstance(decision, Expiry):
                    self._state.expire(
                        decision.transfer_ids,
                        position_last=ticket.position_last,
                        timestamp=decision.timestamp_max,
                    )
                else:
                    self._apply(done.kind, decision, ticket.position_last, done.postings)
                self._frontier.settle(done.draft, ticket.position_last)
                self._in_flight.popleft()
                self._checkpointer.advance(ticket.position_last, ticket.sha256)

    def _apply(
        self,
        kind: RecordKind,
        decision: Decision,
        position_last: int,
        postings: list[Posting] | None,
    ) -> None:
        first = position_last - len(decision.rows) + 1
        self._state.apply(
            kind,
            decision.rows,
            decision.statuses,
            positions=range(first, position_last + 1),
            timestamp=decision.timestamp_max,
            trace=None if postings is None else lambda *posting: postings.append(posting),
            plain=decision.plain,
        )
        if kind is RecordKind.TRANSFERS:
            self._indexes.add(first, decision.rows, decision.statuses)

    def _retreat(self, writer: Writer) -> None:
        """The writer refused records in line: forget what was decided on top of the disk."""
        writer.check_usable()
        self._settle()
        with self._settling:
            self._generation = writer.generation
            self._in_flight.clear()
            self._frontier.reset()

    def _sync_head(self) -> None:
        if self._writer is not None:
            self._writer.sync_head()

    def _check_open(self) -> None:
        if not self.is_open:
            raise LedgerClosed(self.path)


def _with_balances(
    results: npt.NDArray[np.void], postings: Sequence[Posting]
) -> list[TransferWithBalances]:
    answers: list[TransferWithBalances] = []
    created = iter(postings)
    for timestamp, status, _ in results.tolist():
        balances: tuple[AccountBalance, ...] = ()
        if status == CreateTransferStatus.CREATED:
            _, *accounts = next(created)
            balances = tuple(AccountBalance(*account.balances(), timestamp) for account in accounts)
        answers.append(TransferWithBalances(timestamp, _TRANSFER_STATUS[status], *balances))
    return answers
