"""The machine of a measurement. Figures from two machines cannot be compared."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGES: Final = ("nostro", "numpy", "cbor2", "zstandard", "attrs")
_SYNCS: Final = 500
_SYNC_BYTES: Final = 208


def describe_machine(folder: Path) -> dict[str, str]:
    """Return processor, memory, system, versions, and the file system that holds ``folder``."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def sync_seconds(folder: Path) -> float:
    """Return the median time of one write of 208 bytes and its fdatasync.

    No durable transfer on this disk takes less.
    """
    path = folder / "sync-floor"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, _SYNCS * _SYNC_BYTES)
        sync = os.fdatasync if sys.platform != "darwin" else os.fsync
        times = []
        for number in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(fd, bytes(_SYNC_BYTES), number * _SYNC_BYTES)
            sync(fd)
            times.append(time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
    return sorted(times)[_SYNCS // 2]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    best = ("", "unknown")
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split()
        if str(folder.resolve()).startswith(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "from source"


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],  # noqa: S607 - on PATH
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
