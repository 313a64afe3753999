"""Opening files that a user names, without waiting for ever on what is not a file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_at_once(path: str, flags: int) -> int:
    """An opener for :func:`open` that does not wait: a FIFO without a reader is an error."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(fd, True)
    return fd


def open_regular(path: Path, *, or_pipe: bool = False) -> BinaryIO:
    """Return the regular file at ``path``, open for reading; with ``or_pipe``, a pipe too.

    A pipe without a writer is empty.

    Raises:
        OSError: it cannot be opened, or it is a device, a directory, a socket or a pipe.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not (stat.S_ISREG(mode) or (or_pipe and stat.S_ISFIFO(mode))):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        os.set_blocking(fd, True)
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise
