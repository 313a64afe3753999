"""Noticing that a writer's open files are no longer the ledger at its path.

A file that was removed or replaced stays open, and takes writes that are lost. The same holds for a
directory that was renamed and has a restored backup in its place. Before every acknowledgement the
writer therefore checks that the names of LOCK, HEAD and the active segment still lead to its files.

Asking for the state of a file that is being written makes its next sync 90 µs slower on ext4, for
its times then count. Before each acknowledgement the writer therefore asks for the folder of the
segments, which is at rest: its identity changes with any directory above it, and its time with any
name in it. Ten times a second, and whenever that differs, it asks for each file.

So HEAD and LOCK may be missing for a tenth of a second before the writer stops. That loses nothing:
recovery finds acknowledged events without HEAD, and a second writer needs the folder's lock too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from nostro.journal.errors import LedgerReplaced
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import DirectoryState, FileIdentity, Storage

CHECK_SECONDS_MAX: Final = 0.1
"""Each file is looked at this often, whatever the state of the folder."""

_RECENT_NS: Final = 20_000_000
"""Two changes of a folder that follow this closely may have the same time."""


class OwnFiles:
    """The files that a writer opened, by name.

    The names are absolute: the process may change its working directory.
    """

    def __init__(self, storage: Storage, directory: Directory) -> None:
        self._storage = storage
        self._directory = directory
        self._path = str(directory.path.absolute())
        self._segments = str(directory.segments.absolute())
        self._opened = storage.identity_at(self._path)
        self._files: dict[str, FileIdentity] = {}
        self._seen: DirectoryState | None = None
        self._checked_at = 0.0

    def add(self, path: Path, fd: int, *, instead_of: Path | None = None) -> None:
        """Watch the name of an open file, and no longer that of another one."""
        files = self._files.copy()  # another thread may be checking these
        if instead_of is not None:
            del files[str(instead_of.absolute())]
        files[str(path.absolute())] = self._storage.identity(fd)
        self._files = files

    def check(self) -> None:
        """Check all of them, by the folder of the segments if that is enough.

        Raises:
            LedgerReplaced: a name is gone, or another file has it.
        """
        seen = self._storage.directory_state(self._segments)
        now = time.monotonic()
        if seen == self._seen and seen is not None and now - self._checked_at < CHECK_SECONDS_MAX:
            return
        self.check_each()
        self._checked_at = now
        self._seen = seen if _is_settled(seen) else None

    def check_each(self) -> None:
        """Check all of them by name.

        Raises:
            LedgerReplaced: a name is gone, or another file has it.
        """
        identity_at = self._storage.identity_at
        for path, opened in self._files.items():
            if identity_at(path) != opened:
                raise LedgerReplaced(self._directory.path, "checking the files", self._reason(path))

    def _reason(self, path: str) -> str:
        """What happened to the file, or to the whole directory."""
        found = self._storage.identity_at(self._path)
        if found is None:
            return "the directory was removed or renamed"
        if found != self._opened:
            return "another directory was put in place of this one"
        name = os.path.relpath(path, self._path)
        if self._storage.identity_at(path) is None:
            return f"{name} was removed or renamed"
        return f"{name} was replaced by another file"


def _is_settled(state: DirectoryState | None) -> bool:
    """Whether another change from now on gives the directory another time."""
    return state is not None and abs(time.time_ns() - state[2]) > _RECENT_NS
