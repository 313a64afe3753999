"""The seam to the operating system: every file operation the project makes on a ledger.

Nothing else in ``journal`` or ``projections`` opens, writes, syncs, renames or removes a file, so
a test that replaces this object decides what the disk does. Files are created 0600 and never
followed through a symbolic link; directories are 0700.

On macOS ``fsync`` only reaches the drive's cache; F_FULLFSYNC is used there instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nostro.journal.errors import AlreadyThere, NotALedger, NotOwner, UnsupportedPlatform
from nostro.journal.storage.mapping import map_file

SUPPORTED_PLATFORMS: Final = ("linux", "darwin")
NO_SPACE_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room on the disk, for this user, or in a file: RLIMIT_FSIZE says how long one may be."""

_sync_file_range: Final = getattr(ctypes.CDLL(None), "sync_file_range", None)
"""Linux has it: sync_file_range(2)."""
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_SYNC_FILE_RANGE_WRITE: Final = 2
"""Begin writing, and do not wait."""
_OPEN_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW
_TEMPORARY_SUFFIX: Final = ".tmp"

FileIdentity = tuple[int, int]
"""Device and inode."""
DirectoryState = tuple[int, int, int]
"""Device, inode, and the time of its last change, ns."""


class NotRegular(OSError):
    """A directory, a FIFO or a device stands where a file should be."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "it is not a regular file", str(path))


class Storage:
    """File operations of one machine. Stateless; file descriptors are plain ints.

    Raises OSError as the system gives it; callers turn it into the error that fits.
    """

    def __init__(self) -> None:
        if sys.platform not in SUPPORTED_PLATFORMS:
            raise UnsupportedPlatform(platform=sys.platform)

    # files

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | _OPEN_FLAGS, 0o600)

    def create_new(self, path: Path) -> int:
        """As :meth:`create`, but raises FileExistsError if the file exists."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, 0o600)

    def open_read(self, path: Path) -> int:
        """Open a file for reading; :class:`NotRegular` for a directory, a FIFO or a device."""
        return _regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | _OPEN_FLAGS))

    def open_write(self, path: Path) -> int:
        """The same for reading and writing."""
        return _regular(path, os.open(path, os.O_RDWR | os.O_NONBLOCK | _OPEN_FLAGS))

    def close(self, fd: int) -> None:
        os.close(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def identity(self, fd: int) -> FileIdentity:
        """Which file is open, whatever its name."""
        status = os.fstat(fd)
        return status.st_dev, status.st_ino

    def identity_at(self, path: Path | str) -> FileIdentity | None:
        """Which file has this name now; None if there is none. Links are not followed."""
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino

    def directory_state(self, path: Path | str) -> DirectoryState | None:
        """Which directory has this name now, and when an entry of it last changed."""
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def mode(self, fd: int) -> int:
        """Type and permissions, as in stat(2)."""
        return os.fstat(fd).st_mode

    def owner(self, fd: int) -> int:
        """The id of the user that owns it."""
        return os.fstat(fd).st_uid

    def read(self, fd: int, count: int, offset_bytes: int) -> bytes:
        """Up to ``count`` bytes from ``offset_bytes``; fewer only at end of file."""
        data = os.pread(fd, count, offset_bytes)
        while len(data) < count:
            more = os.pread(fd, count - len(data), offset_bytes + len(data))
            if not more:
                break
            data += more
        return data

    def map(self, fd: int) -> mmap.mmap:
        """The whole file as memory, read-only; it outlives ``fd`` and the file's name."""
        return map_file(fd)

    def write(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> None:
        written = os.pwrite(fd, data, offset_bytes)
        while written < len(data):  # a disk that fills up takes a part
            written += os.pwrite(fd, memoryview(data)[written:], offset_bytes + written)

    def protect(self, fd: int) -> None:
        """Make the file read-only, on file systems that have permissions."""
        with contextlib.suppress(OSError):
            os.fchmod(fd, 0o400)

    def allocate(self, fd: int, offset_bytes: int, count: int) -> None:
        """Reserve ``count`` zero bytes, so that a full disk shows here and not at a sync."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, offset_bytes, count)
        else:
            os.ftruncate(fd, offset_bytes + count)

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def free_bytes(self, path: Path) -> int | None:
        """Room for files of this user where ``path`` is; None if the system does not say."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize if found.f_blocks else None

    def read_once(self, fd: int) -> None:
        """A hint to the system: do not keep in memory what is read from this descriptor."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NOREUSE)

    def forget(self, fd: int) -> None:
        """A hint to the system: drop the file from memory, and read the disk next."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def begin_sync(self, fd: int, offset_bytes: int, count: int) -> None:
        """A hint to the disk: begin to write this part of the file, so that a sync waits less."""
        if _sync_file_range is not None:
            _sync_file_range(fd, offset_bytes, count, _SYNC_FILE_RANGE_WRITE)

    def sync_data(self, fd: int) -> None:
        """Return once the file's data, and its size, have reached the disk."""
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    # directories

    def make_directory(self, path: Path) -> None:
        os.mkdir(path, 0o700)

    def open_directory(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN_FLAGS)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def names(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name on its file system."""
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def remove_directory(self, path: Path) -> None:
        os.rmdir(path)

    # locks

    def try_lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def check_directory(path: Path) -> None:
    """Refuse a path that is not a real directory of this user's.

    Raises:
        NotALedger: it is missing, a file or a symbolic link.
        NotOwner: it belongs to another user.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotALedger(path=path, reason="no such directory") from None
    if stat.S_ISLNK(status.st_mode):
        raise NotALedger(path=path, reason="it is a symbolic link")
    if not stat.S_ISDIR(status.st_mode):
        raise NotALedger(path=path, reason="it is not a directory")
    if status.st_uid != os.geteuid():
        raise NotOwner(path=path, owner_uid=status.st_uid, process_uid=os.geteuid())


def lies_within(path: Path, directory: Path) -> bool:
    """Whether ``path`` is ``directory`` or below it, by whatever name; it need not exist.

    Compares files by device and number, so links, mounts and the case of letters do not matter.
    """
    there = os.stat(directory)
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        try:
            if os.path.samestat(os.stat(place), there):
                return True
        except (FileNotFoundError, NotADirectoryError):
            continue
    return False


def make_directories(storage: Storage, path: Path) -> None:
    """Create ``path`` and its missing parents, each durable in its own parent."""
    missing = [path]
    while not storage.exists(missing[-1].parent):
        missing.append(missing[-1].parent)
    for directory in reversed(missing):
        try:
            storage.make_directory(directory)
        except FileExistsError:
            continue  # another process made it first
        storage.sync_directory(directory.parent)


@contextlib.contextmanager
def reading(storage: Storage, path: Path) -> Iterator[int]:
    """A file to read, closed at the end."""
    fd = storage.open_read(path)
    try:
        yield fd
    finally:
        storage.close(fd)


def read_file(storage: Storage, path: Path) -> bytes:
    with reading(storage, path) as fd:
        return storage.read(fd, storage.size(fd), 0)


def file_bytes(storage: Storage, path: Path) -> int:
    """The size of a file."""
    with reading(storage, path) as fd:
        return storage.size(fd)


def replace_file(storage: Storage, path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all, and durably once this returns."""
    with replacing(storage, path) as fd:
        storage.write(fd, data, 0)


def write_new_file(storage: Storage, path: Path, data: bytes) -> None:
    """Put ``data`` into a new file at ``path``, durably once this returns.

    Raises:
        AlreadyThere: the path exists; it is not changed.
        OSError: the file could not be written; the path does not exist.
    """
    try:
        fd = storage.create_new(path)
    except FileExistsError:
        raise AlreadyThere(path) from None
    try:
        try:
            storage.write(fd, data, 0)
            storage.sync(fd)
        finally:
            storage.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            storage.unlink(path)
        raise
    storage.sync_directory(path.parent)


@contextlib.contextmanager
def replacing(storage: Storage, path: Path) -> Iterator[int]:
    """A file to write; at the end it is at ``path``, durably. After an exception it never was.

    fsync file -> rename -> fsync directory: without the first, a crash can leave an empty file
    under the new name; without the last, the old file can come back.
    """
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    try:
        fd = storage.create(temporary)
        try:
            yield fd
            storage.sync(fd)
        finally:
            storage.close(fd)
        storage.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            storage.unlink(temporary)
        raise
    storage.sync_directory(path.parent)


def sweep_temporaries(storage: Storage, directory: Path) -> None:
    """Remove what an interrupted :func:`replace_file` left behind."""
    for name in storage.names(directory):
        if name.endswith(_TEMPORARY_SUFFIX):
            with contextlib.suppress(FileNotFoundError):  # its writer renamed or removed it
                storage.unlink(directory / name)


def _regular(path: Path, fd: int) -> int:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegular(path)
    return fd
