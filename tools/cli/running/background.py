"""Work that should not be in the way of a ledger's writer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_NICENESS: Final = 19


@contextlib.contextmanager
def in_background() -> Iterator[None]:
    """Let others go first, at the processor and at the disk, whose priority follows from it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(before, _NICENESS))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # only some may ask for more again
            os.setpriority(os.PRIO_PROCESS, 0, before)
