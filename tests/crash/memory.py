"""Files in memory, served as a :class:`Storage`: a disk after a power cut, without writing it.

What the storage cannot be asked about (who owns the ledger's directory, whether it is one) is
answered by real directories of the same names, which hold nothing.
"""

from __future__ import annotations

import errno
import mmap
import os
from itertools import count
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.storage.files import DirectoryState, FileIdentity, Storage

Tree = dict[str, "bytes | Tree"]
"""Files by content and folders, by name."""


@attrs.define(eq=False)
class Content:
    """Of a file. Shared bytes until it is written to."""

    data: bytes | bytearray

    def change(self) -> bytearray:
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        return self.data


class MemoryStorage(Storage):
    """Nothing is there before :meth:`load`."""

    def __init__(self) -> None:
        super().__init__()
        # By path, as text: joining and hashing a Path takes longer than all else.
        self._files: dict[str, Content] = {}
        self._folders: dict[str, set[str]] = {}
        self._open: dict[int, Content] = {}
        self._numbers = count(1_000_000)  # a mistaken use of one fails, whatever else is open

    def load(self, path: Path | str, tree: Tree) -> None:
        """Let what is in ``tree`` lie below ``path``."""
        self._folders[str(path)] = set(tree)
        for name, entry in tree.items():
            if isinstance(entry, dict):
                self.load(f"{path}/{name}", entry)
            else:
                self._files[f"{path}/{name}"] = Content(entry)

    def content(self, path: Path) -> bytes:
        return bytes(self._file(path).data)

    # files

    def create(self, path: Path) -> int:
        if not self.exists(path):
            self._name(path)
            self._files[str(path)] = Content(b"")
        content = self._file(path)
        content.data = b""
        return self._opened_as(content)

    def create_new(self, path: Path) -> int:
        if self.exists(path):
            raise FileExistsError(path)
        return self.create(path)

    def open_read(self, path: Path) -> int:
        return self._opened_as(self._file(path))

    def open_write(self, path: Path) -> int:
        return self._opened_as(self._file(path))

    def close(self, fd: int) -> None:
        del self._open[fd]

    def size(self, fd: int) -> int:
        return len(self._open[fd].data)

    def identity(self, fd: int) -> FileIdentity:
        return 0, id(self._open[fd])

    def identity_at(self, path: Path | str) -> FileIdentity | None:
        content = self._files.get(str(path))
        return None if content is None else (0, id(content))

    def directory_state(self, path: Path | str) -> DirectoryState | None:
        return 0, id(self._folders[str(path)]), 0

    def read(self, fd: int, count: int, offset_bytes: int) -> bytes:
        return bytes(self._open[fd].data[offset_bytes : offset_bytes + count])

    def map(self, fd: int) -> mmap.mmap:
        data = self._open[fd].data
        mapped = mmap.mmap(-1, len(data))
        mapped[:] = bytes(data)
        return mapped

    def write(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> None:
        content = self._open[fd].change()
        _grow(content, offset_bytes)
        content[offset_bytes : offset_bytes + len(data)] = data

    def allocate(self, fd: int, offset_bytes: int, count: int) -> None:
        _grow(self._open[fd].change(), offset_bytes + count)

    def protect(self, fd: int) -> None:
        pass

    def truncate(self, fd: int, size_bytes: int) -> None:
        content = self._open[fd].change()
        del content[size_bytes:]
        _grow(content, size_bytes)

    def begin_sync(self, fd: int, offset_bytes: int, count: int) -> None:
        pass

    def sync_data(self, fd: int) -> None:
        pass

    def sync(self, fd: int) -> None:
        pass

    # directories

    def open_directory(self, path: Path) -> int:
        self.names(path)
        return self._opened_as(Content(b""))

    def make_directory(self, path: Path) -> None:
        if self.exists(path):
            raise FileExistsError(path)
        self._name(path)
        self._folders[str(path)] = set()

    def sync_directory(self, path: Path) -> None:
        self.names(path)

    def names(self, path: Path) -> list[str]:
        names = self._folders.get(str(path))
        if names is None:
            raise FileNotFoundError(path)
        return sorted(names)

    def exists(self, path: Path) -> bool:
        return str(path) in self._files or str(path) in self._folders

    def rename(self, source: Path, target: Path) -> None:
        content = self._file(source)
        self._name(target)
        self._files[str(target)] = content
        self._remove(source)

    def link(self, source: Path, target: Path) -> None:
        if self.exists(target):
            raise FileExistsError(target)
        content = self._file(source)
        self._name(target)
        self._files[str(target)] = content

    def unlink(self, path: Path) -> None:
        self._file(path)
        self._remove(path)

    def remove_directory(self, path: Path) -> None:
        if self.names(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        del self._folders[str(path)]
        self._folders[str(path.parent)].discard(path.name)

    def try_lock(self, fd: int) -> bool:
        return fd in self._open

    def _file(self, path: Path) -> Content:
        content = self._files.get(str(path))
        if content is None:
            raise FileNotFoundError(path)
        return content

    def _name(self, path: Path) -> None:
        """Enter the name in its folder."""
        names = self._folders.get(str(path.parent))
        if names is None:
            raise FileNotFoundError(path)
        names.add(path.name)

    def _remove(self, path: Path) -> None:
        del self._files[str(path)]
        self._folders[str(path.parent)].discard(path.name)

    def _opened_as(self, content: Content) -> int:
        fd = next(self._numbers)
        self._open[fd] = content
        return fd


def put(path: Path, tree: Tree) -> None:
    """Write ``tree`` into the empty directory ``path``."""
    for name, entry in tree.items():
        if isinstance(entry, dict):
            (path / name).mkdir(mode=0o700)
            put(path / name, entry)
        else:
            (path / name).write_bytes(entry)


def taken(path: Path) -> Tree:
    """What lies below the directory ``path``."""
    return {
        entry.name: taken(entry) if entry.is_dir() else entry.read_bytes()
        for entry in path.iterdir()
    }


def _grow(content: bytearray, size_bytes: int) -> None:
    missing: Final = size_bytes - len(content)
    if missing > 0:
        content.extend(bytes(missing))
