"""Gives a decoder its bombs and many mutated inputs, and sees what it raises and what it takes."""

from __future__ import annotations

import random
import resource
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from tests.fuzz.decoder import Decoder, check
from tests.fuzz.mutator import mutated

MIB: Final = 1024 * 1024
PEAK_BYTES_MAX: Final = 256 * MIB
"""Of the whole process: Python, its modules and the input as well."""
FAILURES_MAX: Final = 10
_PROCESS: Final = Path("/proc/self")
"""What Linux tells of this process."""
_ROOM_BYTES: Final = 1024 * MIB
"""More than this is not given to a process, whatever its decoder asks for."""
_RESET_PEAK: Final = "5"
"""What proc_pid_clear_refs(5) takes for it."""


@attrs.frozen
class Result:
    """What became of one decoder's inputs."""

    name: str
    inputs: int
    accepted: int
    failures: list[str]
    """Each a line: what was raised, and the command that replays it."""
    seconds: float
    peak_bytes: int

    @property
    def passed(self) -> bool:
        return not self.failures and self.peak_bytes < PEAK_BYTES_MAX


def run(decoder: Decoder, *, inputs: int, seed: int, folder: Path) -> Result:
    """Try every bomb and so many mutated inputs.

    Args:
        folder: where inputs are written that the decoder does not stand.
    """
    warnings.simplefilter("error")  # numpy's are errors of ours
    reset_peak()
    began, accepted, tried, failures = time.monotonic(), 0, 0, []
    for data in _inputs(decoder, inputs, seed):
        tried += 1
        failure = attempt(decoder, data, folder=folder)
        if failure is None:
            continue
        accepted += failure == ""
        if failure:
            failures.append(failure)
            if len(failures) == FAILURES_MAX:
                break
    return Result(decoder.name, tried, accepted, failures, time.monotonic() - began, peak_bytes())


def attempt(decoder: Decoder, data: bytes, *, folder: Path) -> str | None:
    """None if the input is refused, "" if it is accepted, else what was wrong and how to see it."""
    try:
        return "" if check(decoder, data) else None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # what Rust panics with is no Exception
        path = save(decoder, data, folder)
        return f"{type(error).__name__}: {error}"[:500] + f"\n    {replay(decoder, path)}"


def input_number(decoder: Decoder, seed: int, number: int) -> bytes:
    """One of a decoder's mutated inputs."""
    return mutated(random.Random(f"{decoder.name} {seed} {number}"), decoder)


def save(decoder: Decoder, data: bytes, folder: Path) -> Path:
    """Keep an input, under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    name = decoder.name.replace(" ", "-").replace(",", "")
    path = folder / f"{name}-{len(list(folder.iterdir()))}"
    path.write_bytes(data)
    return path


def replay(decoder: Decoder, path: Path) -> str:
    """The command that gives a kept input to its decoder again."""
    arguments = ("-m", "tests.fuzz", "--decoder", decoder.name, "--replay", str(path))
    return shlex.join([Path(sys.executable).name, *arguments])


def limit_room() -> None:
    """Have what asks for very much fail, before the machine does."""
    if _PROCESS.exists():
        pages = int((_PROCESS / "statm").read_text(encoding="ascii").split()[0])
        room = pages * resource.getpagesize() + _ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (room, room))


def reset_peak() -> None:
    """Let :func:`peak_bytes` begin anew, where the system can."""
    if _PROCESS.exists():
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def peak_bytes() -> int:
    """The most memory that this process had resident."""
    if _PROCESS.exists():
        status = (_PROCESS / "status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def _inputs(decoder: Decoder, inputs: int, seed: int) -> Iterator[bytes]:
    for bomb in decoder.bombs:
        yield bomb()
    for number in range(inputs):
        yield input_number(decoder, seed, number)
