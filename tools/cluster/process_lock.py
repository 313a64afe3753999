"""Who runs a cluster, as the kernel knows it.

A process-id file says who wrote it, not who lives. Here every process that belongs to a cluster
holds a POSIX record lock on a file of its own, for as long as it lives and not an instant longer,
and the kernel names the holder. So nothing is ever signalled on the word of a file: a stale lock
cannot be, and a number that another program has got meanwhile is never mistaken for ours.

A replica takes its lock before it becomes the server (`launch.py`): such locks are kept across
exec(2), and a forked child does not have them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Final

from nostro.tools.cluster.errors import AlreadyRunning, OutOfReach, StillRunning

_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LINUX: Final = "hhqqi4x"
"""struct flock: type, whence, start, length, process id."""
_MACOS: Final = "qqihh"
"""struct flock: start, length, process id, type, whence."""
_POLL_SECONDS: Final = 0.02
_KILL_SECONDS: Final = 10.0

_held: Final[dict[Path, int]] = {}
"""Descriptors of the locks that this process holds: closing any other one of the same file would
let go of them, so :func:`holder` does not open these."""


def take(path: Path) -> None:
    """Hold the lock from now until :func:`release`, or until this process ends.

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
    """Return the id of the process that holds the lock now; None when nobody does.

    Raises:
        OutOfReach: it is in another process-id namespace.
    """
    if path in _held:
        return os.getpid()
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    try:
        kind, process_id = _ask(fd)
    finally:
        os.close(fd)
    if kind == fcntl.F_UNLCK:
        return None
    if process_id <= 0:
        raise OutOfReach(path)
    return process_id


def send(path: Path, number: signal.Signals) -> int | None:
    """Send a signal to the holder of the lock; return its id, None when nobody holds it."""
    process_id = holder(path)
    if process_id is None:
        return None
    if not hasattr(os, "pidfd_open"):
        return _kill(process_id, number)
    try:
        fd = os.pidfd_open(process_id)
    except ProcessLookupError:
        return None
    try:
        if holder(path) != process_id:  # it ended, and its number may be another's by now
            return None
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return process_id


def wait_released(path: Path, *, seconds: float) -> bool:
    """Whether nobody holds the lock any more, waiting for as long as that."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while holder(path) is not None:
        if time.monotonic() > deadline:
            return False
        pause.wait(_POLL_SECONDS)
    return True


def kill(path: Path) -> None:
    """Send SIGKILL to the holder, and wait for its end.

    Raises:
        StillRunning: it does not end.
    """
    process_id = send(path, signal.SIGKILL)
    if process_id is not None and not wait_released(path, seconds=_KILL_SECONDS):
        raise StillRunning(path.parent, process_id)


def _kill(process_id: int, number: signal.Signals) -> int | None:
    try:
        os.kill(process_id, number)
    except ProcessLookupError:
        return None
    return process_id


def _ask(fd: int) -> tuple[int, int]:
    """The kind of the lock that stands in the way of ours, and the id of who holds it."""
    if sys.platform == "darwin":
        asked = struct.pack(_MACOS, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
        _, _, process_id, kind, _ = struct.unpack(_MACOS, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    else:
        asked = struct.pack(_LINUX, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process_id = struct.unpack(_LINUX, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return kind, process_id
