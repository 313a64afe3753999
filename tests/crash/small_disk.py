"""A real file system that fills up: a tmpfs, given as much room as is wanted while it is in use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.crash.loop_disk import MayNotMount, check_may_mount, do, reason_of

_ROOMY: Final = "4m"


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Have one at ``path``, which is not there yet; with room enough at first.

    Raises:
        MayNotMount: this needs root.
    """
    check_may_mount("mount", "umount")
    path.mkdir()
    try:
        do("mount", "-t", "tmpfs", "-o", f"size={_ROOMY},mode=700", "nostro", str(path))
    except (subprocess.CalledProcessError, OSError) as error:
        path.rmdir()
        raise MayNotMount(reason_of(error)) from None
    try:
        yield
    finally:
        do("umount", "--lazy", str(path))
        path.rmdir()


def leave_room(path: Path, pages: int) -> None:
    """From now on there is room for so many pages more, and not for a byte beyond them."""
    status = os.statvfs(path)
    used = status.f_blocks - status.f_bfree
    _resize(path, str((used + pages) * status.f_bsize))


def make_roomy(path: Path) -> None:
    """Space is back."""
    _resize(path, _ROOMY)


def _resize(path: Path, size: str) -> None:
    do("mount", "-o", f"remount,size={size}", str(path))
