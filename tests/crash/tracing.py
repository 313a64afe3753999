"""Running a piece of a test in a process of its own that strace watches, and disturbs.

A process is killed at one of its system calls, or the call is not made and reported as failed. This
is done from outside: the program cannot know, and nothing of it is replaced.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext
from pathlib import Path
from typing import Final

import attrs

CHANGING: Final = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "sync_file_range", "ftruncate",
    "fallocate", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat",
)  # fmt: skip
"""The system calls that change files. (openat: also those that only read.)"""
_CALL: Final = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", re.MULTILINE)
_UNFINISHED: Final = " <unfinished ...>"
"""Another thread was heard of before the call ended; the rest of its line comes later."""
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

    @property
    def injection(self) -> str:
        return f"{self.syscall}:signal=KILL:when={self.number}"


@attrs.frozen
class Fault:
    """Let the so-manieth call of that kind, counted from 1, fail; or each from there on."""

    syscall: str
    number: int
    error: str
    """Its name: EIO."""
    for_ever: bool = False

    def __str__(self) -> str:
        return f"{self.syscall}:{self.number}{'+' * self.for_ever}:{self.error}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        syscall, number, error = text.split(":")
        return cls(syscall, int(number.rstrip("+")), error, for_ever=number.endswith("+"))

    @property
    def injection(self) -> str:
        return f"{self.syscall}:error={self.error}:when={self.number}{'+' * self.for_ever}"


@attrs.frozen
class Traced:
    """What became of a traced process."""

    was_killed: bool
    calls: list[tuple[Case, str]]
    """Each call that was watched, in order, with its arguments and what came of it."""
    told: bytes
    """What it wrote to its pipe."""


Work = Callable[[Path, int], None]
"""What the process does with a path and the pipe to tell what it did."""


def traced(
    context: ForkContext | ForkServerContext,
    log: Path,
    work: Work,
    path: Path,
    *,
    disturbed: Case | Fault | None = None,
    watched: Sequence[str] = CHANGING,
) -> Traced:
    """Do ``work`` in a process of its own; disturb it there, if it gets so far.

    Raises:
        MayNotTrace: nothing was done.
    """
    if shutil.which("strace") is None:
        raise MayNotTrace("strace is not installed")
    inject = []
    if disturbed is not None:
        inject = ["-e", f"inject={disturbed.injection}"]
    go, going = context.Pipe(duplex=False)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, path, go, sending), daemon=True)
    process.start()
    sending.close()
    go.close()
    assert os.read(receiving.fileno(), len(_READY)) == _READY
    with going, receiving, subprocess.Popen(
        [
            "strace", "-f", "-y", "-p", str(process.pid), "-o", str(log), "-s", "0",
            "-e", "trace=" + ",".join(f"?{name}" for name in watched), *inject,
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


def differing(calls: Sequence[tuple[Case, str]]) -> list[tuple[Case, str]]:
    """All but those that only go on reading, or writing to a file that has not got its name yet.

    Being disturbed there is no other thing than being disturbed one call before.
    """
    return [
        call
        for before, call in zip((None, *calls), calls, strict=False)
        if before is None or not _goes_on(before, call)
    ]


def _goes_on(before: tuple[Case, str], call: tuple[Case, str]) -> bool:
    kinds = {case.syscall for case, _ in (before, call)}
    files = {arguments.partition(",")[0] for _, arguments in (before, call)}
    return len(files) == 1 and (
        kinds == {"pread64"}
        or (kinds <= {"pwrite64", "sync_file_range"} and files.pop().endswith(".tmp>"))
    )


def _work(work: Work, path: Path, go: Connection, sending: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
    os.write(sending.fileno(), _READY)
    os.read(go.fileno(), 2)
    work(path, sending.fileno())
    os._exit(0)


def _calls(log: str) -> list[tuple[Case, str]]:
    counts: dict[str, int] = {}
    calls: list[tuple[Case, str]] = []
    under_way: dict[tuple[str, str], int] = {}
    for thread, resumed, syscall, rest in _CALL.findall(log):
        if resumed:
            at = under_way.pop((thread, resumed), None)
            if at is not None:
                calls[at] = (calls[at][0], calls[at][1] + rest)
            continue
        counts[syscall] = counts.get(syscall, 0) + 1
        if rest.endswith(_UNFINISHED):
            under_way[thread, syscall] = len(calls)
        calls.append((Case(syscall, counts[syscall]), rest.removesuffix(_UNFINISHED)))
    return calls
