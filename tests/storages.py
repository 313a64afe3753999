"""Storages for tests: one that tells what is done to the disk, and one that fails at it."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.format.frame import SECTOR_BYTES
from nostro.journal.storage.files import Storage

SYNCS: Final = frozenset({"sync", "sync_data", "sync_directory"})
CHANGES: Final = SYNCS | {
    "create", "create_new", "open_write", "write", "allocate", "truncate", "make_directory",
    "rename", "unlink",
    "link", "remove_directory",
}  # fmt: skip
"""Everything that an unwritable or a full disk may refuse. (Reading and closing: not here.)"""


@attrs.frozen
class Operation:
    """One call of the seam. ``data`` is what was written; ``target`` where a rename ends."""

    name: str
    path: Path
    offset_bytes: int = 0
    count: int = 0
    data: bytes = b""
    target: Path | None = None


class ObservedStorage(Storage):
    """Passes every operation to :meth:`before`, does it, and passes it to :meth:`after`."""

    def __init__(self) -> None:
        super().__init__()
        self._paths: dict[int, Path] = {}

    def before(self, operation: Operation) -> None:
        """Called first; what it raises is what the operation raises."""

    def after(self, operation: Operation) -> None:
        """Called when the operation has succeeded."""

    def path_of(self, fd: int) -> Path:
        return self._paths[fd]

    # files

    def create(self, path: Path) -> int:
        return self._opened(Operation("create", path))

    def open_read(self, path: Path) -> int:
        return self._opened(Operation("open_read", path))

    def create_new(self, path: Path) -> int:
        return self._opened(Operation("create_new", path))

    def open_write(self, path: Path) -> int:
        return self._opened(Operation("open_write", path))

    def open_directory(self, path: Path) -> int:
        return self._opened(Operation("open_directory", path))

    def close(self, fd: int) -> None:
        operation = Operation("close", self._paths.pop(fd))
        super().close(fd)  # whatever it reports, the descriptor is gone
        self.before(operation)
        self.after(operation)

    def size(self, fd: int) -> int:
        operation = Operation("size", self._paths[fd])
        self.before(operation)
        return super().size(fd)

    def read(self, fd: int, count: int, offset_bytes: int) -> bytes:
        operation = Operation("read", self._paths[fd], offset_bytes, count)
        self.before(operation)
        return super().read(fd, count, offset_bytes)

    def write(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> None:
        operation = Operation("write", self._paths[fd], offset_bytes, len(data), bytes(data))
        with self._observed(operation):
            super().write(fd, data, offset_bytes)

    def allocate(self, fd: int, offset_bytes: int, count: int) -> None:
        with self._observed(Operation("allocate", self._paths[fd], offset_bytes, count)):
            super().allocate(fd, offset_bytes, count)

    def truncate(self, fd: int, size_bytes: int) -> None:
        with self._observed(Operation("truncate", self._paths[fd], size_bytes)):
            super().truncate(fd, size_bytes)

    def sync_data(self, fd: int) -> None:
        with self._observed(Operation("sync_data", self._paths[fd])):
            super().sync_data(fd)

    def sync(self, fd: int) -> None:
        if fd not in self._paths:
            super().sync(fd)  # the inner half of sync_directory
            return
        with self._observed(Operation("sync", self._paths[fd])):
            super().sync(fd)

    # directories

    def make_directory(self, path: Path) -> None:
        with self._observed(Operation("make_directory", path)):
            super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        with self._observed(Operation("sync_directory", path)):
            super().sync_directory(path)

    def names(self, path: Path) -> list[str]:
        self.before(Operation("names", path))
        return super().names(path)

    def rename(self, source: Path, target: Path) -> None:
        with self._observed(Operation("rename", source, target=target)):
            super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        with self._observed(Operation("link", source, target=target)):
            super().link(source, target)

    def remove_directory(self, path: Path) -> None:
        with self._observed(Operation("remove_directory", path)):
            super().remove_directory(path)

    def unlink(self, path: Path) -> None:
        with self._observed(Operation("unlink", path)):
            super().unlink(path)

    def try_lock(self, fd: int) -> bool:
        self.before(Operation("try_lock", self._paths[fd]))
        return super().try_lock(fd)

    @contextlib.contextmanager
    def _observed(self, operation: Operation) -> Iterator[None]:
        self.before(operation)
        yield
        self.after(operation)

    def _opened(self, operation: Operation) -> int:
        self.before(operation)
        fd: int = getattr(super(), operation.name)(operation.path)
        self._paths[fd] = operation.path
        self.after(operation)
        return fd


class RecordingStorage(ObservedStorage):
    """Keeps every operation that succeeded, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def after(self, operation: Operation) -> None:
        self.operations.append(operation)

    def count(self, name: str, path: Path | None = None) -> int:
        return sum(
            one.name == name and (path is None or one.path == path) for one in self.operations
        )

    def story(self) -> list[tuple[str, str]]:
        """(operation, file name) of each."""
        return [(one.name, one.path.name) for one in self.operations]


class GatedStorage(RecordingStorage):
    """Holds every sync of a segment until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.gate = threading.Event()

    def before(self, operation: Operation) -> None:
        if operation.name == "sync_data" and operation.path.suffix == ".segment":
            self.arrived.set()
            assert self.gate.wait(60)


class FaultyStorage(ObservedStorage):
    """Fails at the ``fail_at``-th operation of the kinds in ``only``, once or from then on.

    A failing write gets half its sectors to the file. A failing sync loses what was written to the
    file since the last one that succeeded, as Linux does: the pages are dropped, and the next
    sync would report success.
    """

    def __init__(
        self,
        fail_at: int,
        code: int,
        *,
        for_ever: bool = False,
        only: Collection[str] = CHANGES,
    ) -> None:
        super().__init__()
        self.calls = 0
        self.failed: list[Operation] = []
        self._fail_at = fail_at
        self._code = code
        self._for_ever = for_ever
        self.only = only
        self._unsynced: dict[Path, list[tuple[int, bytes]]] = {}
        self._mutex = threading.RLock()

    def repair(self) -> None:
        """From now on nothing fails."""
        self.only = ()

    def before(self, operation: Operation) -> None:
        with self._mutex:
            if operation.name not in self.only:
                return
            self.calls += 1
            if self.calls == self._fail_at or (self._for_ever and self.calls > self._fail_at):
                self.failed.append(operation)
                raise OSError(self._code, os.strerror(self._code), str(operation.path))

    def write(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> None:
        path = self.path_of(fd)
        old = Storage.read(self, fd, len(data), offset_bytes)
        self._unsynced.setdefault(path, []).append((offset_bytes, old.ljust(len(data), b"\0")))
        try:
            super().write(fd, data, offset_bytes)
        except OSError:
            end = (offset_bytes + len(data) // 2) // SECTOR_BYTES * SECTOR_BYTES
            Storage.write(self, fd, data[: max(0, end - offset_bytes)], offset_bytes)
            raise

    def sync_data(self, fd: int) -> None:
        try:
            super().sync_data(fd)
        except OSError:
            self._lose(fd)
            raise
        self._unsynced.pop(self.path_of(fd), None)

    def sync(self, fd: int) -> None:
        try:
            super().sync(fd)
        except OSError:
            self._lose(fd)
            raise
        self._unsynced.pop(self._paths.get(fd, Path()), None)

    def _lose(self, fd: int) -> None:
        size = Storage.size(self, fd)
        for offset_bytes, old in reversed(self._unsynced.pop(self.path_of(fd), [])):
            Storage.write(self, fd, old[: max(0, size - offset_bytes)], offset_bytes)


ENOSPC: Final = errno.ENOSPC
EIO: Final = errno.EIO


class Killed(BaseException):
    """The process ends here."""


class DyingStorage(FaultyStorage):
    """Kills the process at the ``fail_at``-th operation and at any that is tried after it."""

    def before(self, operation: Operation) -> None:
        if operation.name in self.only:
            self.calls += 1
            if self.calls >= self._fail_at:
                raise Killed
