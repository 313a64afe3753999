"""Open files of this process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


def open_files(folder: Path) -> list[str] | None:
    """The files below a folder that this process has open or mapped; None: that cannot be told.

    A count of all its descriptors would say something else: what another test still has open may
    come and go in the background.
    """
    if sys.platform != "linux":
        return None
    inside = f"{folder.resolve()}/"
    return sorted(name for name in descriptors().values() if f"{name}/".startswith(inside))


def descriptors() -> dict[int, str]:
    """What each descriptor of this process leads to. Only on Linux."""
    found: dict[int, str] = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them is closed by now
            found[int(link.name)] = str(link.readlink())
    return found
