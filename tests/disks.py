"""Storages for the ledger's tests: a disk that is full, and one that keeps its writers waiting."""

from __future__ import annotations

import errno
import os
import threading

from tests.storages import ObservedStorage, Operation

_NEED_ROOM = ("create", "write", "allocate", "make_directory")
TIMEOUT_SECONDS = 60.0


class FullDisk(ObservedStorage):
    """A disk without room for one more byte while ``full`` is set."""

    def __init__(self, *, suffix: str = "") -> None:
        super().__init__()
        self.full = False
        self.suffix = suffix

    def before(self, operation: Operation) -> None:
        if self.full and operation.name in _NEED_ROOM and str(operation.path).endswith(self.suffix):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class HeldDisk(FullDisk):
    """A disk that keeps whoever syncs the journal waiting until it is released."""

    def __init__(self) -> None:
        super().__init__(suffix=".segment")
        self.arrived = threading.Event()
        """Set once somebody is waiting."""
        self._go = threading.Event()
        self._go.set()

    def hold(self) -> None:
        self.arrived.clear()
        self._go.clear()

    def release(self, *, full: bool = False) -> None:
        """Let them go on; if ``full``, there is no room for what is in line behind them."""
        self.full = full
        self._go.set()

    def before(self, operation: Operation) -> None:
        if operation.name == "sync_data" and operation.path.suffix == ".segment":
            if not self._go.is_set():
                self.arrived.set()
            if not self._go.wait(TIMEOUT_SECONDS):
                raise AssertionError("the disk was never released")
        super().before(operation)
