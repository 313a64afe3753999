"""A real file system whose power can be cut: ext4 on a loop device over a sparse file.

EXT4_IOC_SHUTDOWN without a flush of the file system's own log is what a power cut is to it: from
then on nothing reaches the disk, and mounting it again replays what its log holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 256 * 1024 * 1024
_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = struct.pack("I", 2)
_SECONDS_MAX: Final = 60
_TOOLS: Final = ("mkfs.ext4", "losetup", "mount", "umount")


class MayNotMount(Exception):
    """This needs root, a loop device, and ext4."""


class LoopDisk:
    """A disk below ``folder``; whoever makes one must :meth:`close` it.

    Raises:
        MayNotMount: nothing is left of the attempt.
    """

    def __init__(self, folder: Path) -> None:
        check_may_mount(*_TOOLS)
        self.path = folder / "disk"
        self.path.mkdir()
        self._image = folder / "disk.ext4"
        self._device = ""
        self._is_mounted = False
        try:
            with self._image.open("wb") as file:
                file.truncate(SIZE_BYTES)
            do("mkfs.ext4", "-q", "-F", str(self._image))
            self._device = do("losetup", "--find", "--show", str(self._image)).strip()
            self.mount()
        except (subprocess.CalledProcessError, OSError) as error:
            self.close()
            raise MayNotMount(reason_of(error)) from None

    def mount(self) -> None:
        do("mount", "-t", "ext4", self._device, str(self.path))
        self._is_mounted = True

    def cut_power(self) -> None:
        """From now on nothing that is written reaches the disk."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def mount_again(self) -> None:
        """What is on the disk is all that is there. Nobody may have a file open."""
        do("umount", str(self.path))
        self._is_mounted = False
        self.mount()

    def close(self) -> None:
        """Leave no trace. May be repeated."""
        if self._is_mounted:
            do("umount", "--lazy", str(self.path))
            self._is_mounted = False
        if self._device:
            do("losetup", "--detach", self._device)
            self._device = ""
        self._image.unlink(missing_ok=True)


def check_may_mount(*tools: str) -> None:
    """Refuse where it is known beforehand.

    Raises:
        MayNotMount: this is not root, or lacks one of the tools.
    """
    if os.geteuid() != 0:
        raise MayNotMount("not root")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise MayNotMount(f"{missing[0]} is not installed")


def do(*command: str) -> str:
    """Run a tool; what it printed."""
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_SECONDS_MAX
    ).stdout


def reason_of(error: subprocess.CalledProcessError | OSError) -> str:
    """What the tool complained of first, or the system."""
    complaint = str(getattr(error, "stderr", "")).strip() or str(error)
    return complaint.splitlines()[0]
