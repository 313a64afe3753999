"""Standard output and error that are closed, full, or without a reader."""

from __future__ import annotations

import errno
import io
import os
import sys

from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed


class ReaderGone(Exception):
    """Standard output has no reader any more, and the command has nothing else to do."""


class _Output(io.FileIO):
    """Standard output. The first failure raises; later writes are dropped."""

    ends_with_reader = True
    """Whether the command may stop when its reader does. A check goes on, for its exit code."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            _lead_nowhere(self.fileno())
            if error.errno != errno.EPIPE:
                raise CommandFailed(
                    f"standard output: {error.strerror}",
                    hint="some of the output is missing; make room, or write it elsewhere",
                ) from None
            if self.ends_with_reader:
                raise ReaderGone from None
            return super().write(data)  # type: ignore[arg-type]


class _Errors(io.FileIO):
    """Standard error. A message that cannot be written is lost; the work goes on."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            _lead_nowhere(self.fileno())
            return super().write(data)  # type: ignore[arg-type]


def take_over() -> None:
    """Make standard output and error safe to write to.

    A descriptor that is closed would be given to the next file that is opened, and what is printed
    would go into that file.

    Raises:
        CommandFailed: standard output is closed.
    """
    is_closed = [_open_if_closed(number) for number in (0, 1, 2)]
    sys.stderr = _text(_Errors(2, "w", closefd=False), "backslashreplace")
    # A path that is not UTF-8 is written byte for byte.
    sys.stdout = _text(_Output(1, "w", closefd=False), "surrogateescape")
    if is_closed[1]:
        raise CommandFailed(
            "standard output is closed",
            code=WRONG_USE,
            hint="nothing was done; write the output to a file, or to /dev/null",
        )


def set_ends_with_reader(value: bool) -> None:
    """Set whether the command may stop once its output has no reader."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, _Output):
        output.ends_with_reader = value


def _open_if_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        return True
    return False


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _text(raw: io.FileIO, errors: str) -> io.TextIOWrapper:
    """The stream with the encoding of Python's own; what cannot be encoded is spelled out."""
    before = sys.stderr if raw.fileno() == 2 else sys.stdout
    encoding = getattr(before, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "") != "utf8":
        errors = "backslashreplace"
    is_terminal = raw.isatty()
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding, errors, line_buffering=is_terminal)
