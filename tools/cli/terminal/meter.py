"""Progress on standard error: a bar on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Final, Protocol, Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from nostro.tools.cli.terminal.screen import is_terminal

PLAIN_SECONDS: Final = 2.0


class Meter(Protocol):
    """Told how far the work is."""

    def update(self, done: int, total: int | None, count: int) -> None:
        """``done`` of ``total`` (None: unknown) measures the way; ``count`` is for the rate."""


@contextlib.contextmanager
def meter(label: str, unit: str, *, quiet: bool = False) -> Iterator[Meter]:
    """Yield a meter that counts in ``unit``; what fits standard error is chosen here."""
    if quiet:
        yield _Silent()
    elif is_terminal(sys.stderr):
        with _Bar(label, unit) as bar:
            yield bar
    else:
        yield _Lines(label, unit)


class _Silent:
    def update(self, done: int, total: int | None, count: int) -> None:
        del done, total, count


class _Bar:
    def __init__(self, label: str, unit: str) -> None:
        self._unit = unit
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._progress.add_task(label, total=None, told="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int | None, count: int) -> None:
        rate = count / max(time.monotonic() - self._started, 1e-3)
        told = f"{count:,} {self._unit}, {rate:,.0f}/s"
        self._progress.update(self._task, completed=done, total=total, told=told)


class _Lines:
    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit
        self._started = self._told = time.monotonic()

    def update(self, done: int, total: int | None, count: int) -> None:
        now = time.monotonic()
        if now - self._told < PLAIN_SECONDS:
            return
        self._told = now
        elapsed = now - self._started
        parts = [f"{count:,} {self._unit}", f"{count / elapsed:,.0f} {self._unit}/s"]
        if total and done:
            parts.insert(0, f"{100 * done // total} %")
            parts.append(f"{elapsed * (total - done) / done:.0f} s left")
        click.echo(f"{self._label}: {', '.join(parts)}", err=True)
