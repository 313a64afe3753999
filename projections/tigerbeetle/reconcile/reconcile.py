"""Reconciling: compare every account and transfer of the journal with the cluster, both ways.

::

    configuration = ClusterConfiguration(cluster_id=0, replicas=("127.0.0.1:3001",))
    report = reconcile("data", configuration, open_ledger=Ledger.open)
    assert report.equal, report.differences

Both sides are read in order of time and paired a page at a time, as rows; fields are compared only
where bytes differ. Nothing is written to the cluster. Events that the mirror has not sent yet are
not compared and count as behind, not as missing. It may run beside a live mirror.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import InvalidField
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ACCOUNT, TRANSFER, Rows
from nostro.journal.reading.reader import Cursor, Reader, RecordPart
from nostro.journal.rows import copy_rows
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX, ClusterConfiguration
from nostro.projections.tigerbeetle.errors import Difference
from nostro.projections.tigerbeetle.journal_ledger import JournalLedger, OpenLedger
from nostro.projections.tigerbeetle.reconcile.balance_window import balances_at_a_match
from nostro.projections.tigerbeetle.reconcile.comparison import Comparison, Counts
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.pairing import (
    Chunk,
    Paired,
    joined,
    pair_streams,
    sorted_by_time,
)  # fmt: skip
from nostro.projections.tigerbeetle.rows.translation import (
    IMPORTED_ACCOUNT,
    VOID,
    cut_long_chains,
    expiry_id,
    mirrored,
    with_inherited_fields,
)
from nostro.projections.tigerbeetle.saved_position import SavedPosition
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.projections.tigerbeetle.session.coverage import (
    Coverage,
    find_coverage,
    has_row,
    mirrored_positions,
)
from nostro.projections.tigerbeetle.session.session import Connect

DIFFERENCES_MAX: Final = 100
SAVE_SECONDS: Final = 5.0
"""How often the cursor is saved."""
PATIENCE_SECONDS: Final = 60.0
"""A cluster that has answered once may take this long over a page while it is busy."""
_ROUNDS: Final = 2
"""The second round compares the events that were mirrored during the first."""
_log = logging.getLogger("nostro")
Progress = Callable[[int, int, int], None]
"""Called with the position reached, the last position to compare, and the transfers compared."""


@attrs.frozen
class ReconcileReport:
    ledger_id: bytes
    cluster_id: int
    position: int
    """Every event up to there was compared."""
    position_head: int
    """The journal's last event."""
    position_resumed: int
    """An earlier run had compared the transfers up to there; 0 if this one began anew."""
    accounts: Counts
    transfers: Counts
    differences: tuple[Difference, ...]
    """The first of them, one per field."""
    differences_found: int
    seconds: float

    @property
    def equal(self) -> bool:
        return not self.differences_found

    @property
    def events_behind(self) -> int:
        """The number of the journal's events that the cluster does not hold yet."""
        return self.position_head - self.position


def reconcile(
    path: Path | str,
    configuration: ClusterConfiguration,
    *,
    open_ledger: OpenLedger,
    resume: bool = False,
    differences_max: int = DIFFERENCES_MAX,
    page_events: int = BATCH_EVENTS_MAX,
    save_seconds: float = SAVE_SECONDS,
    connect: Connect | None = None,
    storage: Storage | None = None,
    progress: Progress | None = None,
) -> ReconcileReport:
    """Compare the journal in ``path`` with the cluster.

    Args:
        open_ledger: ``Ledger.open``; called with ``read_only`` to look events up by id.
        resume: continue a run that was stopped, with the differences that it had found.
        differences_max: keep this many differences; all are counted.
        page_events: read at least this many of the journal's transfers at a time.
        save_seconds: save the cursor for ``resume`` this often.

    Raises:
        InvalidField: ``differences_max`` is negative.
        NotALedger, NotOwner, Damage: the journal cannot be read.
        ConnectionFailed: no answer.
        ForeignData: the cluster holds data, and none of it is the journal's.
    """
    if differences_max < 0:
        raise InvalidField("differences_max", differences_max, "cannot be negative")
    storage = storage or Storage()
    reader = Reader(path, storage=storage)
    reader.head()
    with Cluster(configuration, connect or native_connect(configuration)) as cluster:
        cluster.now()
        patience = max(configuration.timeout_seconds, PATIENCE_SECONDS)
        cluster.configuration = attrs.evolve(configuration, timeout_seconds=patience)
        run = _Reconciliation(
            storage, reader, cluster, open_ledger, progress, page_events, save_seconds,
            Comparison(differences_max),
        )  # fmt: skip
        return run.run(resume=resume)


@attrs.define
class _Reconciliation:
    _storage: Storage
    _reader: Reader
    _cluster: Cluster
    _open_ledger: OpenLedger
    _progress: Progress | None
    _page_events: int
    _save_seconds: float
    _comparison: Comparison
    _position: int = 0
    """The transfers up to here have been compared."""
    _timestamp: int = 0
    """The cluster's transfers up to this time have been compared, ns."""
    _ledger: JournalLedger | None = None
    _outstanding: list[tuple[Rows, Rows]] = attrs.field(factory=list)
    """Accounts that may differ: the journal's rows and the cluster's."""
    _saved_at: float = attrs.field(factory=time.monotonic)

    def run(self, *, resume: bool) -> ReconcileReport:
        began = time.perf_counter()
        coverage = find_coverage(self._reader, self._cluster)
        if resume:
            self._resume(coverage)
        resumed = self._position
        try:
            for _ in range(_ROUNDS):
                self._compare_transfers(coverage)
                reached, coverage = coverage, find_coverage(self._reader, self._cluster)
                if coverage.position == reached.position:
                    break
            self._close_ledger()
            self._compare_accounts(coverage)
        finally:
            self._close_ledger()
        self._saved.forget()
        head = self._reader.head()
        return ReconcileReport(
            ledger_id=head.ledger_id,
            cluster_id=self._cluster.configuration.cluster_id,
            position=self._position,
            position_head=head.position,
            position_resumed=resumed,
            accounts=self._comparison.accounts,
            transfers=self._comparison.transfers,
            differences=tuple(self._comparison.differences),
            differences_found=self._comparison.differences_found,
            seconds=time.perf_counter() - began,
        )

    @property
    def _saved(self) -> SavedPosition:
        cluster_id = self._cluster.configuration.cluster_id
        return SavedPosition(self._storage, self._reader.directory, cluster_id, "reconcile")

    def _resume(self, coverage: Coverage) -> None:
        for found, state in self._saved.read(self._reader):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                comparison = Comparison.load(
                    state["findings"], differences_max=self._comparison.differences_max
                )
                timestamp = int(state["timestamp"])
                if found.position <= coverage.position:
                    self._position, self._timestamp = found.position, timestamp
                    self._comparison = comparison
                return

    # --- transfers ---

    def _compare_transfers(self, coverage: Coverage) -> None:
        """Compare the transfers that are not compared yet, up to the coverage."""
        self._close_ledger()  # the next one must know every event that the cluster can hold by now
        until = coverage.timestamp(RecordKind.TRANSFERS)
        pages = self._cluster.pages(RecordKind.TRANSFERS, after=self._timestamp, until=until)
        chunks = self._chunks(coverage.position)
        for chunk in pair_streams(chunks, pages, TRANSFER, self._take_transfers):
            self._reached(chunk, coverage)
        self._timestamp = max(self._timestamp, until)

    def _chunks(self, position_max: int) -> Iterator[Chunk]:
        """Yield the journal's transfers that are not compared yet, a page or more at a time."""
        done = self._position
        gathered: list[Rows] = []
        count = 0
        for record in self._reader.records(Cursor(position=done + 1)):
            if record.position_first > position_max:
                break
            for part in record.parts:
                rows = self._wanted(part, done, position_max)
                if rows is not None:
                    gathered.append(rows)
                    count += len(rows)
            done, sha256 = record.position_last, record.sha256
            if done > position_max:
                done, sha256 = position_max, b""
            if count >= self._page_events or done == position_max:
                yield Chunk(sorted_by_time(joined(gathered, TRANSFER)), done, sha256)
                gathered, count = [], 0

    def _wanted(self, part: RecordPart, done: int, position_max: int) -> Rows | None:
        """The part's transfers between two positions, as the cluster should hold them."""
        if part.kind is RecordKind.ACCOUNTS:
            return None
        count_max = self._cluster.configuration.batch_events_max
        wanted = mirrored(part, chain_events_max=count_max)
        if wanted is None:
            return None
        rows = wanted.rows
        if part.record.position_first <= done or part.record.position_last > position_max:
            positions = mirrored_positions(part)
            rows = rows[(positions > done) & (positions <= position_max)]
        if part.kind is RecordKind.EVENTS and len(rows):
            pending, _ = self._journal().transfer_rows(ids_of(rows, "pending_id"))
            rows = with_inherited_fields(rows, pending)
        return rows

    def _reached(self, chunk: Chunk, coverage: Coverage) -> None:
        self._position = chunk.position
        self._timestamp = max(self._timestamp, int(chunk.rows["timestamp"].max(initial=0)))
        if self._progress is not None:
            self._progress(chunk.position, coverage.position, self._comparison.transfers.compared)
        now = time.monotonic()
        if chunk.frame_sha256 and now - self._saved_at >= self._save_seconds:
            self._saved_at = now
            try:
                self._saved.write(
                    {"findings": self._comparison.dump(), "timestamp": self._timestamp},
                    ledger_id=self._reader.head().ledger_id,
                    position=chunk.position,
                    frame_sha256=chunk.frame_sha256,
                )
            except OSError as error:
                _log.warning("the progress could not be written: %s", error)

    def _take_transfers(self, paired: Paired) -> None:
        kind = RecordKind.TRANSFERS
        self._take(kind, paired, partial(self._comparison.note_different, kind))
        if len(paired.only_cluster):
            self._take_unknown_transfers(paired.only_cluster)

    def _take(
        self, kind: RecordKind, paired: Paired, compare: Callable[[Rows, Rows], object]
    ) -> None:
        """Count the journal's rows; give ``compare`` those on both sides that may differ."""
        self._comparison.counts(kind).compared += paired.journal_count
        if len(paired.journal):
            compare(paired.journal, paired.cluster)
        ours = paired.only_journal
        if len(ours):  # they may be in the cluster at another time
            ids = ids_of(ours)
            theirs = self._cluster.look_up(kind, ids)
            held = set(ids_of(theirs))
            compare(ours[[id_ in held for id_ in ids]], theirs)
            self._comparison.note_missing(kind, [id_ for id_ in ids if id_ not in held])

    def _take_unknown_transfers(self, rows: Rows) -> None:
        """Transfers of the cluster that the journal does not have at their times."""
        found, _ = self._journal().transfer_rows(ids_of(rows))
        known = set(ids_of(found))  # these are compared at the journal's time
        extra = [
            id_
            for number, id_ in enumerate(ids_of(rows))
            if id_ not in known and not self._is_expiry(rows[number : number + 1])
        ]
        self._comparison.note_extra(RecordKind.TRANSFERS, extra)

    def _is_expiry(self, row: Rows) -> bool:
        """Whether it mirrors an expiry of the journal."""
        if not int(row["flags"][0]) & VOID:
            return False
        [id_], [pending_id] = ids_of(row), ids_of(row, "pending_id")
        return id_ == expiry_id(pending_id) and has_row(self._reader, RecordKind.TRANSFERS, row)

    # --- accounts ---

    def _compare_accounts(self, coverage: Coverage) -> None:
        state = restore_state(
            self._storage, self._reader.directory, position_max=coverage.position
        ).state
        rows = copy_rows(state.accounts.rows)
        rows["flags"] |= IMPORTED_ACCOUNT
        cut_long_chains(rows, self._cluster.configuration.batch_events_max)
        until = coverage.timestamp(RecordKind.ACCOUNTS)
        pages = self._cluster.pages(RecordKind.ACCOUNTS, until=until)
        chunks = (
            Chunk(rows[at : at + self._page_events], coverage.position)
            for at in range(0, len(rows), self._page_events)
        )
        for _ in pair_streams(chunks, pages, ACCOUNT, self._take_accounts):
            pass
        if not self._outstanding:
            return
        ours, theirs = (
            joined([sides[number] for sides in self._outstanding], ACCOUNT) for number in (0, 1)
        )
        later = find_coverage(self._reader, self._cluster)
        ours = balances_at_a_match(state, self._reader, ours, theirs, position_max=later.position)
        self._comparison.note_different(RecordKind.ACCOUNTS, ours, theirs)

    def _take_accounts(self, paired: Paired) -> None:
        kind = RecordKind.ACCOUNTS
        self._take(kind, paired, lambda *sides: self._outstanding.append(sides))
        if len(paired.only_cluster):
            ids = ids_of(paired.only_cluster)
            known = {account.id for account in self._journal().lookup_accounts(ids)}
            self._comparison.note_extra(kind, [id_ for id_ in ids if id_ not in known])

    # --- the journal by id ---

    def _journal(self) -> JournalLedger:
        if self._ledger is None:
            self._ledger = self._open_ledger(
                self._reader.directory.path, create=False, read_only=True, storage=self._storage
            )
        return self._ledger

    def _close_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
