"""The ledger in a directory: opening, requests, look-ups, queries, closing."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import numpy as np

from nostro.journal.errors import (
    InvalidField,
    JournalError,
    JournalFull,
    LedgerClosed,
    OutOfRange,
    ReadOnly,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.segment import SEGMENT_BYTES_MAX
from nostro.journal.model import (
    TIMESTAMP_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    QueryFilter,
    Rows,
    Transfer,
)
from nostro.journal.reading.reader import Reader
from nostro.journal.rows import (
    accounts_from_bytes,
    accounts_from_rows,
    check_ids,
    copy_rows,
    integer,
    transfers_from_rows,
)
from nostro.journal.storage.directory import Directory, require_ledger
from nostro.journal.storage.files import Storage
from nostro.journal.writing.recovery import RecoveryReport
from nostro.journal.writing.writer import SyncMode, Writer
from nostro.projections.checkpoints.checkpoint import Checkpoint
from nostro.projections.checkpoints.checkpointer import (
    CHECKPOINT_EVENTS,
    CHECKPOINT_SECONDS,
    Checkpointer,
)
from nostro.projections.checkpoints.index_set import Indexes
from nostro.projections.checkpoints.restore import Restored, restore_indexed
from nostro.projections.checkpoints.witnesses import derived_witnesses
from nostro.projections.deciding.expiry import EXPIRY_SECONDS, ExpiryTimer
from nostro.projections.deciding.timestamps import CLOCK_LEAD_SECONDS_MAX, lead_ns
from nostro.projections.indexes.posting_index import PostingView
from nostro.projections.indexes.reservation_index import ReservationView
from nostro.projections.ledger.mirroring import backend, start_mirror
from nostro.projections.ledger.past import PastLedger
from nostro.projections.pipeline.combining_queue import CombiningQueue
from nostro.projections.pipeline.create_methods import CreateMethods
from nostro.projections.pipeline.create_request import CreateRequest, create_request
from nostro.projections.pipeline.pipeline import Pipeline
from nostro.projections.pipeline.signals import uninterrupted
from nostro.projections.queries.change_events import ChangeEvent, change_events
from nostro.projections.queries.filters import Selection, account_selection, query_selection
from nostro.projections.queries.index_search import (
    select_accounts,
    select_balances,
    select_transfers,
)
from nostro.projections.queries.past_balances import PastPoint, past_accounts
from nostro.projections.queries.refused_transfers import RefusedTransfer, refused_transfers
from nostro.projections.rules.values import HISTORY
from nostro.projections.state.archive import Archive

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
    from nostro.projections.tigerbeetle.mirror.process import MirrorProcess

LOOKUP_AT_ONCE_MAX: Final = 64
"""So many accounts are looked up in 0.2 ms."""
ANSWERED_AT_ONCE_MAX: Final = 64
"""So many results are made in 0.1 ms, those with balances in 0.5."""
_log = logging.getLogger("nostro")


@attrs.frozen
class OpenReport:
    """The result of opening: the journal's recovery and the source of the state."""

    recovery: RecoveryReport | None
    """None for a ledger opened read-only."""
    checkpoint: Checkpoint | None
    checkpoints_refused: tuple[str, ...]
    events_replayed: int
    seconds: float


class Ledger(CreateMethods):
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
        fast_paths: bool = True,
        sync: SyncMode = "group",
        clock: Callable[[], int] = time.time_ns,
        clock_lead_seconds_max: float = CLOCK_LEAD_SECONDS_MAX,
        mirror: ClusterConfiguration | None = None,
        storage: Storage | None = None,
    ) -> Ledger:
        """Open the ledger in ``path``; recover it first if necessary.

        Args:
            create: create a new ledger if there is none.
            read_only: take no lock and write nothing. Shows the ledger as it is durable now;
                another process may write to it meanwhile.
            segment_bytes_max: size at which a segment is sealed.
            checkpoint_events: write a checkpoint after this many events.
            checkpoint_seconds: write one this long after the first event since the last one.
            expiry_seconds: look so often for pending transfers that have run out of time, when no
                request or look-up does.
            fast_paths: decide transfers that are sure to be created without the rules. False gives
                the same answers, only later; it exists for tests, and for a user who doubts a
                fast path.
            sync: "group" syncs HEAD at most a second late, "strict" with every group. Either way,
                every acknowledged request is on disk.
            clock: the time in ns since the epoch.
            clock_lead_seconds_max: refuse to write while the newest event is further ahead of the
                clock than this (:class:`WrongClock`). More lets a ledger go on after events that a
                wrong clock recorded: each new event is then 1 ns later than the one before it.
            mirror: the TigerBeetle cluster that mirrors the ledger while it is open for writing.
                A process of its own does the work. :func:`open_ledger` takes the cluster from the
                environment; this method never does. See docs/guides/tigerbeetle.md.

        Raises:
            InvalidField: an argument is out of range.
            ClientMissing: `mirror` needs the package tigerbeetle, which is not installed.
            NotALedger, NotOwner, LedgerLocked, UnsupportedFormat: nothing was touched.
            NoRoomToRecover: recovery needs space and the disk is full; read_only works.
            Damage: the journal is not as it was written. Opening changed nothing, except that it
                may have moved a torn tail to quarantine.
        """
        if checkpoint_events < 1:
            raise InvalidField("checkpoint_events", checkpoint_events, "must be at least 1")
        if not checkpoint_seconds > 0:
            raise InvalidField("checkpoint_seconds", checkpoint_seconds, "must be positive")
        if not expiry_seconds > 0:
            raise InvalidField("expiry_seconds", expiry_seconds, "must be positive")
        lead = lead_ns(clock_lead_seconds_max)
        cluster = None if read_only else mirror
        if cluster is not None:
            cluster.require_client()
        storage = storage or Storage()
        directory = Directory(Path(path))
        writer = indexes = None
        if read_only:
            require_ledger(directory)
        else:
            writer = Writer.open(
                directory.path,
                create=create,
                segment_bytes_max=segment_bytes_max,
                sync=sync,
                storage=storage,
                witnesses=derived_witnesses,
            )
        try:
            restored, indexes = restore_indexed(storage, directory)
            ledger = cls(
                storage, directory, writer, restored, indexes, clock, lead, expiry_seconds,
                fast_paths,
            )  # fmt: skip
        except BaseException:
            if indexes is not None:
                indexes.release()
            if writer is not None:
                writer.close()
            raise
        ledger._checkpointer.start(checkpoint_events, checkpoint_seconds)
        if ledger._timer is not None:
            ledger._timer.start()
        try:
            ledger.mirror = start_mirror(directory.path, cluster)
        except BaseException:
            ledger.close()
            raise
        _log.info("Accounting backend: %s", backend(directory.path, cluster))
        return ledger

    def __init__(
        self,
        storage: Storage,
        directory: Directory,
        writer: Writer | None,
        restored: Restored,
        indexes: Indexes,
        clock: Callable[[], int],
        lead_ns_max: float,
        expiry_seconds: float,
        fast_paths: bool,
    ) -> None:
        self.path = directory.path
        self.mirror: MirrorProcess | None = None
        """The process that mirrors it into a TigerBeetle cluster, if one is configured."""
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
        self._state = restored.state
        self._indexes = indexes
        self._archive = Archive(directory.path, storage)
        self._state_lock = threading.RLock()  # a signal handler may read within a look-up
        self._closed = threading.Event()
        self._checkpointer = Checkpointer(
            storage, directory, self._state, indexes, self._state_lock,
            frame_sha256=restored.frame_sha256, ledger_id=restored.ledger_id,
            checkpointed=restored.checkpoint, writable=writer is not None,
            fold_durable=self._fold, before=self._sync_head,
        )  # fmt: skip
        self._pipeline: Pipeline | None = None
        self._queue: CombiningQueue | None = None
        self._timer: ExpiryTimer | None = None
        if writer is not None:
            self._pipeline = Pipeline(
                writer, restored.state, indexes, self._state_lock,
                archive=Archive(directory.path, storage),  # nobody who decides waits for a query
                clock=clock, lead_ns_max=lead_ns_max, checkpointer=self._checkpointer,
                fast_paths=fast_paths,
            )  # fmt: skip
            self._queue = CombiningQueue(self._pipeline)
            self._timer = ExpiryTimer(self._pipeline.expire, expiry_seconds)

    # --- writing ---

    def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        return self.create(create_request(kind, events, balances=balances))

    def carry_out(self, request: CreateRequest) -> None:
        """Return once the request has its answer, durable, or an error.

        Not for the main thread, where a signal could interrupt it: see :meth:`create`.

        Raises:
            LedgerClosed, ReadOnly: it was not carried out.
        """
        self._checkpointer.keep_pace()
        self._carry_out(request)
        for one in request.singles():
            if len(one.rows) > ANSWERED_AT_ONCE_MAX:
                one.prepare()  # here, not in the event loop that waits for it

    def create(self, request: CreateRequest) -> Any:
        """Carry the request out, and answer; raises what :meth:`create_transfers` does."""
        self._checkpointer.keep_pace()  # here a signal may interrupt: nothing is done yet
        uninterrupted(self._carry_out, request)
        return request.answer()

    def _carry_out(self, request: CreateRequest) -> None:
        self._check_open()
        if self._queue is None:
            raise ReadOnly(self.path)
        self._queue.carry_out(request)

    # --- reading ---

    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """The accounts that exist, with their balances, in the order asked for."""
        ids = check_ids(ids)
        self._prepare_to_read()
        with self._state_lock:
            found = self._state.accounts.find(ids)
        return accounts_from_bytes(found)

    def try_lookup_accounts(self, ids: Sequence[int]) -> list[Account] | None:
        """What :meth:`lookup_accounts` returns; None if that could wait or take long.

        It may be called in an event loop: it takes less than 1 ms, and never waits for the disk or
        for another thread.
        """
        self._check_open()
        pipeline = self._pipeline
        if pipeline is not None and (pipeline.is_behind or pipeline.is_expiry_due):
            return None
        if len(ids) > LOOKUP_AT_ONCE_MAX or not self._state_lock.acquire(blocking=False):
            return None
        try:
            found = self._state.accounts.find(ids)
        finally:
            self._state_lock.release()
        return accounts_from_bytes(found)

    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked for."""
        return transfers_from_rows(self.transfer_rows(ids)[0])

    def transfer_rows(self, ids: Iterable[int]) -> tuple[Rows, list[int]]:
        """``TRANSFER[m]`` of those that took effect, and their positions in the journal."""
        self._check_open()
        ids = check_ids(ids)
        self._fold()
        durable = self._state.position
        found = [self._indexes.transfers.find(id_) for id_ in ids]
        self._check_open()
        wanted = np.array([p for p in found if p is not None and p <= durable], np.int64)
        rising, places = np.unique(wanted, return_inverse=True)
        rows, took_effect = self._archive.rows(rising)
        places = places[took_effect[places]]
        return rows[places], rising[places].tolist()

    def lookup_refusals(self, ids: Iterable[int]) -> list[RefusedTransfer]:
        """The transfers that were refused for good, with the first answer, in the order asked for.

        Sent again, such an id answers ID_ALREADY_FAILED. The reason stays in the journal.

        Raises:
            InvalidField: an id is not an integer or does not fit.
        """
        found = [self.transfer_position(id_) for id_ in check_ids(ids)]
        reader = Reader(self.path, storage=self._storage)
        return list(refused_transfers(reader, [at for at in found if at is not None]))

    def transfer_position(self, id_: int) -> int | None:
        """Where the transfer with this id, or its refusal, stands in the journal; None: nowhere."""
        self._check_open()
        [id_] = check_ids([id_])
        self._fold()
        durable = self._state.position
        found = self._indexes.transfers.find(id_)
        self._check_open()
        return found if found is not None and found <= durable else None

    def accounts(self) -> Rows:
        """``ACCOUNT[n]``: every account with its balances, in order of creation."""
        self._prepare_to_read()
        with self._state_lock:
            return copy_rows(self._state.accounts.rows)

    def at(self, *, timestamp: int | None = None, position: int | None = None) -> PastLedger:
        """The ledger in the past: at ``timestamp`` (ns) or after ``position``, inclusive.

        It reads nothing yet: see :class:`PastLedger`.

        Raises:
            InvalidField: neither or both are given.
            OutOfRange: the journal does not reach that position, or the time is not valid.
        """
        self._prepare_to_read()
        if (timestamp is None) == (position is None):
            raise InvalidField("position", position, "must be given, or a timestamp, but not both")
        reason = "must be an integer (a timestamp in ns)"
        if timestamp is not None:
            timestamp = integer("timestamp", timestamp, reason=reason)
        if position is not None:
            position = integer("position", position, reason=reason)
        if timestamp is not None and not 0 <= timestamp <= TIMESTAMP_MAX:
            raise OutOfRange("timestamp", timestamp, TIMESTAMP_MAX)
        if position is not None and not 0 <= position <= self._state.position:
            raise OutOfRange("position", position, self._state.position)
        # For a timestamp too: a later import of earlier times must not change the answer.
        position_max = self._state.position if position is None else position
        point = PastPoint(position_max, TIMESTAMP_MAX if timestamp is None else timestamp)
        return PastLedger(
            self._storage, self._directory, point, self.account_rows_at, self.transfer_rows
        )

    def account_rows_at(self, ids: Iterable[int], point: PastPoint) -> Rows:
        """``ACCOUNT[m]``: the accounts that existed at a point in the past, as they were then.

        Raises:
            LedgerClosed: the ledger is closed.
        """
        self._check_open()
        with self._state_lock:
            accounts = self._state.accounts
            slots = point.slots(map(accounts.slots.get, ids), accounts)
            rows, views = accounts.rows[slots], self._views()
        self._check_open()
        return past_accounts(rows, slots, point, *views)

    def _views(self) -> tuple[PostingView, ReservationView]:
        return self._indexes.postings.view(), self._indexes.reservations.view()

    @property
    def position(self) -> int:
        """The last durable event; 0 if there is none."""
        return self._state.position if self._pipeline is None else self._pipeline.reached()[0]

    @property
    def timestamp(self) -> int:
        """The highest timestamp of any durable event, ns."""
        return self._state.timestamp if self._pipeline is None else self._pipeline.reached()[1]

    @property
    def account_count(self) -> int:
        """The number of accounts. It never waits."""
        return self._counts()[0]

    @property
    def transfer_count(self) -> int:
        """The number of transfers that took effect. It never waits."""
        return self._counts()[1]

    def _counts(self) -> tuple[int, int]:
        if self._pipeline is None:
            return self._state.accounts.count, self._state.transfer_count
        return self._pipeline.counts()

    def state_sha256(self) -> bytes:
        """The hash of accounts, balances and position: equal for equal ledgers."""
        self._check_open()
        self._fold()
        with self._state_lock:
            return self._state.sha256()

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not been called yet, in this process."""
        in_child = self._writer is not None and self._writer.is_in_child
        return not in_child and not self._closed.is_set()

    def check_writable(self) -> None:
        """Return if the ledger accepts writes now.

        Raises:
            LedgerClosed, ReadOnly, WriterPoisoned, LedgerReplaced, WrongClock: it does not.
        """
        self._check_open()
        if self._writer is None or self._pipeline is None:
            raise ReadOnly(self.path)
        self._writer.check_files()
        self._pipeline.check_clock()

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

        See :func:`projections.change_events`, which needs no open ledger. Without ``stop``,
        following ends when the ledger is closed.
        """
        self._prepare_to_read()
        return change_events(
            self.path, position_min=position_min, timestamp_min=timestamp_min, follow=follow,
            stop=self._closed if stop is None else stop,
            timeout_seconds=timeout_seconds, storage=self._storage,
        )  # fmt: skip

    # queries

    def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account, by time; none if the filter is invalid.

        A limit above 65,536 counts as 65,536.

        Raises:
            InvalidField: a field of the filter is not an integer or does not fit.
        """
        return self._transfers(account_selection(filter))

    def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """The balances of an account with HISTORY after each of its transfers, by time.

        None if the filter is invalid or there is no such account. A limit above 65,536
        counts as 65,536.

        Raises:
            InvalidField: a field of the filter is not an integer or does not fit.
        """
        self._check_open()
        selection = account_selection(filter)
        if selection is None:
            return []
        self._fold()
        with self._state_lock:
            slot = self._state.accounts.slots.get(selection.account_id)
            if slot is None or not self._state.accounts.state(slot).flags & HISTORY:
                return []
            postings, reservations = self._views()
        self._check_open()
        selection = attrs.evolve(selection, slot=slot)
        return select_balances(selection, postings, reservations, self._archive.rows)

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """The accounts that match, by time; none if the filter is invalid.

        A limit above 65,536 counts as 65,536.

        Raises:
            InvalidField: a field of the filter is not an integer or does not fit.
        """
        self._prepare_to_read()
        selection = query_selection(query_filter)
        if selection is None:
            return []
        with self._state_lock:
            rows = self._state.accounts.rows
        slots = select_accounts(selection, rows)  # by what never changes, so without the lock
        with self._state_lock:
            rows = self._state.accounts.rows[slots]
        return accounts_from_rows(rows)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """The transfers that match, by time; none if the filter is invalid.

        A limit above 65,536 counts as 65,536.

        Raises:
            InvalidField: a field of the filter is not an integer or does not fit.
        """
        return self._transfers(query_selection(query_filter))

    def _transfers(self, selection: Selection | None) -> list[Transfer]:
        self._check_open()
        if selection is None:
            return []
        self._fold()
        with self._state_lock:
            if selection.sides:
                slot = self._state.accounts.slots.get(selection.account_id)
                if slot is None:
                    return []
                selection = attrs.evolve(selection, slot=slot)
            view = self._indexes.postings.view()
        self._check_open()
        return transfers_from_rows(select_transfers(selection, view, self._archive.rows))

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
        """Finish requests in flight, write a checkpoint, release the ledger. May be repeated."""
        if self._writer is not None and self._writer.is_in_child:
            return
        uninterrupted(self._close)

    def _close(self) -> None:
        if self._pipeline is not None and not self._pipeline.stop():
            return
        self._closed.set()
        if self._timer is not None:
            self._timer.close()
        if self.mirror is not None:
            self.mirror.close()
        try:
            if self._pipeline is not None:
                with contextlib.suppress(JournalFull):  # its caller gets the error
                    self._pipeline.finish()
        finally:
            try:
                self._checkpointer.close()
            finally:
                self._indexes.release()  # a query that still runs then finds the ledger closed
                if self._writer is not None:
                    self._writer.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare_to_read(self) -> None:
        """What was acknowledged is folded in from here on, and what has run out of time expired."""
        self._check_open()
        if self._pipeline is None:
            return
        if self._pipeline.is_behind:
            self._fold()
        if self._pipeline.is_expiry_due:
            with contextlib.suppress(JournalError):  # what is read is still what is durable
                uninterrupted(self._pipeline.expire)

    def _fold(self) -> None:
        """Fold in what is durable."""
        if (
            self._pipeline is not None
            and self._writer is not None
            and self._pipeline.is_behind
            and not self._writer.is_in_child
        ):
            uninterrupted(self._pipeline.fold_durable)

    def _sync_head(self) -> None:
        if self._writer is not None:
            self._writer.sync_head()

    def _check_open(self) -> None:
        if self._closed.is_set() or (self._writer is not None and self._writer.is_in_child):
            raise LedgerClosed(self.path)
