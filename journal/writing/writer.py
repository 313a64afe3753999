"""The one writer of a journal: append, group commit, rotation, and what happens when it fails.

``append`` queues a record and returns it; ``wait`` returns once the record is durable. A record
that is alone in the queue is written at once, and the disk works on it before a caller waits. The
first caller that waits leads: it writes the whole queue. Records that arrive meanwhile share the
next sync. The order never changes: write the group, sync it, write HEAD, release the callers.

When the disk is full, the writer refuses the group and everything queued behind it, and the journal
stays as it was. When a write or a sync fails, the writer retries nothing: it is *poisoned*.
Reopening the journal shows whether the group survived.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import attrs

from nostro.journal.errors import (
    InvalidField,
    JournalError,
    JournalFull,
    LedgerClosed,
    LedgerReplaced,
    NotALedger,
    WriterPoisoned,
)
from nostro.journal.format import frame
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.frame import FrameHeader, frame_sha256
from nostro.journal.format.head import Head, encode_slot
from nostro.journal.format.segment import (
    FORMAT_VERSION,
    SEGMENT_BYTES_LIMIT,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    encode_segment_header,
)
from nostro.journal.storage.directory import Directory, Lock, read_head, require_ledger
from nostro.journal.storage.files import NO_SPACE_ERRNOS, Storage, replace_file, replacing
from nostro.journal.writing.active_file import ActiveFile, NoRoom
from nostro.journal.writing.creation import create_journal, is_initialised, prepare_directory
from nostro.journal.writing.manifest import SealedSegment, refresh_manifest, sealed_segments
from nostro.journal.writing.own_files import OwnFiles
from nostro.journal.writing.recovery import Recovered, RecoveryReport, Witness, recover

SyncMode = Literal["group", "strict"]
"""When HEAD itself is synced: at most a second late ("group"), or with every group ("strict")."""

HEAD_SYNC_SECONDS_MAX: Final = 1.0


@attrs.define(eq=False)
class QueuedRecord:
    """An appended record that waits to be durable; ``error`` says why it was refused."""

    position_last: int
    timestamp_max: int
    frame: bytes
    sha256: bytes
    durable: bool = False
    error: JournalError | None = None
    waiters: list[threading.Lock] = attrs.field(factory=list)
    """One held lock for each caller that sleeps until this record is durable or refused."""

    @property
    def is_done(self) -> bool:
        return self.durable or self.error is not None


class Writer:
    """Appends to a journal; thread-safe. Use :meth:`open`."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        sync: SyncMode = "group",
        storage: Storage | None = None,
        witnesses: Callable[[Storage, Directory, bytes], Sequence[Witness]] | None = None,
    ) -> Writer:
        """Lock the journal at ``path``, recover it and get ready to append.

        Args:
            create: make a new journal if there is none.
            segment_bytes_max: size at which a segment is sealed, 4 KiB to 1 GiB.
            witnesses: called under the lock with the identity; names files that prove how far the
                journal reached.

        Raises:
            InvalidField, NotALedger, NotOwner, LedgerLocked, UnsupportedFormat: nothing was done.
            Damage: see :mod:`nostro.journal.writing.recovery`; nothing was changed.
        """
        if not SEGMENT_BYTES_MIN <= segment_bytes_max <= SEGMENT_BYTES_LIMIT:
            raise InvalidField("segment_bytes_max", segment_bytes_max, "must be 4 KiB to 1 GiB")
        if sync not in ("group", "strict"):
            raise InvalidField("sync", sync, "must be 'group' or 'strict'")
        storage = storage or Storage()
        directory = Directory(Path(path))
        if create:
            prepare_directory(storage, directory)
        else:
            require_ledger(directory)
        lock = Lock(storage, directory)
        try:
            if not is_initialised(storage, directory):
                if not create:
                    raise NotALedger(directory.path, "its making was never finished")
                create_journal(storage, directory)
            found: Sequence[Witness] = ()
            if witnesses is not None:
                found = witnesses(storage, directory, read_head(storage, directory).ledger_id)
            recovered = recover(storage, directory, found)
            lock.lock_segments()
            _renew_empty_segment(storage, recovered)
            return cls(storage, directory, lock, recovered, segment_bytes_max, sync)
        except BaseException:
            lock.release()
            raise

    def __init__(
        self,
        storage: Storage,
        directory: Directory,
        lock: Lock,
        recovered: Recovered,
        segment_bytes_max: int,
        sync: SyncMode,
    ) -> None:
        self.directory = directory
        self.recovery: RecoveryReport = recovered.report
        self.segment_bytes_max = segment_bytes_max
        self._storage = storage
        self._lock_file = lock
        self._strict = sync == "strict"
        self._sealed: list[SealedSegment] = sealed_segments(recovered.files)
        place = recovered.place
        self._head = recovered.head._replace(
            sequence=recovered.head.sequence + 1,
            position=place.position - 1,
            timestamp=recovered.timestamp,
            segment_position=recovered.files[-1].header.position_first,
            offset_bytes=place.offset_bytes,
            frame_sha256=place.previous_sha256 or bytes(32),
            closed=False,
        )
        self._mutex = threading.RLock()
        self._idle = threading.Condition(self._mutex)
        self._queue: list[QueuedRecord] = []
        self._position_next = place.position
        self._chain = self._head.frame_sha256
        self._writing = False
        self._next_leader: threading.Lock | None = None
        self._failure: JournalError | None = None
        self.generation = 0
        """Goes up when queued records are refused: decisions made on top of them are void."""
        self._head_dirty = threading.Event()
        self._closed = False
        self._closing = threading.Event()
        self._head_thread: threading.Thread | None = None
        with contextlib.ExitStack() as opened:  # closed again should any of this fail
            self._file = ActiveFile(storage, recovered)
            opened.callback(self._file.close)
            self._head_fd = storage.open_write(directory.head)
            opened.callback(storage.close, self._head_fd)
            self._own = OwnFiles(storage, directory)
            self._own.add(directory.lock, lock.fd)
            self._own.add(directory.head, self._head_fd)
            self._own.add(self._file.path, self._file.fd)
            self._own.check_each()
            self._write_head(self._head, encode_slot(self._head), sync=True)
            opened.pop_all()

    @property
    def is_in_child(self) -> bool:
        """Whether this is a forked child's copy: files and lock are the parent's."""
        return self._lock_file.is_abandoned

    @property
    def head(self) -> Head:
        """How far the journal is durable."""
        return self._head

    def append(
        self,
        payload: bytes,
        *,
        kind: RecordKind,
        event_count: int,
        timestamp_min: int,
        timestamp_max: int,
        generation: int,
    ) -> QueuedRecord | None:
        """Queue one record; None if ``generation`` is no longer the writer's.

        Raises:
            WriterPoisoned, LedgerClosed: nothing can be appended any more.
        """
        self.check_usable()  # before the lock: a forked child must not wait for the parent's
        with self._mutex:
            self._check_accepting()
            if generation != self.generation:
                return None
            header = FrameHeader(
                payload_bytes=len(payload),
                event_count=event_count,
                position_first=self._position_next,
                position_durable=self._head.position,
                timestamp_min=timestamp_min,
                timestamp_max=timestamp_max,
                ledger_id=self._head.ledger_id,
                previous_sha256=self._chain,
                kind=int(kind),
            )
            data = frame.encode_frame(header, payload)
            try:
                if self._may_begin(len(data)):  # and let the disk work while the caller does
                    self._file.begin(data, self.segment_bytes_max)
                queued = QueuedRecord(header.position_last, timestamp_max, data, frame_sha256(data))
                self._queue.append(queued)
                self._chain = queued.sha256
                self._position_next = header.position_last + 1
            except BaseException as cause:
                self.poison(cause)  # the file may hold a record that is not queued
                raise
            return queued

    def _may_begin(self, frame_bytes: int) -> bool:
        """Whether a frame can go to the file at once: nothing is being written or queued."""
        if self._writing or self._queue:
            return False
        return not self._file.is_full(0, frame_bytes, self.segment_bytes_max)

    def wait(self, queued: QueuedRecord) -> None:
        """Return once the record is durable; write the queue if no other caller does.

        Raises:
            JournalFull: no room; the record was refused and is not in the journal.
            WriterPoisoned: the disk failed; whether the record survives is unknown.
        """
        sleep: threading.Lock | None = None
        leads = False
        with self._mutex:
            if not queued.is_done:
                leads = not self._writing
                self._writing = True
                if not leads:
                    sleep = threading.Lock()
                    sleep.acquire()
                    queued.waiters.append(sleep)
        if sleep is not None:
            leads = self._sleep(queued, sleep)
        if leads:
            self._lead()
        if queued.error is not None:
            raise queued.error

    def _sleep(self, queued: QueuedRecord, sleep: threading.Lock) -> bool:
        """Sleep until the record is done; True if this caller is to lead the next group."""
        try:
            sleep.acquire()
        except BaseException:  # a signal: another caller must lead
            with self._mutex:
                if sleep in queued.waiters:
                    queued.waiters.remove(sleep)
                elif self._next_leader is sleep:
                    self._appoint_leader()
            raise
        return self._next_leader is sleep

    def close(self) -> None:
        """Write the queue, cut the reserved room off, mark HEAD closed, release the lock."""
        if self.is_in_child:
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        try:
            self._drain_queue()
            if self._failure is None:
                self._check_own()
                self._file.cut()
                head = self._head._replace(sequence=self._head.sequence + 1, closed=True)
                self._write_head(head, encode_slot(head), sync=True)
        finally:
            self._closing.set()
            self._head_dirty.set()
            if self._head_thread is not None:
                self._head_thread.join()
            with contextlib.ExitStack() as opened:  # each is closed, whatever the others report
                opened.callback(self._lock_file.release)
                opened.callback(self._storage.close, self._head_fd)
                opened.callback(self._file.close)

    def _drain_queue(self) -> None:
        """Write the queue; from then on nothing can be appended."""
        while True:
            with self._mutex:
                while self._writing and not self._queue:
                    self._idle.wait()
                if not self._queue:
                    self._closing.set()
                    return
                last = self._queue[-1]
            self.wait(last)

    def sync_head(self) -> None:
        """Make HEAD itself durable now.

        Raises:
            WriterPoisoned: it failed, and is not tried again.
        """
        self.check_files()
        try:
            self._sync_head()
        except OSError as failure:
            error = WriterPoisoned(self.directory.head, "fdatasync", str(failure))
            self._poison(error)
            raise error from None

    # --- the leader of a group ---

    def _lead(self) -> None:
        """Write the queue, in as many steps as segments demand, and finish every record."""
        with self._mutex:
            group, self._queue, self._next_leader = self._queue, [], None
        error: JournalError | None = None
        try:
            self._write_group(group)
        except (OSError, LedgerReplaced) as failure:
            error = self._fail_group(failure, group)
        except BaseException as failure:
            error = WriterPoisoned(self._file.path, "writing", f"interrupted by {failure!r}")
            self._poison(error)
            raise
        finally:
            with self._mutex:
                if error is not None:
                    self._refuse(error, group)
                _wake(group)
                self._appoint_leader()

    def _appoint_leader(self) -> None:
        """Let one waiting caller lead the next group.

        Waking all of them to choose one would cost more than the group itself.
        """
        for queued in self._queue:
            if queued.waiters:
                self._next_leader = queued.waiters.pop()
                self._next_leader.release()
                return
        self._writing = False
        self._idle.notify_all()

    def _write_group(self, group: list[QueuedRecord]) -> None:
        fitting: list[QueuedRecord] = []
        size = 0
        for queued in group:
            if self._file.is_full(size, len(queued.frame), self.segment_bytes_max):
                self._flush(fitting)
                self._rotate()
                fitting, size = [], 0
            fitting.append(queued)
            size += len(queued.frame)
        self._flush(fitting)

    def _flush(self, records: list[QueuedRecord]) -> None:
        """Write, sync, write HEAD, and only then call the records durable."""
        if not records:
            return
        end_bytes = self._file.write([queued.frame for queued in records], self.segment_bytes_max)
        last, head = records[-1], self._head
        head = Head(
            head.ledger_id,
            sequence=head.sequence + 1,
            position=last.position_last,
            timestamp=max([head.timestamp, *[queued.timestamp_max for queued in records]]),
            segment_position=self._file.header.position_first,
            offset_bytes=end_bytes,
            frame_sha256=last.sha256,
            closed=False,
        )
        slot = encode_slot(head)  # while the disk is at work
        self._own.check()
        self._file.sync()
        self._write_head(head, slot, sync=self._strict)
        with self._mutex:
            for queued in records:
                queued.durable = True
                queued.frame = b""

    def _rotate(self) -> None:
        """Seal the active segment and begin the next."""
        sealed = self._file.seal()
        self._sync_head()
        header = SegmentHeader(
            ledger_id=self._head.ledger_id,
            number=self._file.header.number + 1,
            position_first=self._head.position + 1,
            previous_frame_sha256=self._head.frame_sha256,
            previous_file_sha256=sealed.sha256,
            previous_file_bytes=sealed.size_bytes,
            created_at_ns=time.time_ns(),
        )
        path = self.directory.segment(header.position_first)
        self._file.operation = "beginning the next segment"
        try:
            with replacing(self._storage, path) as fd:
                self._storage.write(fd, encode_segment_header(header), 0)
                self._own.check_each()  # or the new segment would get its name in another directory
        except OSError as failure:
            if failure.errno in NO_SPACE_ERRNOS and not self._storage.exists(path):
                raise NoRoom(failure.errno, failure.strerror) from None
            raise  # the successor may be there: the sealed segment must not grow any more
        sealed_path = self._file.path
        self._file.replace(path, header)
        self._own.add(path, self._file.fd, instead_of=sealed_path)
        self._sealed.append(sealed)
        self._file.operation = "writing the manifest"
        refresh_manifest(
            self._storage, self.directory, ledger_id=header.ledger_id, sealed=self._sealed
        )

    # --- HEAD ---

    def _write_head(self, head: Head, slot: bytes, *, sync: bool) -> None:
        self._file.operation = "writing HEAD"
        self._storage.write(self._head_fd, slot, head.slot_offset_bytes)
        self._head = head
        if sync:
            self._sync_head()
            return
        if not self._head_dirty.is_set():
            self._head_dirty.set()
        if self._head_thread is None:
            self._head_thread = threading.Thread(
                target=self._sync_head_in_time, name="nostro-head", daemon=True
            )
            self._head_thread.start()

    def _sync_head(self) -> None:
        self._head_dirty.clear()
        self._storage.sync_data(self._head_fd)

    def _sync_head_in_time(self) -> None:
        while True:
            self._head_dirty.wait()
            if self._closing.wait(HEAD_SYNC_SECONDS_MAX):
                return
            try:
                if self._head_dirty.is_set():
                    self._sync_head()
            except OSError as failure:
                self._poison(WriterPoisoned(self.directory.head, "fdatasync", str(failure)))
                return

    # --- failure ---

    def check_files(self) -> None:
        """Raise what keeps this writer from appending; look at its files again.

        Raises:
            LedgerReplaced: the files at the ledger's path are others than those it opened.
        """
        self.check_usable()
        self._check_own()

    def check_usable(self) -> None:
        """Raise what keeps this writer from appending, if anything does."""
        self._check_accepting()
        if self.is_in_child:
            raise LedgerClosed(self.directory.path)

    def _check_own(self) -> None:
        try:
            self._own.check_each()
        except LedgerReplaced as error:
            self._poison(error)
            raise

    def _check_accepting(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing.is_set():
            raise LedgerClosed(self.directory.path)

    def _fail_group(
        self, failure: OSError | LedgerReplaced, group: list[QueuedRecord]
    ) -> JournalError:
        """No room is a refusal, if the file can be put back as it was; all else poisons."""
        if isinstance(failure, NoRoom) and self._file.put_back():
            waiting = sum(len(queued.frame) for queued in group if not queued.durable)
            return JournalFull(self.directory.path, waiting)
        if isinstance(failure, LedgerReplaced):
            error: WriterPoisoned = failure
        else:
            reason = failure.strerror or str(failure)
            error = WriterPoisoned(self._file.path, self._file.operation, reason)
        self._poison(error)
        return error

    def poison(self, cause: BaseException) -> None:
        """Append nothing more: the caller did not finish its work on the last records."""
        self._poison(WriterPoisoned(self._file.path, "a request", f"interrupted by {cause!r}"))

    def _poison(self, error: JournalError) -> None:
        with self._mutex:
            self._failure = self._failure or error
            self._refuse(error, [])

    def _refuse(self, error: JournalError, group: list[QueuedRecord]) -> None:
        for queued in (*group, *self._queue):
            if not queued.durable:
                queued.error = queued.error or error
        _wake(self._queue)
        self._queue = []
        self._position_next = self._head.position + 1
        self._chain = self._head.frame_sha256
        self.generation += 1


def _renew_empty_segment(storage: Storage, recovered: Recovered) -> None:
    """Give a segment without frames this version: no other segment could have its name."""
    active = recovered.files[-1]
    is_empty = recovered.place.offset_bytes == SEGMENT_HEADER_BYTES
    if is_empty and active.header.version < FORMAT_VERSION:
        header = attrs.evolve(active.header, version=FORMAT_VERSION)
        replace_file(storage, active.path, encode_segment_header(header))
        recovered.files[-1] = attrs.evolve(active, header=header)


def _wake(records: list[QueuedRecord]) -> None:
    for queued in records:
        for sleep in queued.waiters:
            sleep.release()
        queued.waiters = []
