"""Ctrl-C and SIGTERM: one line and an exit code at any moment, never in the middle of a request.

The exit code is 128 plus the signal's number, as shells have it: 130 after Ctrl-C. Before and after
the body of a command nothing can be half done, so the process ends at once: an import that is
interrupted could end in any error. In the body, the signal raises KeyboardInterrupt.

This module imports little, because the handler must stand before everything else is imported.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

from nostro.tools.signals import STOP_SIGNALS, on_signal

INTERRUPTED: Final = "interrupted"
_PAUSE_SECONDS: Final = 0.01
"""How long a destructor that was interrupted gets to end."""


class CommandInterrupted(Exception):
    """A signal has ended the body of a command, and everything was cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__(INTERRUPTED)
        self.exit_code = exit_code(number)


class _Handler:
    """The command's handler of SIGINT."""

    def __init__(self) -> None:
        self.raises = False
        self.received = 0
        self.is_installed = False

    def install(self) -> None:
        self.is_installed = True
        signal.signal(signal.SIGINT, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.raises:
            leave(number)
        self.received = number
        if _is_in_hook(frame):
            _interrupt_soon()
        else:
            raise KeyboardInterrupt


_HANDLER: Final = _Handler()


def exit_code(number: int) -> int:
    """The exit code of a command that this signal has ended."""
    return 128 + number


def leave(number: int) -> NoReturn:
    """End this process with one line, and clean nothing up."""
    with contextlib.suppress(OSError):
        os.write(2, f"nostro: {INTERRUPTED}\n".encode())
    os._exit(exit_code(number))


def end_at_once() -> None:
    """From here on, Ctrl-C ends this process with one line, wherever it is."""
    _HANDLER.install()
    sys.unraisablehook = _interrupt_again


def ignore() -> None:
    """From here on, Ctrl-C has no effect."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def body() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt inside the block, so that it can clean up.

    Raises:
        CommandInterrupted: it was interrupted, whatever the block made of it.
    """
    before, _HANDLER.received = _HANDLER.raises, 0
    try:
        _HANDLER.raises = True
        yield
    except KeyboardInterrupt as error:
        raise CommandInterrupted(*error.args or [signal.SIGINT]) from None
    except Exception:
        if not _HANDLER.received:
            raise
    finally:
        _HANDLER.raises = before
        if _HANDLER.is_installed:
            _HANDLER.install()  # asyncio leaves Python's own behind
    if _HANDLER.received:
        raise CommandInterrupted(_HANDLER.received)


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops an exception in a destructor or a callback; a KeyboardInterrupt comes back."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _interrupt_soon()
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_soon() -> None:
    _thread.start_new_thread(_interrupt_after_pause, ())


def _interrupt_after_pause() -> None:
    time.sleep(_PAUSE_SECONDS)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # also ends a wait


def _is_in_hook(frame: FrameType | None) -> bool:
    """Whether the main thread is inside :func:`_interrupt_again`, where what it raises is lost."""
    while frame is not None and frame.f_code is not _interrupt_again.__code__:
        frame = frame.f_back
    return frame is not None


class Interruption:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt, but delays it while shielded."""

    def __init__(self) -> None:
        self._shielded = False
        self._received = 0

    @property
    def exit_code(self) -> int:
        """The exit code after the signal that was received last."""
        return exit_code(self._received or signal.SIGINT)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the signals inside the block."""
        with on_signal(self._request, STOP_SIGNALS):
            yield

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Let the block finish before a signal raises."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._received:
            self._raise()

    def _request(self, number: int) -> None:
        self._received = number
        if not self._shielded:
            self._raise()

    def _raise(self) -> NoReturn:
        raise KeyboardInterrupt(self._received)
