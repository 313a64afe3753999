"""Progress on standard error: a bar on a terminal, else a line every two seconds, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from nostro.tools.cli.terminal.screen import is_terminal

_LINE_SECONDS: Final = 2.0


class Progress(Protocol):
    """Receives how much of the work is done."""

    def update(self, done: int, total: int | None, count: int | None = None) -> None:
        """Show ``done`` of ``total`` (None: unknown) as the share, and the rate of ``count``.

        ``count`` differs from ``done`` when a run continues earlier work, or counts other units.
        """


@contextlib.contextmanager
def show_progress(label: str, unit: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Yield a progress display that counts in ``unit``."""
    if quiet:
        yield _Silent()
    elif is_terminal(sys.stderr):
        with _Bar(label, unit) as bar:
            yield bar
    else:
        yield _Lines(label, unit)


@contextlib.contextmanager
def show_startup(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that receives how many replicas of a cluster listen, and of how many."""
    began = time.monotonic()
    if quiet:
        yield lambda _listening, _total: None
    elif is_terminal(sys.stderr):
        with Console(stderr=True, highlight=False).status("starting") as status:
            yield lambda listening, total: status.update(_startup_text(listening, total, began))
    else:
        last = began

        def write_line(listening: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_SECONDS:
                last = time.monotonic()
                click.echo(f"cluster: {_startup_text(listening, total, began)}", err=True)

        yield write_line


class _Silent:
    def update(self, done: int, total: int | None, count: int | None = None) -> None:
        del done, total, count


class _Bar:
    def __init__(self, label: str, unit: str) -> None:
        self._unit = unit
        self._started = time.monotonic()
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._progress.add_task(label, total=None, rate="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int | None, count: int | None = None) -> None:
        count = done if count is None else count
        rate = count / max(time.monotonic() - self._started, 1e-3)
        text = f"{count:,} {self._unit}, {rate:,.0f}/s"
        self._progress.update(self._task, completed=done, total=total, rate=text)


class _Lines:
    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit
        self._started = self._last = time.monotonic()

    def update(self, done: int, total: int | None, count: int | None = None) -> None:
        count = done if count is None else count
        now = time.monotonic()
        if now - self._last < _LINE_SECONDS:
            return
        self._last = now
        elapsed = now - self._started
        parts = [f"{count:,} {self._unit}", f"{count / elapsed:,.0f} {self._unit}/s"]
        if total and done:
            parts.insert(0, f"{100 * done // total} %")
            parts.append(f"{elapsed * (total - done) / done:.0f} s left")
        click.echo(f"{self._label}: {', '.join(parts)}", err=True)


def _startup_text(listening: int, total: int, began: float) -> str:
    state = (
        "waiting for an answer" if listening == total else f"{listening} of {total} replicas listen"
    )
    return f"{state}, {time.monotonic() - began:.0f} s"
