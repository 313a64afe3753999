"""When the ledger's checkpoints are written: in the background, after enough events or time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from nostro.journal.format import codec
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import Checkpoint, write_checkpoint
from nostro.projections.checkpoints.index_set import Indexes
from nostro.projections.indexes.merger import Merger
from nostro.projections.state.ledger_state import LedgerState

CHECKPOINT_EVENTS: Final = 500_000
CHECKPOINT_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 10.0
"""After a checkpoint could not be written, the next is not tried any sooner."""
_AHEAD_EVENTS: Final = 1_500_000
"""So many events may be in memory, or three times those of a checkpoint if that is more."""
_PATIENCE_SECONDS: Final = 0.1
STATE_REST: Final = 4
"""A state that took some time to write is not written again before so many times that time."""
_log = logging.getLogger("nostro")


class Checkpointer:
    """Writes checkpoints of ``state`` and the runs of ``indexes``, and has the runs merged.

    Writers are held off only while the state is copied; encoding, compressing and writing happen
    on this object's thread. A state of many accounts takes longer than the events between two
    checkpoints: then most times only the runs are written, and a restart replays the more.
    """

    def __init__(
        self,
        storage: Storage,
        directory: Directory,
        state: LedgerState,
        indexes: Indexes,
        state_lock: threading.RLock,
        *,
        frame_sha256: bytes,
        ledger_id: bytes,
        checkpointed: Checkpoint | None,
        writable: bool,
        fold_durable: Callable[[], None],
        before: Callable[[], None],
    ) -> None:
        """Nothing is written yet.

        Args:
            fold_durable: folds into ``state`` what is durable; called before it is copied.
            before: called before anything is written.
        """
        self._storage = storage
        self._directory = directory
        self._state = state
        self._indexes = indexes
        self._state_lock = state_lock
        self._frame_sha256 = frame_sha256
        self._ledger_id = ledger_id
        self._last = checkpointed
        self._writable = writable
        self._fold_durable = fold_durable
        self._before = before
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._dirty_since: float | None = None
        self._retry_at = 0.0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._indexed = self._state.position
        """Where what the indexes have in runs ends."""
        self._state_from = 0.0
        """The state is not written any sooner, unless somebody asks for it."""
        self._merger = Merger(indexes.stacks, indexes.files)
        self._has_indexed = threading.Event()
        self._events = CHECKPOINT_EVENTS
        self._seconds = CHECKPOINT_SECONDS

    @property
    def position(self) -> int:
        """The position of the newest checkpoint; 0 if there is none."""
        return self._last.position if self._last is not None else 0

    def keep_pace(self) -> None:
        """Wait, if the state is far ahead of the indexes: what they still lack is in memory.

        Or if they have many runs, and merges are under way. Not while checkpoints or merges fail:
        the ledger goes on without them.
        """
        while (self._is_behind or self._merger.is_behind) and not self._closing.is_set():
            self._wake.set()
            self._has_indexed.wait(_PATIENCE_SECONDS)
            self._has_indexed.clear()

    @property
    def _is_behind(self) -> bool:
        return (
            self._state.position - self._indexed > max(_AHEAD_EVENTS, 3 * self._events)
            and not self._retry_at
            and self._thread is not None
            and self._thread.is_alive()
        )

    def is_waiting_for(self, position: int) -> bool:
        """Whether that event, once it is in the state, makes a checkpoint due, now or in time."""
        return self._dirty_since is None or position - self._indexed >= self._events

    def start(self, events: int, seconds: float) -> None:
        """Begin writing a checkpoint whenever so many events or seconds have gone by."""
        if not self._writable:
            return
        self._events, self._seconds = events, seconds
        self._thread = threading.Thread(target=self._run, name="nostro-checkpoint", daemon=True)
        self._thread.start()
        self._merger.start()

    def advance(self, position: int, frame_sha256: bytes) -> None:
        """The state now holds the events up to ``position``; called under the state lock."""
        self._frame_sha256 = frame_sha256
        if self._dirty_since is None:
            self._dirty_since = time.monotonic()
            self._wake.set()
        if position - self._indexed >= self._events and not self._retry_at:
            self._wake.set()

    def checkpoint(self) -> Checkpoint:
        """Write one now, unless the newest already is of this state, and whole."""
        with self._writing:
            self._write_noting_failure(with_state=True)
            if self._last is None:
                raise AssertionError("a checkpoint was written, and there is none")
            return self._last

    def _write_noting_failure(self, *, with_state: bool) -> None:
        try:
            self._write(with_state=with_state)
        except BaseException:
            now = time.monotonic()
            self._dirty_since = self._dirty_since or now
            self._retry_at = now + min(RETRY_SECONDS, self._seconds)
            self._wake.set()
            raise
        self._retry_at = 0.0

    def _write(self, *, with_state: bool) -> None:
        """Write the new runs, and after them the state."""
        self._fold_durable()
        with self._state_lock:
            position, frame_sha256 = self._state.position, self._frame_sha256
            is_written = self._last is not None and self.position == position
            if is_written and self._indexes.are_stored:
                self._dirty_since = None
                return
            began = time.monotonic()
            dump = self._state.dump() if with_state and not is_written else None
            seconds = time.monotonic() - began
            self._indexes.freeze()
            if with_state:
                self._dirty_since = None
        self._fold_durable()  # a request that came during the copy makes the next checkpoint due
        self._indexes.finish_freeze(position, frame_sha256)
        self._indexed = position
        self._has_indexed.set()
        self._before()
        self._indexes.store()
        self._merger.wake()
        if dump is not None:
            began = time.monotonic() - seconds
            self._last = write_checkpoint(
                self._storage,
                self._directory,
                projection=LedgerState.name,
                projection_version=LedgerState.version,
                ledger_id=self._ledger_id,
                position=position,
                frame_sha256=frame_sha256,
                encoded=codec.encode_cbor_parts(dump),
            )
            now = time.monotonic()
            self._state_from = now + STATE_REST * (now - began)

    def close(self) -> None:
        """Stop the threads and write a last checkpoint; a failure to is logged, not raised."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        try:
            if self._writable and not (
                self._state.position <= self.position and self._indexes.are_stored
            ):
                self._try(with_state=True)
        finally:
            self._merger.close()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._seconds_left())
            self._wake.clear()
            if self._closing.is_set():
                return
            if self._seconds_left() == 0.0:
                self._try(with_state=time.monotonic() >= self._state_from)

    def _seconds_left(self) -> float | None:
        """Until there is something to write; None while there is nothing new."""
        since = self._dirty_since
        if since is None:
            return None
        many = self._state.position - self.position >= self._events
        due = max(since if many else since + self._seconds, self._state_from)
        if self._state.position - self._indexed >= self._events:
            due = since  # the runs, with the state or without
        return max(0.0, max(due, self._retry_at) - time.monotonic())

    def _try(self, *, with_state: bool) -> None:
        """A checkpoint only saves time at the next start: a failure must not stop the ledger."""
        try:
            with self._writing:
                self._write_noting_failure(with_state=with_state)
        except Exception as error:  # noqa: BLE001 - any failure is logged and tried again
            reason = str(error) or repr(error)
            _log.warning("no checkpoint at position %d: %s", self._state.position, reason)
