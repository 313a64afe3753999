"""The runs of one index, oldest first: loaded, added to, merged and stored in step with files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import attrs

from journal.storage import Storage
from projections.indexes.run_file import Kind, Span, first_to_merge, merged_span


class Run(Protocol):
    @property
    def span(self) -> Span: ...

    @property
    def size(self) -> int:
        """How much it holds, to compare runs of one index by."""
        ...


R = TypeVar("R", bound=Run)


@attrs.frozen
class RunFiles:
    """Where the runs of a ledger's indexes are."""

    storage: Storage
    folder: Path
    ledger_id: bytes

    def names(self, suffix: str) -> list[str]:
        if not self.storage.exists(self.folder):
            return []
        return [name for name in self.storage.names(self.folder) if name.endswith(suffix)]


class RunStack(Generic[R]):
    """Runs that follow on one another from position 1. Changed by one thread at a time.

    ``runs`` is replaced and never changed, so that any thread may read it.
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
        """The last position that is described, or set aside to be."""
        self._read = read
        self._write = write
        self._stored: set[Span] = set()

    def read(self, files: RunFiles, name: str) -> R:
        """The run in a file.

        Raises:
            CorruptCheckpoint, OSError: it cannot be used.
        """
        return self._read(files, files.folder / name)

    def append(self, run: R, *, stored: bool = False) -> None:
        self.runs = (*self.runs, run)
        self.position = run.span.position_last
        if stored:
            self._stored.add(run.span)

    def release(self) -> None:
        """Let go of the runs, and so of the files that nobody is looking at."""
        self.runs = ()

    def insert(self, runs: Sequence[R]) -> None:
        """Put runs that were missing where they belong."""
        self.runs = tuple(sorted((*self.runs, *runs), key=lambda run: run.span.position_first))
        self.position = max(self.position, self.runs[-1].span.position_last)

    @property
    def is_stored(self) -> bool:
        """Whether each run is in a file."""
        return all(run.span in self._stored for run in self.runs)

    def store(self, files: RunFiles) -> None:
        """Merge runs of similar size, write those that no file holds, remove all other files.

        Raises:
            OSError: something could not be written; the runs are as they were.
        """
        runs = list(self.runs)
        if runs:
            at = first_to_merge([run.size for run in runs], [run.span for run in runs])
            for number, run in enumerate(runs[:at]):
                if run.span not in self._stored:
                    runs[number] = self._store(files, [run])
            if len(runs) - at > 1 or runs[-1].span not in self._stored:
                runs[at:] = [self._store(files, runs[at:])]
            self.runs = tuple(runs)
        self._stored = {run.span for run in runs}
        wanted = {self.kind.name(run.span) for run in runs}
        for name in files.names(self.kind.suffix):
            if name not in wanted:
                files.storage.unlink(files.folder / name)

    def _store(self, files: RunFiles, runs: Sequence[R]) -> R:
        """Write ``runs`` as one, and open it as it is then: mapped."""
        span = merged_span([run.span for run in runs])
        path = files.folder / self.kind.name(span)
        self._write(files, path, span, runs)
        return self._read(files, path)
