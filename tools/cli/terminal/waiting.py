"""Told while one waits for a cluster: how far it is, and for how long already."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console

from nostro.tools.cli.terminal.meter import PLAIN_SECONDS
from nostro.tools.cli.terminal.screen import is_terminal

Told = Callable[[int, int], None]
"""Called with how many ports are open, and of how many."""


@contextlib.contextmanager
def waiting(*, quiet: bool) -> Iterator[Told]:
    """Yield what is to be called: it moves a line on a terminal, and writes one now and then."""
    began = time.monotonic()
    if quiet:
        yield lambda _done, _total: None
    elif is_terminal(sys.stderr):
        with Console(stderr=True, highlight=False).status("starting") as status:
            yield lambda done, total: status.update(_text(done, total, time.monotonic() - began))
    else:
        yield _Lines(began).tell


class _Lines:
    def __init__(self, began: float) -> None:
        self._began = self._told = began

    def tell(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= PLAIN_SECONDS:
            self._told = now
            click.echo(f"cluster: {_text(done, total, now - self._began)}", err=True)


def _text(done: int, total: int, seconds: float) -> str:
    what = "waiting for an answer" if done == total else f"{done} of {total} replicas listen"
    return f"{what}, {seconds:.0f} s"
