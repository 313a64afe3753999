"""Importing a cluster into a journal, and following it as it grows.

::

    with ClusterImport("data", configuration, open_ledger=Ledger.open) as importing:
        report = importing.run()

Accounts and transfers come in order of time and keep their times, so the journal's newest show
where to continue: an import may stop anywhere, and running it again writes nothing twice. In each
span of time the accounts are written first. Nothing is ever written to the cluster.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import attrs
import numpy as np

from nostro.journal.errors import NotALedger
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ACCOUNT, BATCH_EVENTS_MAX, TRANSFER, Rows
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import ConnectionFailed, Difference, ImportRefused
from nostro.projections.tigerbeetle.importing.import_origin import check_origin, remember_origin
from nostro.projections.tigerbeetle.journal_ledger import OpenLedger
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.reconcile.comparison import Comparison
from nostro.projections.tigerbeetle.reconcile.reconcile import PATIENCE_SECONDS
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.pairing import joined, pair, sorted_by_time
from nostro.projections.tigerbeetle.rows.translation import (
    IMPORTED_ACCOUNT,
    LINKED,
    expiry_voids,
    imported_accounts,
    imported_transfers,
    pieces,
)
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.projections.tigerbeetle.session.session import Connect
from nostro.projections.tigerbeetle.session.timeouts import PendingTimeouts, open_pendings

POLL_SECONDS: Final = 0.2
REMEMBER_SECONDS: Final = 5.0
_ROUNDS_MAX: Final = 5
"""After this many attempts to catch up with a busy cluster, its balances are not compared."""
SPAN_TRANSFERS: Final = 7 * 8_189
"""Transfers that are read before they are written. With the expiries among them they rarely need
more than one request to the journal."""
Progress = Callable[[int, int, int], None]
"""Called with the ns of history that are imported, the ns in all, and the transfers so far."""


@attrs.frozen
class ImportReport:
    ledger_id: bytes
    position: int
    accounts: int
    """Imported now."""
    transfers: int
    """Imported now."""
    expiries: int
    """Pending transfers that expired, imported now."""
    accounts_compared: int | None
    """Accounts compared with the cluster in the end; None if the cluster was too busy, or the
    import was stopped."""
    differences: tuple[Difference, ...]
    """Between these accounts, balances included."""
    seconds: float


class ClusterImport:
    """An import of one cluster into one ledger's directory. Not thread-safe.

    Raises:
        ConnectionFailed: no answer; nothing was written.
        NotMadeFromCluster: the directory holds something else; nothing was written.
        NotALedger, NotOwner, LedgerLocked, Damage: likewise.
    """

    def __init__(
        self,
        path: Path | str,
        configuration: ClusterConfiguration,
        *,
        open_ledger: OpenLedger,
        span_transfers: int = SPAN_TRANSFERS,
        connect: Connect | None = None,
        storage: Storage | None = None,
    ) -> None:
        """Check the cluster and the directory, and open the ledger.

        Args:
            open_ledger: ``Ledger.open``.
            span_transfers: read at least this many transfers before writing them.
        """
        self._storage = storage or Storage()
        self._span_transfers = span_transfers
        self._directory = Directory(Path(path))
        self._configuration = attrs.evolve(
            configuration, timeout_seconds=max(configuration.timeout_seconds, PATIENCE_SECONDS)
        )
        self._connect = connect or native_connect(configuration)
        self._newest = 0
        with Cluster(configuration, self._connect) as cluster:
            cluster.now()
            if self._is_ledger():
                reader = Reader(path, storage=self._storage)
                check_origin(self._storage, reader, cluster)
        self._ledger = open_ledger(path, clock=self._now, storage=self._storage)
        try:
            state = restore_state(self._storage, self._directory).state
        except BaseException:
            self._ledger.close()
            raise
        self._reached = {
            RecordKind.ACCOUNTS: state.accounts.timestamp_max,
            RecordKind.TRANSFERS: state.transfers_timestamp_max,
        }
        """The time of the newest imported event of each kind, ns."""
        self._began_at = state.transfers_timestamp_max
        self._newest = state.timestamp
        self._pending = open_pendings(state)
        self._timeouts: PendingTimeouts | None = None
        self._accounts = self._transfers = self._expiries = 0
        self._remembered_at = 0.0

    def run(
        self,
        *,
        follow: bool = False,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Import every event; with ``follow``, also new ones until ``stop`` is set.

        Raises:
            ConnectionFailed: no answer. Imported events stay, and the next run continues after
                them. When following, this reconnects instead.
            ImportRefused: the rules do not allow an event of the cluster.
            JournalFull, WriterPoisoned: the disk.
        """
        began = time.perf_counter()
        stop = stop or threading.Event()
        breaker = Breaker()
        compared: tuple[int, tuple[Difference, ...]] | None = None
        while True:
            try:
                with Cluster(self._configuration, self._connect) as cluster:
                    self._catch_up(cluster, stop, progress)
                    breaker.succeeded()
                    while follow and not stop.wait(POLL_SECONDS):
                        self._catch_up(cluster, stop, progress)
                    if not stop.is_set() or follow:
                        compared = self._compare(cluster)
                break
            except ConnectionFailed:
                if not follow:
                    raise
                if stop.wait(breaker.failed()):
                    break
        self._remember(is_due=True)
        return ImportReport(
            ledger_id=self._ledger.ledger_id,
            position=self._ledger.position,
            accounts=self._accounts,
            transfers=self._transfers,
            expiries=self._expiries,
            accounts_compared=None if compared is None else compared[0],
            differences=() if compared is None else compared[1],
            seconds=time.perf_counter() - began,
        )

    def close(self) -> None:
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ---

    def _catch_up(self, cluster: Cluster, stop: threading.Event, progress: Progress | None) -> int:
        """Import every event up to now; return the cluster's time of now, ns."""
        until = cluster.now()
        if self._timeouts is None:
            self._timeouts = PendingTimeouts.of(cluster, self._pending)
        accounts = _Accounts(cluster, self._reached[RecordKind.ACCOUNTS], until)
        end = int(cluster.newest(RecordKind.TRANSFERS)["timestamp"].max(initial=0))
        spans = _spans(cluster, self._reached[RecordKind.TRANSFERS], until, self._span_transfers)
        for rows, reached in spans:
            if stop.is_set():
                break
            self._create_accounts(cluster, accounts.up_to(reached))
            self._create_transfers(cluster, self._timeouts, rows, reached)
            self._remember()
            if progress is not None and len(rows):
                self._began_at = self._began_at or int(rows["timestamp"][0])
                done = int(rows["timestamp"][-1]) - self._began_at
                progress(done, max(end - self._began_at, done), self._transfers)
        return until

    # --- writing ---

    def _create_accounts(self, cluster: Cluster, rows: Rows) -> None:
        self._create(RecordKind.ACCOUNTS, imported_accounts(rows, cluster.has_transfers))
        self._accounts += len(rows)

    def _create_transfers(
        self, cluster: Cluster, timeouts: PendingTimeouts, rows: Rows, reached: int
    ) -> None:
        """Import a span of transfers, and the expiries in it.

        Args:
            reached: the end of the span, ns.
        """
        timeouts.note(rows)
        expiries, unknown = timeouts.ended(cluster, reached)
        if unknown:
            taken = {*rows["timestamp"].tolist(), *(at for _, at in expiries)}
            taken |= set(self._ledger.accounts()["timestamp"].tolist())
            for id_, wanted in unknown:
                at = max(wanted, self._reached[RecordKind.TRANSFERS] + 1)
                while at in taken:
                    at += 1
                if at <= reached:
                    taken.add(at)
                    expiries.append((id_, at))
        together = joined([imported_transfers(rows), expiry_voids(expiries)], TRANSFER)
        self._create(RecordKind.TRANSFERS, sorted_by_time(together))
        timeouts.forget(id_ for id_, _ in expiries)
        self._transfers += len(rows)
        self._expiries += len(expiries)

    def _create(self, kind: RecordKind, rows: Rows) -> None:
        """Create rows in the journal."""
        its, is_accounts = EVENT_KINDS[kind], kind is RecordKind.ACCOUNTS
        create = self._ledger.create_accounts if is_accounts else self._ledger.create_transfers
        for piece in pieces(rows, BATCH_EVENTS_MAX) if len(rows) else ():
            self._newest = max(self._newest, int(piece["timestamp"].max()))
            statuses = create(piece)["status"]
            refused = np.flatnonzero(statuses != its.statuses.CREATED)
            if len(refused):
                at = int(refused[0])
                status = its.statuses(int(statuses[at])).name.lower()
                raise ImportRefused(its.name, ids_of(piece[at : at + 1])[0], status)
            self._reached[kind] = int(piece["timestamp"][-1])

    def _now(self) -> int:
        """The ledger's clock: this machine's, or the cluster's if that is ahead."""
        return max(time.time_ns(), self._newest + 1)

    # --- comparing in the end ---

    def _compare(self, cluster: Cluster) -> tuple[int, tuple[Difference, ...]] | None:
        """Compare all accounts with the cluster's; None if it is too busy."""
        for _ in range(_ROUNDS_MAX):
            until = self._catch_up(cluster, threading.Event(), None)
            pages = list(cluster.pages(RecordKind.ACCOUNTS))
            if not self._has_news(cluster, until):
                break
        else:
            return None
        ours, theirs = self._ledger.accounts(), joined(pages, ACCOUNT).copy()
        theirs["flags"] |= IMPORTED_ACCOUNT
        paired = pair(ours, theirs)
        comparison = Comparison(differences_max=sys.maxsize)
        comparison.note_different(RecordKind.ACCOUNTS, paired.journal, paired.cluster)
        comparison.note_missing(RecordKind.ACCOUNTS, ids_of(paired.only_journal))
        comparison.note_extra(RecordKind.ACCOUNTS, ids_of(paired.only_cluster))
        return paired.journal_count, tuple(comparison.differences)

    def _has_news(self, cluster: Cluster, since: int) -> bool:
        """Whether the cluster has changed after a time, ns."""
        pages = [cluster.newest(kind) for kind in EVENT_KINDS]
        if any(len(page) and int(page["timestamp"][0]) > since for page in pages):
            return True
        return next(cluster.change_events(since + 1, cluster.now()), None) is not None

    def _remember(self, *, is_due: bool = False) -> None:
        now = time.monotonic()
        if is_due or now - self._remembered_at >= REMEMBER_SECONDS:
            self._remembered_at = now
            remember_origin(self._storage, self._directory, self._configuration.cluster_id)

    def _is_ledger(self) -> bool:
        try:
            Reader(self._directory.path, storage=self._storage)
        except NotALedger:
            return False
        return True


class _Accounts:
    """The cluster's accounts after a time, in order."""

    def __init__(self, cluster: Cluster, after: int, until: int) -> None:
        self._pages = cluster.pages(RecordKind.ACCOUNTS, after=after, until=until)
        self._held: Rows = np.zeros(0, ACCOUNT)

    def up_to(self, timestamp: int) -> Rows:
        """The next ``ACCOUNT[n]`` up to a time, ns, and the rest of a chain beyond it."""
        while True:
            held = self._held
            count = int(np.searchsorted(held["timestamp"], np.uint64(timestamp), "right"))
            while 0 < count < len(held) and held["flags"][count - 1] & LINKED:
                count += 1
            if count < len(held):
                break
            page = next(self._pages, None)
            if page is None:
                break
            self._held = joined([held, page], ACCOUNT)
        self._held = held[count:]
        return held[:count]


def _spans(cluster: Cluster, after: int, until: int, count_min: int) -> Iterator[tuple[Rows, int]]:
    """Yield ``TRANSFER[n]`` of spans of time, no chain cut, and the end of each span, ns."""
    gathered: list[Rows] = []
    for page in cluster.pages(RecordKind.TRANSFERS, after=after, until=until):
        gathered.append(page)
        if sum(map(len, gathered)) < count_min:
            continue
        rows = joined(gathered, TRANSFER)
        count = _complete_chains(rows)
        if count:
            yield rows[:count], int(rows["timestamp"][count - 1])
        gathered = [rows[count:]]
    rows = joined(gathered, TRANSFER)
    count = _complete_chains(rows)
    yield rows[:count], until if count == len(rows) else int(rows["timestamp"][count]) - 1


def _complete_chains(rows: Rows) -> int:
    """The number of rows before a chain that is not complete."""
    ends = np.flatnonzero(rows["flags"] & LINKED == 0)
    return int(ends[-1]) + 1 if len(ends) else 0
