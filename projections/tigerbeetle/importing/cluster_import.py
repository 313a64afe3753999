"""Making a journal of a cluster, and following it as it grows.

::

    with ClusterImport("data", configuration) as importing:
        report = importing.run()

Accounts and transfers come in order of time, with their times, so the journal's newest say where to
go on: an import may end anywhere, and running it again writes nothing twice. Of each stretch of
time the accounts are written first. Nothing is ever written to the cluster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import attrs
import numpy as np

from nostro.journal.errors import NotALedger
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import (
    ACCOUNT,
    BATCH_EVENTS_MAX,
    TRANSFER,
    CreateAccountStatus,
    CreateTransferStatus,
    Rows,
)
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ConnectionFailed,
    Difference,
    ImportRefused,
)
from nostro.projections.tigerbeetle.importing.import_origin import check_origin, remember_origin
from nostro.projections.tigerbeetle.importing.imported_rows import (
    adopted_accounts,
    adopted_transfers,
    expiry_voids,
    free_time,
    whole_chains,
)
from nostro.projections.tigerbeetle.reconcile.reconcile import PATIENCE_SECONDS
from nostro.projections.tigerbeetle.rows.compare import differences, ids_of
from nostro.projections.tigerbeetle.rows.pairing import joined, pair, sorted_by_time
from nostro.projections.tigerbeetle.rows.translation import IMPORTED_ACCOUNT, LINKED, pieces
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.projections.tigerbeetle.session.session import Connect
from nostro.projections.tigerbeetle.session.timeouts import Timeouts, open_pendings

POLL_SECONDS: Final = 0.2
REMEMBER_SECONDS: Final = 5.0
_ROUNDS_MAX: Final = 5
"""So often a cluster that goes on is caught up with before its balances are given up on."""
_ROWS: Final = 7 * 8_189
"""Read before they are written; with what expired meanwhile hardly ever more than one request."""
_CREATED: Final = int(CreateTransferStatus.CREATED)
Progress = Callable[[int, int, int], None]
"""Called with the ns of the cluster's history that are done, those there are, and the transfers."""


@attrs.frozen
class ImportReport:
    ledger_id: bytes
    position: int
    accounts: int
    """Imported now."""
    transfers: int
    """Imported now."""
    expiries: int
    """Imported now: pending transfers whose time ran out."""
    accounts_compared: int | None
    """So many accounts were held against the cluster in the end; None if it did not keep still, or
    the import was stopped."""
    differences: tuple[Difference, ...]
    """Between them, balances included."""
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
        connect: Connect | None = None,
        storage: Storage | None = None,
    ) -> None:
        self._storage = storage or Storage()
        self._directory = Directory(Path(path))
        self._configuration = attrs.evolve(
            configuration, timeout_seconds=max(configuration.timeout_seconds, PATIENCE_SECONDS)
        )
        self._connect = connect or native_connect(configuration)
        self._newest = 0
        with Cluster(configuration, self._connect) as cluster:
            cluster.probe()
            if self._is_ledger():
                reader = Reader(path, storage=self._storage)
                check_origin(self._storage, reader, cluster)
        self._ledger = Ledger.open(path, mirror=None, clock=self._now, storage=self._storage)
        try:
            state = restore_state(self._storage, self._directory).state
        except BaseException:
            self._ledger.close()
            raise
        self._accounts_timestamp = state.accounts.timestamp_max
        self._transfers_timestamp = self._began_at = state.transfers_timestamp_max
        self._newest = state.timestamp
        self._pending = open_pendings(state)
        self._timeouts: Timeouts | None = None
        self._accounts = self._transfers = self._expiries = 0
        self._remembered_at = 0.0

    def run(
        self,
        *,
        follow: bool = False,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Import what there is; with ``follow``, go on with what comes until ``stop`` is set.

        Raises:
            ConnectionFailed: no answer. What was imported stays, and the next run goes on there.
                When following, the connection is made again instead.
            ImportRefused: the rules do not allow what the cluster says.
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
        """Import what had happened when this began; return when that was, ns."""
        until = cluster.now()
        if self._timeouts is None:
            self._timeouts = Timeouts.of(cluster, self._pending)
        accounts = _Accounts(cluster, self._accounts_timestamp, until)
        end = int(cluster.newest_transfer()["timestamp"].max(initial=0))
        for rows, reached in _stretches(cluster, self._transfers_timestamp, until):
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
        for piece in pieces(adopted_accounts(rows, cluster.has_transfers), BATCH_EVENTS_MAX):
            if len(piece):
                self._newest = max(self._newest, int(piece["timestamp"].max()))
                results = self._ledger.create_accounts(piece)
                self._require_created("account", piece, results)
                self._accounts += len(piece)
                self._accounts_timestamp = int(piece["timestamp"][-1])

    def _create_transfers(
        self, cluster: Cluster, timeouts: Timeouts, rows: Rows, reached: int
    ) -> None:
        """Import a stretch of transfers, and what expired in it.

        Args:
            reached: where the stretch ends, ns.
        """
        timeouts.note(rows)
        expiries, unknown = timeouts.ended(cluster, reached)
        if unknown:
            taken = {*rows["timestamp"].tolist(), *(at for _, at in expiries)}
            taken |= set(self._ledger.accounts()["timestamp"].tolist())
            for id_, wanted in unknown:
                at = free_time(max(wanted, self._transfers_timestamp + 1), taken)
                if at <= reached:
                    taken.add(at)
                    expiries.append((id_, at))
        together = joined([adopted_transfers(rows), expiry_voids(expiries)], TRANSFER)
        for piece in pieces(sorted_by_time(together), BATCH_EVENTS_MAX):
            if len(piece):
                self._newest = max(self._newest, int(piece["timestamp"].max()))
                results = self._ledger.create_transfers(piece)
                self._require_created("transfer", piece, results)
                self._transfers_timestamp = int(piece["timestamp"][-1])
        timeouts.forget(id_ for id_, _ in expiries)
        self._transfers += len(rows)
        self._expiries += len(expiries)

    def _require_created(self, kind: str, rows: Rows, results: Rows) -> None:
        refused = np.flatnonzero(results["status"] != _CREATED)
        if len(refused):
            at = int(refused[0])
            statuses = CreateAccountStatus if kind == "account" else CreateTransferStatus
            status = statuses(int(results["status"][at])).name.lower()
            raise ImportRefused(kind, ids_of(rows[at : at + 1])[0], status)

    def _now(self) -> int:
        """The ledger's clock: the cluster's, where that is ahead of this machine's."""
        return max(time.time_ns(), self._newest + 1)

    # --- in the end ---

    def _compare(self, cluster: Cluster) -> tuple[int, tuple[Difference, ...]] | None:
        """Hold all accounts against the cluster's; None if it does not keep still."""
        for _ in range(_ROUNDS_MAX):
            until = self._catch_up(cluster, threading.Event(), None)
            pages = list(cluster.accounts())
            if not self._has_news(cluster, until):
                break
        else:
            return None
        ours, theirs = self._ledger.accounts(), joined(pages, ACCOUNT).copy()
        theirs["flags"] |= IMPORTED_ACCOUNT
        paired = pair(ours, theirs)
        found = list(
            differences(RecordKind.ACCOUNTS, paired.journal, paired.cluster, balances=True)
        )
        for rows, sides in (
            (paired.only_journal, ("there", "missing")),
            (paired.only_cluster, ("missing", "there")),
        ):
            found += [Difference("account", id_, "presence", *sides) for id_ in ids_of(rows)]
        return paired.journal_count, tuple(found)

    def _has_news(self, cluster: Cluster, since: int) -> bool:
        """Whether anything has happened in the cluster after a time."""
        pages = (cluster.newest_account(), cluster.newest_transfer())
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
    """The cluster's accounts after a time, handed out as far as they are asked for."""

    def __init__(self, cluster: Cluster, after: int, until: int) -> None:
        self._pages: Iterator[Rows] = iter(())
        if after < until:
            self._pages = cluster.accounts(timestamp_min=after + 1, timestamp_max=until)
        self._held: Rows = np.zeros(0, ACCOUNT)

    def up_to(self, timestamp: int) -> Rows:
        """``ACCOUNT[n]`` up to a time, ns, and beyond it the rest of a chain."""
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


def _stretches(cluster: Cluster, after: int, until: int) -> Iterator[tuple[Rows, int]]:
    """``TRANSFER[n]`` of stretches of time, no chain cut, and where each stretch ends, ns."""
    pages: Iterator[Rows] = iter(())
    if after < until:
        pages = cluster.transfers(timestamp_min=after + 1, timestamp_max=until)
    gathered: list[Rows] = []
    for page in pages:
        gathered.append(page)
        if sum(map(len, gathered)) < _ROWS:
            continue
        rows = joined(gathered, TRANSFER)
        count = whole_chains(rows)
        if count:
            yield rows[:count], int(rows["timestamp"][count - 1])
        gathered = [rows[count:]]
    rows = joined(gathered, TRANSFER)
    count = whole_chains(rows)
    yield rows[:count], until if count == len(rows) else int(rows["timestamp"][count]) - 1
