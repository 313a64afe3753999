"""The system's lock on a file: it ends with the process that holds it, whatever that forks."""

from __future__ import annotations

import os
import time
import weakref
from pathlib import Path
from typing import Final

from nostro.journal.errors import JournalError
from nostro.journal.storage.files import Storage

_PAUSE_SECONDS: Final = 0.02


class FileLock:
    """Held while this object is open. The file is created if it is missing, and stays empty.

    Raises:
        ``refusal``: another process, or another lock of this process, holds it.
    """

    def __init__(
        self,
        storage: Storage,
        path: Path,
        refusal: JournalError,
        *,
        attempts: int = 1,
        is_directory: bool = False,
    ) -> None:
        self._storage = storage
        if is_directory:
            self.fd = storage.open_directory(path)
        else:
            self.fd = storage.open_write(path) if storage.exists(path) else storage.create(path)
        try:
            self._take(attempts, refusal)
        except BaseException:
            storage.close(self.fd)
            raise
        self.is_abandoned = False
        """Whether this is a forked child's copy of it: the lock is the parent's."""
        _held.add(self)

    def release(self) -> None:
        """May be repeated; in a forked child it does nothing."""
        if self in _held:
            _held.discard(self)
            self._storage.close(self.fd)

    def abandon_in_child(self) -> None:
        self.is_abandoned = True
        os.close(self.fd)  # the parent's lock stays; the child must not prolong it

    def _take(self, attempts: int, refusal: JournalError) -> None:
        for left in reversed(range(attempts)):
            if self._storage.try_lock(self.fd):
                return
            if left:
                time.sleep(_PAUSE_SECONDS)
        raise refusal


_held: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


def _abandon_locks() -> None:
    for lock in list(_held):
        lock.abandon_in_child()
        _held.discard(lock)


os.register_at_fork(after_in_child=_abandon_locks)
