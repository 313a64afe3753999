"""The runs of one index, oldest first: loaded, added to, stored and merged in step with files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from nostro.journal.storage.files import file_bytes
from nostro.projections.indexes.run_file import (
    NUMBER_MAX,
    Kind,
    RunFiles,
    Span,
    first_to_merge,
)


class Run(Protocol):
    @property
    def span(self) -> Span: ...

    @property
    def size(self) -> int:
        """How much it holds, to compare runs of one index by."""
        ...


R = TypeVar("R", bound=Run)


class RunStack(Generic[R]):
    """Runs that follow on one another from position 1.

    One thread appends and stores, another merges. ``runs`` is replaced and never changed, so that
    any thread may read it.
    """

    def __init__(
        self,
        kind: Kind,
        read: Callable[[RunFiles, Path], R],
        write: Callable[[RunFiles, Path, Span, Sequence[R]], None],
    ) -> None:
        """``read`` opens a file; ``write`` makes one of runs that follow on one another."""
        self.kind = kind
        self.runs: tuple[R, ...] = ()
        self.position = 0
        """The last position that is described."""
        self._read = read
        self._write = write
        self._stored: set[Span] = set()
        self._lock = threading.Lock()

    def read(self, files: RunFiles, name: str) -> R:
        """The run in a file.

        Raises:
            CorruptCheckpoint, OSError: it cannot be used.
        """
        return self._read(files, files.folder / name)

    def append(self, run: R, *, stored: bool = False) -> None:
        with self._lock:
            self.runs = (*self.runs, run)
            self.position = run.span.position_last
            if stored:
                self._stored.add(run.span)

    def release(self) -> None:
        """Let go of the runs, and so of the files that nobody is looking at."""
        with self._lock:
            self.runs = ()

    @property
    def is_stored(self) -> bool:
        """Whether each run is in a file."""
        return not self._not_stored()

    def store(self, files: RunFiles) -> None:
        """Write the runs that no file holds.

        Raises:
            OSError: something could not be written; the runs are as they were.
        """
        for run in self._not_stored():
            self.merge(files, [run])

    def due(self, *, after: int = 0, size_max: int = NUMBER_MAX) -> tuple[R, ...]:
        """The runs after that position that are to become one now; none if it does not pay yet.

        All are in files, and they hold ``size_max`` entries at most.
        """
        with self._lock:
            runs = [run for run in self.runs if run.span.position_first > after]
            stored = next(
                (n for n, run in enumerate(runs) if run.span not in self._stored), len(runs)
            )
        runs = runs[:stored]
        sizes, spans = [run.size for run in runs], [run.span for run in runs]
        first = first_to_merge(sizes, spans, size_max=size_max)
        return tuple(runs[first:])

    def merge(self, files: RunFiles, runs: Sequence[R]) -> None:
        """Write runs that follow on one another as one, mapped, which takes their place.

        Raises:
            OSError: it could not be written; the runs are as they were.
        """
        first, last = runs[0].span, runs[-1].span
        span = Span(first.position_first, last.position_last, last.frame_sha256)
        path = files.folder / self.kind.name(span)
        self._write(files, path, span, runs)
        stored = self._read(files, path)
        with self._lock:
            at = self.runs.index(runs[0])
            self.runs = (*self.runs[:at], stored, *self.runs[at + len(runs) :])
            self._stored -= {run.span for run in runs}
            self._stored.add(span)

    def stored_bytes(self, files: RunFiles, runs: Sequence[R]) -> int:
        """The size of the files of these runs.

        Raises:
            OSError: one of them cannot be opened.
        """
        return sum(file_bytes(files.storage, files.folder / self.kind.name(r.span)) for r in runs)

    def sweep(self, files: RunFiles) -> None:
        """Remove what was merged. Call from the thread that merges.

        Raises:
            OSError: some of it is still there.
        """
        names = files.names(self.kind.suffix)  # first: what is written from here on is kept
        with self._lock:
            wanted = {self.kind.name(run.span) for run in self.runs}
        for name in names:
            if name not in wanted:
                files.storage.unlink(files.folder / name)

    def _not_stored(self) -> list[R]:
        with self._lock:
            return [run for run in self.runs if run.span not in self._stored]
