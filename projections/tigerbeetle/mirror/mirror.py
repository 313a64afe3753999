"""The mirror: follows the journal and creates in a cluster what happened, in order, once.

::

    configuration = ClusterConfiguration(cluster_id=0, replicas=("127.0.0.1:3001",))
    with Mirror("data", configuration) as mirror:
        mirror.run(stop)

Sending again is harmless, for ids are unique: the cluster says that they exist. So the cursor moves
only when the cluster has answered, and whatever fails before is sent once more.

Several batches are under way while there is history to catch up with. What the cluster's clock may
not have reached yet is sent by itself: were it refused, what follows must not have been accepted.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import CreateAccountStatus, CreateTransferStatus, Rows
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.storage.files import Storage
from nostro.journal.storage.watch import HeadWatcher
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    AlreadyMirrored,
    ClusterClockBehind,
    ConnectionFailed,
    Difference,
    Divergence,
    OutOfOrder,
    RowsDiffer,
)
from nostro.projections.tigerbeetle.mirror.cursor import MirrorCursor, read_cursor, write_cursor
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth, MirrorState, write_health
from nostro.projections.tigerbeetle.mirror.locate import locate
from nostro.projections.tigerbeetle.mirror.place import MirrorLock, MirrorPlace
from nostro.projections.tigerbeetle.rows.compare import differences, ids_of
from nostro.projections.tigerbeetle.rows.translation import mirrored, pieces
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.projections.tigerbeetle.session.session import Connect, Reply

CURSOR_SECONDS: Final = 10.0
HEALTH_SECONDS: Final = 2.0
"""Each is a file that takes from the disk on which the ledger syncs. An old cursor costs a question
to the cluster; what is new about the mirror is told at once."""
PROBE_SECONDS: Final = 1.0
"""With nothing to send, the cluster is asked for something this often."""
_CREATED: Final = int(CreateTransferStatus.CREATED)
_log = logging.getLogger("nostro")


class Batch(NamedTuple):
    """Rows for one message, and the cursor once the cluster has them."""

    kind: RecordKind
    rows: Rows
    cursor: MirrorCursor | None
    """None when more of the same record follows."""

    @property
    def timestamp_max(self) -> int:
        return int(self.rows["timestamp"].max())


class _Sent(NamedTuple):
    batch: Batch
    future: Future[Reply]


class Mirror:
    """One ledger's mirror in one cluster. Only :meth:`health` may be called from other threads.

    Raises:
        NotALedger, NotOwner, CorruptHead: there is no journal to mirror.
        AlreadyMirrored: another process mirrors it into this cluster.
    """

    def __init__(
        self,
        path: Path | str,
        configuration: ClusterConfiguration,
        *,
        connect: Connect | None = None,
        storage: Storage | None = None,
        breaker: Breaker | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.configuration = configuration
        self._storage = storage or Storage()
        self._reader = Reader(path, storage=self._storage)
        self._directory = self._reader.directory
        self._ledger_id = self._reader.head().ledger_id
        self._connect = connect or native_connect(configuration)
        self._breaker = breaker or Breaker()
        self._clock = clock
        self._cursor = MirrorCursor()
        self._is_cursor_known = False
        self._state = MirrorState.STARTING
        self._is_connected = False
        self._events = self._failures = 0
        self._last_error: tuple[str, int] | None = None
        self._told: object = None
        self._complete_at = clock()
        self._answered_at = 0.0
        self._cursor_written = self._cursor
        self._cursor_written_at = self._health_written_at = 0.0
        self._cluster_timestamp = 0
        self._place = MirrorPlace(self._directory, configuration.cluster_id)
        self._place.make(self._storage)
        self._lock = MirrorLock(self._storage, self._place.lock)

    # --- for whoever runs it ---

    def run(self, stop: threading.Event) -> None:
        """Mirror until ``stop`` is set, as the journal grows; connect as often as need be.

        Raises:
            Divergence: journal and cluster do not say the same; nothing more was sent.
            Damage: the journal cannot be read.
            ClusterError: the client library is missing or refused for good.
            AlreadyMirrored: this is a forked process, and the parent mirrors.
        """
        self._check_held()
        watcher = HeadWatcher(self._directory.head, stop=stop)
        try:
            while not stop.is_set():
                try:
                    with Cluster(self.configuration, self._connect) as cluster:
                        self._follow(cluster, stop, watcher)
                except ConnectionFailed as error:
                    self._is_connected = False
                    self._note_failure(error, MirrorState.RETRYING)
                    stop.wait(self._breaker.failed())
            self._state = MirrorState.STOPPED
        except BaseException as error:
            self._is_connected = False
            diverged = isinstance(error, Divergence)
            self._note_failure(error, MirrorState.DIVERGED if diverged else MirrorState.FAILED)
            raise
        finally:
            watcher.close()
            self._is_connected = False
            self._save(is_due=True)

    def catch_up(self) -> MirrorHealth:
        """Mirror what is durable by now, with one connection.

        Raises:
            ConnectionFailed: no answer; what was answered for is remembered.
            Divergence, Damage, ClusterError: as :meth:`run`.
        """
        self._check_held()
        try:
            with Cluster(self.configuration, self._connect) as cluster:
                self._begin(cluster)
                self._send_all(cluster, threading.Event())
        finally:
            self._is_connected = False
            self._save(is_due=True)
        return self.health()

    def health(self) -> MirrorHealth:
        head = self._reader.head().position
        position = self._cursor.position
        now = self._clock()
        error, error_at = self._last_error or (None, None)
        return MirrorHealth(
            state=self._state,
            connected=self._is_connected,
            cluster_id=self.configuration.cluster_id,
            replicas=",".join(self.configuration.replicas),
            position=position,
            position_head=head,
            lag_seconds=max(0, now - self._complete_at) / 1e9 if position < head else 0.0,
            events_mirrored=self._events,
            failures=self._failures,
            last_error=error,
            last_error_at=error_at,
            updated_at=now,
            process_id=os.getpid(),
        )

    def close(self) -> None:
        """May be repeated; in a forked process it does nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_held(self) -> None:
        if self._lock.is_abandoned:
            raise AlreadyMirrored(self._place.lock)

    # --- one connection ---

    def _follow(self, cluster: Cluster, stop: threading.Event, watcher: HeadWatcher) -> None:
        self._begin(cluster)
        while not stop.is_set():
            try:
                self._send_all(cluster, stop)
            except ClusterClockBehind as error:  # it passes, and the session is as good as any
                self._note_failure(error, MirrorState.CATCHING_UP)
                watcher.wait()
                continue
            self._probe_if_idle(cluster)
            if self._cursor.position >= self._reader.head().position:
                self._state = MirrorState.LIVE
                self._complete_at = self._clock()
            self._save()
            watcher.wait()
            stop.wait(self.configuration.linger_seconds)

    def _probe_if_idle(self, cluster: Cluster) -> None:
        """Ask for something now and then, so that a cluster that is gone is noticed."""
        if time.monotonic() - self._answered_at >= PROBE_SECONDS:
            cluster.probe()
            self._answered_at = time.monotonic()

    def _begin(self, cluster: Cluster) -> None:
        """Find out where the cluster is."""
        self._save(is_due=not self._is_cursor_known)
        known = self._cursor if self._is_cursor_known else None
        if known is None:
            known = read_cursor(self._storage, self._reader, self.configuration.cluster_id)
        self._cursor = locate(self._reader, cluster, known)
        self._is_cursor_known = self._is_connected = True
        self._cluster_timestamp = 0
        self._answered_at = time.monotonic()
        self._breaker.succeeded()
        self._state = MirrorState.CATCHING_UP

    def _send_all(self, cluster: Cluster, stop: threading.Event) -> None:
        """Send what is durable now, and return when the cluster has answered for all of it."""
        under_way: deque[_Sent] = deque()
        try:
            for batch in self._batches():
                while under_way and not self._may_follow(under_way, batch):
                    self._settle(cluster, under_way.popleft())
                if batch.kind is RecordKind.ACCOUNTS:
                    future = cluster.create_accounts(batch.rows)
                else:
                    future = cluster.create_transfers(batch.rows)
                under_way.append(_Sent(batch, future))
                if stop.is_set():
                    break
        except OutOfOrder:  # all before it is mirrored
            self._settle_all(cluster, under_way)
            raise
        self._settle_all(cluster, under_way)

    def _may_follow(self, under_way: deque[_Sent], batch: Batch) -> bool:
        """Whether it may be sent before those under way have their answers."""
        return (
            len(under_way) < self.configuration.batches_in_flight_max
            and max(batch.timestamp_max, under_way[-1].batch.timestamp_max)
            < self._cluster_timestamp
        )

    def _batches(self) -> Iterator[Batch]:
        """What comes after the cursor, up to HEAD, in messages as full as order allows.

        Raises:
            OutOfOrder: no cluster takes what comes next.
        """
        count_max = self.configuration.batch_events_max
        kind: RecordKind | None = None
        gathered: list[Rows] = []
        count = 0
        cursor = self._cursor
        for record in self._reader.records(Cursor(position=cursor.position + 1)):
            wanted = mirrored(record, chain_events_max=count_max)
            if wanted is not None:
                is_late = cursor.is_after(wanted)
                is_full = is_late or wanted.kind is not kind or count + len(wanted.rows) > count_max
                if kind is not None and gathered and is_full:
                    yield Batch(kind, _joined(gathered), cursor)
                    gathered, count = [], 0
                if is_late:
                    [id_] = ids_of(wanted.rows[:1])
                    timestamp = int(wanted.rows["timestamp"][0])
                    raise OutOfOrder(cursor.position, id_, timestamp, cursor.transfers_timestamp)
                kind = wanted.kind
                *full, rest = pieces(wanted.rows, count_max)
                for piece in full:
                    yield Batch(kind, piece, None)
                gathered.append(rest)
                count += len(rest)
            cursor = cursor.after(record, wanted)
        if kind is not None and gathered:
            yield Batch(kind, _joined(gathered), cursor)
        elif kind is None:
            self._cursor = cursor  # there was nothing for a cluster in it

    def _settle_all(self, cluster: Cluster, under_way: deque[_Sent]) -> None:
        while under_way:
            self._settle(cluster, under_way.popleft())

    def _settle(self, cluster: Cluster, sent: _Sent) -> None:
        """Wait for an answer, and check it: all is there, with the journal's times."""
        results, self._cluster_timestamp = cluster.results(sent.future)
        self._answered_at = time.monotonic()
        batch = sent.batch
        created = results["status"] == _CREATED
        if not (
            len(results) == len(batch.rows)
            and np.array_equal(results["timestamp"], batch.rows["timestamp"])
            and created.all()
        ):
            self._check_there(cluster, batch, results)
        self._events += len(batch.rows)
        if batch.cursor is not None:
            self._cursor = batch.cursor
        self._save()

    def _check_there(self, cluster: Cluster, batch: Batch, results: Rows) -> None:
        """What was not created must be in the cluster already, as the journal has it."""
        statuses = results["status"]
        behind = _clock_behind(batch.kind)
        if (statuses == behind).any():
            raise ClusterClockBehind(int(batch.rows["timestamp"][statuses == behind][0]))
        rows = batch.rows[statuses != _CREATED] if len(statuses) == len(batch.rows) else batch.rows
        is_accounts = batch.kind is RecordKind.ACCOUNTS
        lookup = cluster.lookup_accounts if is_accounts else cluster.lookup_transfers
        found = lookup(ids_of(rows))
        position = batch.cursor.position if batch.cursor is not None else self._cursor.position
        missing = set(ids_of(rows)) - set(ids_of(found))
        if missing:
            raise RowsDiffer(position, tuple(_refusals(batch, results, missing)))
        if told := tuple(differences(batch.kind, rows, found)):
            raise RowsDiffer(position, told)

    # --- what is remembered ---

    def _note_failure(self, error: BaseException, state: MirrorState) -> None:
        self._state = state
        self._failures += 1
        self._last_error = str(error) or repr(error), self._clock()
        self._save()

    def _save(self, *, is_due: bool = False) -> None:
        """Write the cursor and the health down, now and then.

        They are derived: a full disk costs no more than asking the cluster again.
        """
        now = time.monotonic()
        try:
            if is_due or now - self._cursor_written_at >= CURSOR_SECONDS:
                self._cursor_written_at = now
                self._write_cursor()
            news = self._state, self._is_connected, self._last_error
            if is_due or news != self._told or now - self._health_written_at >= HEALTH_SECONDS:
                self._told, self._health_written_at = news, now
                write_health(self._storage, self._place.health, self.health())
        except OSError as error:
            _log.warning("the mirror's cursor could not be written: %s", error)

    def _write_cursor(self) -> None:
        if self._is_cursor_known and self._cursor != self._cursor_written:
            write_cursor(
                self._storage, self._directory, self._cursor,
                ledger_id=self._ledger_id, cluster_id=self.configuration.cluster_id,
            )  # fmt: skip
            self._cursor_written = self._cursor


def _joined(parts: list[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _clock_behind(kind: RecordKind) -> int:
    if kind is RecordKind.ACCOUNTS:
        return CreateAccountStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE
    return CreateTransferStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE


def _refusals(batch: Batch, results: Rows, missing: set[int]) -> Iterator[Difference]:
    """What the cluster said of rows that are not there."""
    statuses: type[CreateAccountStatus | CreateTransferStatus] = CreateTransferStatus
    name = "transfer"
    if batch.kind is RecordKind.ACCOUNTS:
        statuses, name = CreateAccountStatus, "account"
    for id_, status in zip(ids_of(batch.rows), results["status"].tolist(), strict=False):
        if id_ in missing:
            yield Difference(name, id_, "status", "created", statuses(status).name.lower())
