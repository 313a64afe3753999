"""The command line in a child process of the test: with any streams, in bounded memory and time."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import attrs
import click

from nostro.tools.cli.application import application, main

SECONDS_MAX: Final = 120
"""Far above what any of these commands takes, also on a busy machine."""
_MEMORY_MORE_BYTES: Final = 1 << 30
_BUG: Final = 99


@attrs.frozen
class Outcome:
    """What a command did. ``code`` is None if it did not end."""

    code: int | None
    stdout: bytes
    stderr: str

    def check(self, what: str) -> None:
        """It ended, in good order; a failure is told in one line, and perhaps a hint."""
        assert self.code is not None, f"{what}: it hangs"
        assert self.code in (0, 1, 2, 3), f"{what}: exit code {self.code}\n{self.stderr}"
        assert "Traceback" not in self.stderr, f"{what}\n{self.stderr}"
        assert "Exception ignored" not in self.stderr, f"{what}\n{self.stderr}"
        told = [line for line in self.stderr.splitlines() if line.startswith("nostro: ")]
        assert len(told) <= 1, f"{what}\n{self.stderr}"

    def check_told(self, what: str) -> None:
        """The same; and it did not fail in silence."""
        self.check(what)
        if self.code:
            assert "nostro: " in self.stderr or self.stdout, f"{what}: it says nothing"


def leaves() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by the words that call it."""
    yield from _leaves(application, (), click.Context(application))


def _leaves(
    command: click.Command, words: tuple[str, ...], context: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _leaves(found, (*words, name), context)


def outcome(
    *args: object, folder: Path = Path("/"), stdout: str = "pipe", stderr: str = "pipe"
) -> Outcome:
    """Run the command line in ``folder``; a stream is a "pipe", "closed", "full" or "unread"."""
    out, err = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.chdir(folder)
        _run([str(arg) for arg in args], {1: (stdout, out[1]), 2: (stderr, err[1])})
    os.close(out[1])
    os.close(err[1])
    found, has_ended = _read_all(out[0], err[0])
    if not has_ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for end in (out[0], err[0]):
        os.close(end)
    return Outcome(
        status if has_ended else None, found[out[0]], found[err[0]].decode(errors="replace")
    )


def _read_all(*ends: int) -> tuple[dict[int, bytes], bool]:
    found, left = dict.fromkeys(ends, b""), set(ends)
    while left:
        ready = select.select(left, [], [], SECONDS_MAX)[0]
        if not ready:
            return found, False
        for end in ready:
            data = os.read(end, 1 << 16)
            found[end] += data
            if not data:
                left.discard(end)
    return found, True


def _run(args: list[str], streams: dict[int, tuple[str, int]]) -> NoReturn:
    code: object = _BUG
    try:
        for number, (kind, end) in streams.items():
            _lay(number, kind, end)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * resource.getpagesize() + _MEMORY_MORE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
        # As Python does when it begins.
        sys.stdout = None if streams[1][0] == "closed" else open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = None if streams[2][0] == "closed" else open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["nostro", *args]
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:  # noqa: BLE001 - shown to the test
            with contextlib.suppress(Exception):
                traceback.print_exc()
                if sys.stderr is not None:
                    sys.stderr.flush()
        if sys.stdout is not None:
            sys.stdout.flush()
        code = code if isinstance(code, int) else 0
    except BaseException:  # noqa: BLE001 - the exit code tells
        code = _BUG
    finally:
        os._exit(code if isinstance(code, int) else _BUG)


def _lay(number: int, kind: str, end: int) -> None:
    if kind == "closed":
        os.close(number)
        return
    if kind == "full":
        end = os.open("/dev/full", os.O_WRONLY)
    elif kind == "unread":
        reader, end = os.pipe()
        os.close(reader)
    os.dup2(end, number)
