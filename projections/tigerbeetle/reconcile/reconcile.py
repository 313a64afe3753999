"""Reconciling: every account and transfer of the journal against the cluster, and back.

::

    report = reconcile("data", ClusterConfiguration(cluster_id=0, replicas=("127.0.0.1:3001",)))
    assert report.equal, report.differences

Both sides are read in order of time and paired a page at a time, as rows; fields are looked at only
where bytes differ. Nothing is written to the cluster. What is compared is what the cluster holds of
the journal: a mirror that is behind is behind, and lacks nothing. It may run beside a live mirror.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from nostro.journal.errors import InvalidField
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ACCOUNT, TRANSFER, Rows
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.rows import copy_rows
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.tigerbeetle.configuration import (
    BATCH_EVENTS_MAX,
    ClusterConfiguration,
)
from nostro.projections.tigerbeetle.errors import Difference
from nostro.projections.tigerbeetle.reconcile.balance_window import fitting
from nostro.projections.tigerbeetle.reconcile.findings import Counts, Findings
from nostro.projections.tigerbeetle.reconcile.mirrored_extent import (
    Extent,
    find_extent,
    has_row,
    mirrored_positions,
)
from nostro.projections.tigerbeetle.reconcile.reconcile_progress import (
    Place,
    forget_progress,
    read_progress,
    write_progress,
)
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.pairing import (
    Chunk,
    Paired,
    joined,
    sorted_by_time,
    together,
)
from nostro.projections.tigerbeetle.rows.translation import (
    IMPORTED_ACCOUNT,
    VOID,
    cut_long_chains,
    expiry_id,
    mirrored,
    taken_over,
)
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.projections.tigerbeetle.session.session import Connect

DIFFERENCES_MAX: Final = 100
SAVE_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 60.0
"""Once the cluster has answered, it may take so long over a page while it is busy."""
_ROUNDS: Final = 2
"""What was mirrored during the first round is compared in the second."""
_log = logging.getLogger("nostro")
Progress = Callable[[int, int, int], None]
"""Called with the position compared, the last one to compare, and the transfers compared by now."""


@attrs.frozen
class ReconcileReport:
    ledger_id: bytes
    cluster_id: int
    position: int
    """Everything up to there was compared."""
    position_head: int
    """The journal's last event."""
    position_resumed: int
    """Transfers up to there had been compared by an earlier run; 0 if this one began anew."""
    accounts: Counts
    transfers: Counts
    differences: tuple[Difference, ...]
    """Field by field, the first of them."""
    differences_found: int
    seconds: float

    @property
    def equal(self) -> bool:
        return not self.differences_found

    @property
    def events_behind(self) -> int:
        """So many of the journal's events are not in the cluster yet."""
        return self.position_head - self.position


def reconcile(
    path: Path | str,
    configuration: ClusterConfiguration,
    *,
    resume: bool = False,
    differences_max: int = DIFFERENCES_MAX,
    connect: Connect | None = None,
    storage: Storage | None = None,
    progress: Progress | None = None,
) -> ReconcileReport:
    """Compare the journal in ``path`` with the cluster.

    Args:
        resume: go on where a run before this one was stopped, with what it found.
        differences_max: keep so many; all are counted.

    Raises:
        InvalidField: ``differences_max`` is negative.
        NotALedger, NotOwner, Damage: the journal cannot be read.
        ConnectionFailed: no answer.
        ForeignData: nothing of the journal is in the cluster, and something else is.
    """
    if differences_max < 0:
        raise InvalidField("differences_max", differences_max, "cannot be negative")
    storage = storage or Storage()
    reader = Reader(path, storage=storage)
    reader.head()
    with Cluster(configuration, connect or native_connect(configuration)) as cluster:
        cluster.probe()
        patience = max(configuration.timeout_seconds, PATIENCE_SECONDS)
        cluster.configuration = attrs.evolve(configuration, timeout_seconds=patience)
        run = _Reconciliation(storage, reader, cluster, Findings(differences_max), progress)
        return run.run(resume=resume)


class _Reconciliation:
    def __init__(
        self,
        storage: Storage,
        reader: Reader,
        cluster: Cluster,
        findings: Findings,
        progress: Progress | None,
    ) -> None:
        self._storage = storage
        self._reader = reader
        self._cluster = cluster
        self._findings = findings
        self._progress = progress
        self._place = Place()
        self._ledger: Ledger | None = None
        self._outstanding: list[tuple[Rows, Rows]] = []
        """Accounts that may differ: as the journal has them and as the cluster has."""
        self._saved_at = time.monotonic()

    def run(self, *, resume: bool) -> ReconcileReport:
        began = time.perf_counter()
        cluster_id = self._cluster.configuration.cluster_id
        extent = find_extent(self._reader, self._cluster)
        if resume:
            self._resume(extent)
        resumed = self._place.position
        try:
            for _ in range(_ROUNDS):
                self._compare_transfers(extent)
                reached, extent = extent, find_extent(self._reader, self._cluster)
                if extent.position == reached.position:
                    break
            self._close_ledger()
            self._compare_accounts(extent)
        finally:
            self._close_ledger()
        forget_progress(self._storage, self._reader, cluster_id)
        head = self._reader.head()
        return ReconcileReport(
            ledger_id=head.ledger_id,
            cluster_id=cluster_id,
            position=self._place.position,
            position_head=head.position,
            position_resumed=resumed,
            accounts=self._findings.accounts,
            transfers=self._findings.transfers,
            differences=tuple(self._findings.differences),
            differences_found=self._findings.differences_found,
            seconds=time.perf_counter() - began,
        )

    def _resume(self, extent: Extent) -> None:
        found = read_progress(
            self._storage, self._reader, self._cluster.configuration.cluster_id,
            differences_max=self._findings.differences_max,
        )  # fmt: skip
        if found is not None and found[0].position <= extent.position:
            self._place, self._findings = found

    # --- transfers ---

    def _compare_transfers(self, extent: Extent) -> None:
        """Compare what comes after the place up to what the cluster held when it was asked."""
        self._close_ledger()  # it must know whatever the cluster can hold by now
        pages: Iterator[Rows] = iter(())
        first = self._place.timestamp + 1
        if first <= extent.transfers_timestamp:
            pages = self._cluster.transfers(
                timestamp_min=first, timestamp_max=extent.transfers_timestamp
            )
        for chunk in together(self._chunks(extent.position), pages, TRANSFER, self._take_transfers):
            self._reached(chunk, extent)
        self._place = attrs.evolve(
            self._place, timestamp=max(self._place.timestamp, extent.transfers_timestamp)
        )

    def _chunks(self, position_max: int) -> Iterator[Chunk]:
        """The journal's transfers after the place, a page's worth and more at a time."""
        done = self._place.position
        gathered: list[Rows] = []
        count = 0
        for record in self._reader.records(Cursor(position=done + 1)):
            if record.position_first > position_max:
                break
            rows = self._wanted(record, done, position_max)
            if rows is not None:
                gathered.append(rows)
                count += len(rows)
            done, sha256 = record.position_last, record.sha256
            if done > position_max:
                done, sha256 = position_max, b""
            if count >= BATCH_EVENTS_MAX or done == position_max:
                yield Chunk(sorted_by_time(joined(gathered, TRANSFER)), done, sha256)
                gathered, count = [], 0

    def _wanted(self, record: Record, done: int, position_max: int) -> Rows | None:
        """The record's transfers between two positions, as the cluster should have them."""
        if record.kind is RecordKind.ACCOUNTS:
            return None
        count_max = self._cluster.configuration.batch_events_max
        wanted = mirrored(record, chain_events_max=count_max)
        if wanted is None:
            return None
        rows = wanted.rows
        if record.position_first <= done or record.position_last > position_max:
            positions = mirrored_positions(record)
            rows = rows[(positions > done) & (positions <= position_max)]
        if record.kind is RecordKind.EVENTS and len(rows):
            pending, _ = self._journal().transfer_rows(ids_of(rows, "pending_id"))
            rows = taken_over(rows, pending)
        return rows

    def _reached(self, chunk: Chunk, extent: Extent) -> None:
        self._place = Place(
            chunk.position,
            chunk.frame_sha256,
            max(self._place.timestamp, int(chunk.rows["timestamp"].max(initial=0))),
        )
        if self._progress is not None:
            self._progress(chunk.position, extent.position, self._findings.transfers.compared)
        now = time.monotonic()
        if chunk.frame_sha256 and now - self._saved_at >= SAVE_SECONDS:
            self._saved_at = now
            try:
                write_progress(
                    self._storage, self._reader, self._place, self._findings,
                    cluster_id=self._cluster.configuration.cluster_id,
                )  # fmt: skip
            except OSError as error:
                _log.warning("the progress could not be written: %s", error)

    def _take_transfers(self, paired: Paired) -> None:
        findings = self._findings
        findings.transfers.compared += paired.journal_count
        findings.note_different("transfer", paired.journal, paired.cluster)
        if len(paired.only_journal):
            held = _by_id(self._cluster.lookup_transfers(ids_of(paired.only_journal)))
            at_other_times, missing = _matched(paired.only_journal, held)
            findings.note_different("transfer", *at_other_times)
            findings.note_missing("transfer", missing)
        if len(paired.only_cluster):
            self._take_unknown_transfers(paired.only_cluster)

    def _take_unknown_transfers(self, rows: Rows) -> None:
        """Transfers of the cluster that the journal has not at their times, up to its place."""
        found, _ = self._journal().transfer_rows(ids_of(rows))
        known = set(ids_of(found))  # they are compared where the journal has them
        extra = [
            id_
            for number, id_ in enumerate(ids_of(rows))
            if id_ not in known and not self._is_expiry(rows[number : number + 1])
        ]
        self._findings.note_extra("transfer", extra)

    def _is_expiry(self, row: Rows) -> bool:
        """Whether the journal has it as an expiry, at that time."""
        if not int(row["flags"][0]) & VOID:
            return False
        [id_], [pending_id] = ids_of(row), ids_of(row, "pending_id")
        return id_ == expiry_id(pending_id) and has_row(self._reader, RecordKind.TRANSFERS, row)

    # --- accounts ---

    def _compare_accounts(self, extent: Extent) -> None:
        state = restore_state(
            self._storage, self._reader.directory, position_max=extent.position
        ).state
        rows = copy_rows(state.accounts.rows)
        rows["flags"] |= IMPORTED_ACCOUNT
        cut_long_chains(rows, self._cluster.configuration.batch_events_max)
        pages: Iterator[Rows] = iter(())
        if extent.accounts_timestamp:
            pages = self._cluster.accounts(timestamp_max=extent.accounts_timestamp)
        chunks = (
            Chunk(rows[at : at + BATCH_EVENTS_MAX], extent.position)
            for at in range(0, len(rows), BATCH_EVENTS_MAX)
        )
        for _ in together(chunks, pages, ACCOUNT, self._take_accounts):
            pass
        if not self._outstanding:
            return
        ours, theirs = (
            joined([sides[number] for sides in self._outstanding], ACCOUNT) for number in (0, 1)
        )
        later = find_extent(self._reader, self._cluster)
        ours = fitting(state, self._reader, ours, theirs, position_max=later.position)
        self._findings.note_different("account", ours, theirs)

    def _take_accounts(self, paired: Paired) -> None:
        self._findings.accounts.compared += paired.journal_count
        if len(paired.journal):
            self._outstanding.append((paired.journal, paired.cluster))
        if len(paired.only_journal):
            held = _by_id(self._cluster.lookup_accounts(ids_of(paired.only_journal)))
            at_other_times, missing = _matched(paired.only_journal, held)
            self._outstanding.append(at_other_times)
            self._findings.note_missing("account", missing)
        if len(paired.only_cluster):
            ids = ids_of(paired.only_cluster)
            known = {account.id for account in self._journal().lookup_accounts(ids)}
            self._findings.note_extra("account", [id_ for id_ in ids if id_ not in known])

    # --- the journal by id ---

    def _journal(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger.open(
                self._reader.directory.path, create=False, read_only=True, storage=self._storage
            )
        return self._ledger

    def _close_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def _by_id(rows: Rows) -> dict[int, Rows]:
    return {id_: rows[at : at + 1] for at, id_ in enumerate(ids_of(rows))}


def _matched(rows: Rows, held: dict[int, Rows]) -> tuple[tuple[Rows, Rows], list[int]]:
    """Those that are held, beside what is held, and the ids of those that are not."""
    ids = ids_of(rows)
    there = np.array([id_ in held for id_ in ids], np.bool_)
    theirs = joined([held[id_] for id_ in ids if id_ in held], rows.dtype)
    return (rows[there], theirs), [id_ for id_ in ids if id_ not in held]
