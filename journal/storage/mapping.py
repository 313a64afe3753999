"""Mapped files that stay readable when another program cuts them short.

Reading a page behind the end of a mapped file ends the process (SIGBUS). On Linux each mapped file
therefore has a read lease. A program that opens the file for writing, or truncates it, waits until
the lease is given back. A thread looks for such programs. It copies the pages to memory while the
file is whole, puts them at the same address, and gives the lease back. On other systems, and on
file systems without leases, a file is only mapped. Why files are not read instead:
docs/decisions/0012-mapped-files.md.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import mmap
import os
import signal
import sys
import threading
import time
import weakref
from typing import Final

import numpy as np

_POLL_SECONDS: Final = 0.5
"""The system breaks a lease by force after 45 s. Looking 20 times a second instead of twice takes
six times the processor time: 2.5 ms a second."""
_MREMAP_MAYMOVE: Final = 1
_MREMAP_FIXED: Final = 2
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_log = logging.getLogger("nostro")


def map_file(fd: int) -> mmap.mmap:
    """The whole file as memory, read-only; it outlives ``fd`` and the file's name."""
    mapped = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    if sys.platform == "linux":
        _leases.take(fd, mapped)
    return mapped


class _Leases:
    """The leases of this process, and the thread that gives them back."""

    def __init__(self) -> None:
        self._held: dict[int, weakref.ref[mmap.mmap]] = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def take(self, fd: int, mapped: mmap.mmap) -> None:
        held = os.dup(fd)
        try:
            fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGURG)  # it is ignored; SIGIO would end us
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            os.close(held)
            return
        with self._lock:
            self._held[held] = weakref.ref(mapped)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nostro-map", daemon=True)
                self._thread.start()
        weakref.finalize(mapped, self._drop, held).atexit = False

    def forget(self) -> None:
        """In a forked child: the leases and the thread are the parent's."""
        self._held, self._lock, self._thread = {}, threading.RLock(), None

    def _drop(self, held: int) -> None:
        with self._lock:
            if self._held.pop(held, None) is not None:
                _give_up(held)

    def _run(self) -> None:
        while self._give_back():
            time.sleep(_POLL_SECONDS)

    def _give_back(self) -> bool:
        """Give back the leases that a program waits for; False if none are left to watch."""
        with self._lock:
            for held, reference in list(self._held.items()):
                mapped = reference()
                if mapped is None or fcntl.fcntl(held, fcntl.F_GETLEASE) == fcntl.F_RDLCK:
                    continue
                if not mapped.closed:
                    if not _move_to_memory(mapped):
                        continue
                    _log.warning("another process opened an index file for writing; it was copied")
                del self._held[held]
                _give_up(held)
            if not self._held:
                self._thread = None
            return self._thread is not None


def _give_up(held: int) -> None:
    """Give a lease back. Closing alone would not: a forked child may have the descriptor too."""
    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    os.close(held)


def _move_to_memory(mapped: mmap.mmap) -> bool:
    """Put a copy of the pages at the same address; False if there is no memory for it."""
    size = -(-len(mapped) // mmap.PAGESIZE) * mmap.PAGESIZE
    address = np.frombuffer(mapped, np.uint8).ctypes.data
    copy = _libc.mmap(
        None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
    )
    if copy == _MAP_FAILED:
        return False
    ctypes.memmove(copy, address, len(mapped))
    moved = _libc.mremap(
        ctypes.c_void_p(copy), size, size, _MREMAP_MAYMOVE | _MREMAP_FIXED, ctypes.c_void_p(address)
    )
    return bool(moved == address)


_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
if sys.platform == "linux":
    _libc.mremap.restype = ctypes.c_void_p
    _libc.mremap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p,
    ]  # fmt: skip
_leases: Final = _Leases()
os.register_at_fork(after_in_child=_leases.forget)
