"""Locks that the kernel ties to a process: find the process that runs a cluster, and signal it.

A file with a process id says who wrote it, not who lives. Here every process of a cluster holds a
POSIX record lock on its own file until it ends, and the kernel names the holder. No signal is ever
sent because of a number in a file, so a stale file, or a process id that another program reuses,
harms nothing.

A replica takes its lock before it becomes the server (`launch.py`): such locks survive exec(2), and
a forked child does not inherit them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Final

from nostro.tools.cluster.errors import AlreadyRunning, ClusterError, ClusterRefused

_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LINUX: Final = "hhqqi4x"
"""struct flock: type, whence, start, length, process id."""
_MACOS: Final = "qqihh"
"""struct flock: start, length, process id, type, whence."""
_POLL_SECONDS: Final = 0.02
_KILL_SECONDS: Final = 10.0

_held: Final[dict[Path, int]] = {}
"""Descriptors of the locks of this process. Closing any other descriptor of the same file would
release the lock, so :func:`holder` does not open these files."""


def take(path: Path) -> None:
    """Hold the lock until :func:`release`, or until this process ends.

    Raises:
        AlreadyRunning: another process holds it.
    """
    assert path not in _held
    fd = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        raise AlreadyRunning(path.parent, holder(path) or 0) from None
    _held[path] = fd


def release(path: Path) -> None:
    os.close(_held.pop(path))


def holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock; None when it is free.

    Raises:
        ClusterRefused: the process is in another process-id namespace.
    """
    if path in _held:
        return os.getpid()
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    try:
        kind, process_id = _conflicting_lock(fd)
    finally:
        os.close(fd)
    if kind == fcntl.F_UNLCK:
        return None
    if process_id <= 0:
        raise ClusterRefused(
            f"{path}: a process of another container or machine holds this lock",
            hint="run the command where the cluster was started",
        )
    return process_id


def send(path: Path, number: signal.Signals) -> int | None:
    """Send a signal to the holder of the lock; return its id, None when the lock is free."""
    process_id = holder(path)
    if process_id is None:
        return None
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(process_id, number)
            return process_id
        fd = os.pidfd_open(process_id)
        try:
            if holder(path) != process_id:  # it ended, and another process may have its number
                return None
            signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)
    except ProcessLookupError:
        return None
    return process_id


def wait_released(path: Path, *, seconds: float) -> bool:
    """Wait until the lock is free, for at most ``seconds``; return whether it is."""
    deadline = time.monotonic() + seconds
    while holder(path) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def kill(path: Path) -> None:
    """Send SIGKILL to the holder, and wait until it has ended.

    Raises:
        ClusterError: it does not end.
    """
    process_id = send(path, signal.SIGKILL)
    if process_id is not None and not wait_released(path, seconds=_KILL_SECONDS):
        raise ClusterError(
            f"{path.parent}: process {process_id} did not end after SIGKILL",
            hint="it waits for the kernel: check the disk, then repeat `nostro cluster down DIR`",
        )


def _conflicting_lock(fd: int) -> tuple[int, int]:
    """Return the kind of the lock that conflicts with ours, and the id of its holder."""
    if sys.platform == "darwin":
        asked = struct.pack(_MACOS, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
        _, _, process_id, kind, _ = struct.unpack(_MACOS, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    else:
        asked = struct.pack(_LINUX, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process_id = struct.unpack(_LINUX, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return kind, process_id
