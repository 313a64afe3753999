"""Running a piece of a test in a process of its own that strace watches, and kills when told to."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

import attrs

CHANGING: Final = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "sync_file_range", "ftruncate",
    "fallocate", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat",
)  # fmt: skip
"""The system calls that change files. (openat: also those that only read.)"""
_CALL: Final = re.compile(r"^\d+ +(\w+)\((.*)", re.MULTILINE)
_PR_SET_PTRACER: Final = 0x59616D61
_PR_SET_PTRACER_ANY: Final = ctypes.c_ulong(-1)
_READY: Final = b"ready"
_SECONDS_MAX: Final = 60.0


class MayNotTrace(Exception):
    """strace is missing, or the system does not let it trace."""


@attrs.frozen
class Case:
    """Kill right before the so-manieth call of that kind, counted from 1."""

    syscall: str
    number: int

    def __str__(self) -> str:
        return f"{self.syscall}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Case:
        syscall, number = text.split(":")
        return cls(syscall, int(number))


@attrs.frozen
class Traced:
    """What became of a traced process."""

    was_killed: bool
    calls: list[tuple[Case, str]]
    """Each call that changes files, in order, with its arguments."""
    told: bytes
    """What it wrote to its pipe."""


Work = Callable[[Path, int], None]
"""What the process does with a path and the pipe to tell what it did."""


def traced(
    context: ForkServerContext, log: Path, work: Work, path: Path, *, kill_at: Case | None = None
) -> Traced:
    """Do ``work`` in a process of its own; kill it there, if it gets so far.

    Raises:
        MayNotTrace: nothing was done.
    """
    if shutil.which("strace") is None:
        raise MayNotTrace("strace is not installed")
    inject = []
    if kill_at is not None:
        inject = ["-e", f"inject={kill_at.syscall}:signal=KILL:when={kill_at.number}"]
    go, going = context.Pipe(duplex=False)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, path, go, sending), daemon=True)
    process.start()
    sending.close()
    go.close()
    assert os.read(receiving.fileno(), len(_READY)) == _READY
    with going, receiving, subprocess.Popen(
        [
            "strace", "-f", "-p", str(process.pid), "-o", str(log), "-s", "0",
            "-e", "trace=" + ",".join(f"?{name}" for name in CHANGING), *inject,
        ],
        stderr=subprocess.PIPE, text=True,
    ) as strace:  # fmt: skip
        assert strace.stderr is not None
        try:
            said = strace.stderr.readline()
            if "attached" not in said:
                raise MayNotTrace(said.strip())
            os.write(going.fileno(), b"go")
            told = b"".join(iter(lambda: os.read(receiving.fileno(), 65_536), b""))
            process.join(_SECONDS_MAX)
        finally:
            process.kill()
            strace.communicate(timeout=_SECONDS_MAX)
            process.join()
    exit_code = process.exitcode
    process.close()
    assert exit_code in (0, -signal.SIGKILL), exit_code
    return Traced(exit_code != 0, _calls(log.read_text()), told)


def _work(work: Work, path: Path, go: Connection, sending: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
    os.write(sending.fileno(), _READY)
    os.read(go.fileno(), 2)
    work(path, sending.fileno())
    os._exit(0)


def _calls(log: str) -> list[tuple[Case, str]]:
    counts: dict[str, int] = {}
    calls = []
    for syscall, arguments in _CALL.findall(log):
        counts[syscall] = counts.get(syscall, 0) + 1
        calls.append((Case(syscall, counts[syscall]), arguments))
    return calls
