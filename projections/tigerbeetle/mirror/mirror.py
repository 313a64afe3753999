"""The mirror: follows the journal and creates each of its events in a cluster once, in order.

::

    configuration = ClusterConfiguration(cluster_id=0, replicas=("127.0.0.1:3001",))
    with Mirror("data", configuration) as mirror:
        mirror.run(stop)

Ids are unique, so sending an event again is harmless: the cluster answers that it exists. The
cursor moves only when the cluster has answered; a batch without an answer is sent again.

While the mirror catches up, several batches are in flight. A batch that the cluster's clock may
not have reached yet is sent alone: if it is refused, no later batch may have been accepted.
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

import attrs
import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import CreateTransferStatus, Rows
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
from nostro.projections.tigerbeetle.mirror.files import MirrorFiles, lock_mirror
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth, MirrorState, write_health
from nostro.projections.tigerbeetle.mirror.mirrored_position import find_mirrored_position
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.compare import ids_of, require_equal
from nostro.projections.tigerbeetle.rows.pairing import joined
from nostro.projections.tigerbeetle.rows.translation import mirrored, pieces
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from nostro.projections.tigerbeetle.session.session import Connect, Reply

_CREATED: Final = int(CreateTransferStatus.CREATED)
_CLOCK_BEHIND: Final = CreateTransferStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE.name
_log = logging.getLogger("nostro")


@attrs.frozen
class Intervals:
    """How often a mirror does what it need not do for every batch.

    Both files share the disk on which the ledger syncs. An old cursor costs a few look-ups; changes
    of state are written at once.
    """

    cursor_seconds: float = 10.0
    health_seconds: float = 2.0
    probe_seconds: float = 1.0
    """An idle mirror sends the cluster a request this often."""


_INTERVALS: Final = Intervals()


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
        AlreadyMirrored: another mirror of it runs for this cluster.
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
        watcher: Callable[..., HeadWatcher] = HeadWatcher,
        intervals: Intervals = _INTERVALS,
    ) -> None:
        """Take the lock; nothing connects yet.

        Args:
            connect: opens a session; by default with the client library.
            breaker: decides how long to wait before the next connection.
            clock: the time in health reports, ns.
            watcher: makes the object that waits for the journal to grow.
            intervals: how often to write files and to probe an idle cluster.
        """
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
        self._health_written: object = None
        self._complete_at = clock()
        self._answered_at = 0.0
        self._cursor_written = self._cursor
        self._cursor_written_at = self._health_written_at = 0.0
        self._cluster_timestamp = 0
        self._watcher = watcher
        self._intervals = intervals
        self._files = MirrorFiles(self._directory, configuration.cluster_id)
        self._files.make(self._storage)
        self._lock = lock_mirror(self._storage, self._files.lock)

    # --- running it ---

    def run(self, stop: threading.Event) -> None:
        """Mirror the growing journal until ``stop`` is set; reconnect after a failure.

        Raises:
            Divergence: journal and cluster differ; nothing more was sent.
            Damage: the journal cannot be read.
            ClusterError: the client library is missing, or trying again cannot help.
            AlreadyMirrored: this is a forked process, and the parent mirrors.
        """
        self._check_held()
        watcher = self._watcher(self._directory.head, stop=stop)
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
        """Mirror every event that is durable now, with one connection.

        Raises:
            ConnectionFailed: no answer; the cursor keeps the batches that were answered.
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
            raise AlreadyMirrored(self._files.lock)

    # --- one connection ---

    def _follow(self, cluster: Cluster, stop: threading.Event, watcher: HeadWatcher) -> None:
        self._begin(cluster)
        while not stop.is_set():
            try:
                self._send_all(cluster, stop)
            except ClusterClockBehind as error:  # it passes, and the session still works
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
        """Send a request now and then: it fails if the cluster is gone."""
        if time.monotonic() - self._answered_at >= self._intervals.probe_seconds:
            cluster.now()
            self._answered_at = time.monotonic()

    def _begin(self, cluster: Cluster) -> None:
        """Find the position up to which the cluster mirrors the journal."""
        self._save(is_due=not self._is_cursor_known)
        known = self._cursor if self._is_cursor_known else None
        if known is None:
            known = read_cursor(self._storage, self._reader, self.configuration.cluster_id)
        self._cursor = find_mirrored_position(self._reader, cluster, known)
        self._is_cursor_known = self._is_connected = True
        self._cluster_timestamp = 0
        self._answered_at = time.monotonic()
        self._breaker.succeeded()
        self._state = MirrorState.CATCHING_UP

    def _send_all(self, cluster: Cluster, stop: threading.Event) -> None:
        """Send what is durable now, and return when the cluster has answered all of it."""
        in_flight: deque[_Sent] = deque()
        try:
            for batch in self._batches():
                while in_flight and not self._may_follow(in_flight, batch):
                    self._settle(cluster, in_flight.popleft())
                in_flight.append(_Sent(batch, cluster.create(batch.kind, batch.rows)))
                if stop.is_set():
                    break
        except OutOfOrder:  # all before it is mirrored
            self._settle_all(cluster, in_flight)
            raise
        self._settle_all(cluster, in_flight)

    def _may_follow(self, in_flight: deque[_Sent], batch: Batch) -> bool:
        """Whether it may be sent before the batches in flight have their answers."""
        return (
            len(in_flight) < self.configuration.batches_in_flight_max
            and max(batch.timestamp_max, in_flight[-1].batch.timestamp_max)
            < self._cluster_timestamp
        )

    def _batches(self) -> Iterator[Batch]:
        """Yield the events after the cursor, up to HEAD, in messages as full as order allows.

        Raises:
            OutOfOrder: no cluster takes the next transfer.
        """
        count_max = self.configuration.batch_events_max
        kind: RecordKind | None = None
        gathered: list[Rows] = []
        count = 0
        cursor = self._cursor
        for record in self._reader.records(Cursor(position=cursor.position + 1)):
            reached = cursor.after(record, None)
            for part in record.parts:
                wanted = mirrored(part, chain_events_max=count_max)
                if wanted is None:
                    continue
                is_late = cursor.is_after(wanted)
                is_full = is_late or wanted.kind is not kind or count + len(wanted.rows) > count_max
                if kind is not None and gathered and is_full:
                    yield Batch(kind, joined(gathered, gathered[0].dtype), cursor)
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
                reached = reached.after(record, wanted)
            cursor = reached
        if kind is not None and gathered:
            yield Batch(kind, joined(gathered, gathered[0].dtype), cursor)
        elif kind is None:
            self._cursor = cursor  # there was nothing for a cluster in it

    def _settle_all(self, cluster: Cluster, in_flight: deque[_Sent]) -> None:
        while in_flight:
            self._settle(cluster, in_flight.popleft())

    def _settle(self, cluster: Cluster, sent: _Sent) -> None:
        """Wait for an answer, and check that all rows exist with the journal's times."""
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
        """Check that rows that were not created exist in the cluster as the journal has them."""
        statuses = results["status"]
        early = statuses == EVENT_KINDS[batch.kind].statuses[_CLOCK_BEHIND]
        if early.any():
            raise ClusterClockBehind(int(batch.rows["timestamp"][early][0]))
        rows = batch.rows[statuses != _CREATED] if len(statuses) == len(batch.rows) else batch.rows
        held = cluster.look_up(batch.kind, ids_of(rows))
        position = batch.cursor.position if batch.cursor is not None else self._cursor.position
        missing = set(ids_of(rows)) - set(ids_of(held))
        if missing:
            raise RowsDiffer(position, tuple(_refusals(batch, results, missing)))
        require_equal(batch.kind, rows, held, position=position)

    # --- writing cursor and health ---

    def _note_failure(self, error: BaseException, state: MirrorState) -> None:
        self._state = state
        self._failures += 1
        self._last_error = str(error) or repr(error), self._clock()
        self._save()

    def _save(self, *, is_due: bool = False) -> None:
        """Write cursor and health, each at its interval.

        Both are derived: on a full disk the next mirror only has to ask the cluster again.
        """
        now = time.monotonic()
        try:
            if is_due or now - self._cursor_written_at >= self._intervals.cursor_seconds:
                self._cursor_written_at = now
                self._write_cursor()
            news = self._state, self._is_connected, self._last_error
            waited = now - self._health_written_at
            if is_due or news != self._health_written or waited >= self._intervals.health_seconds:
                self._health_written, self._health_written_at = news, now
                write_health(self._storage, self._files.health, self.health())
        except OSError as error:
            _log.warning("the mirror's cursor could not be written: %s", error)

    def _write_cursor(self) -> None:
        if self._is_cursor_known and self._cursor != self._cursor_written:
            write_cursor(
                self._storage, self._directory, self._cursor,
                ledger_id=self._ledger_id, cluster_id=self.configuration.cluster_id,
            )  # fmt: skip
            self._cursor_written = self._cursor


def _refusals(batch: Batch, results: Rows, missing: set[int]) -> Iterator[Difference]:
    """The cluster's statuses for rows that it does not hold."""
    its = EVENT_KINDS[batch.kind]
    for id_, status in zip(ids_of(batch.rows), results["status"].tolist(), strict=False):
        if id_ in missing:
            yield Difference(its.name, id_, "status", "created", its.statuses(status).name.lower())
