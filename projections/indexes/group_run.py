"""Runs that are groups: how those are read from a file, written to one, and merged on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import CorruptCheckpoint
from nostro.projections.indexes.groups import Groups, are_sound, merge, merged_count
from nostro.projections.indexes.run_file import (
    Kind,
    Pieces,
    RunFiles,
    Span,
    open_run,
    write_run,
)
from nostro.projections.indexes.running_totals import Totals, need_high_words

_KEYS_AND_ENDS: Final = (np.dtype(np.uint64), np.dtype(np.uint32))
_TOTALS: Final = (np.dtype(np.uint64), np.dtype(np.uint64))


@attrs.frozen
class Columns:
    """The columns of one field's groups, beside their keys and ends."""

    values: tuple[type[np.generic], ...]
    totals: int = 0
    """How many running totals there are."""

    def dtypes(self) -> list[np.dtype[Any]]:
        return [
            *_KEYS_AND_ENDS,
            *[np.dtype(value) for value in self.values],
            *_TOTALS * self.totals,
        ]


@attrs.frozen(eq=False)
class GroupRun:
    """The groups of a span, by field; what positions are among the values count from its first."""

    span: Span
    groups: dict[str, Groups]

    @property
    def size(self) -> int:
        return len(next(iter(self.groups.values())).values[0])


class GroupFormat:
    """One kind of file: which fields there are, in which order."""

    def __init__(self, suffix: str, fields: dict[str, Columns]) -> None:
        self.fields = fields
        self.kind = Kind(suffix, tuple(d for columns in fields.values() for d in columns.dtypes()))

    def read(self, files: RunFiles, path: Path) -> GroupRun:
        """The run in a file, mapped.

        Raises:
            CorruptCheckpoint, OSError: it cannot be used.
        """
        span, all_columns = open_run(files, path, self.kind)
        groups = {}
        for field, columns in self.fields.items():
            width, totals = len(columns.dtypes()), 2 + len(columns.values)
            mine, all_columns = all_columns[:width], all_columns[width:]
            groups[field] = Groups(
                mine[0],
                mine[1],
                tuple(mine[2:totals]),
                tuple(Totals(*mine[at : at + 2]) for at in range(totals, width, 2)),
            )
            if not are_sound(groups[field], position_max=len(span) - 1):
                raise CorruptCheckpoint(path, 0, f"the groups by {field} do not add up")
        return GroupRun(span, groups)

    def write(self, files: RunFiles, path: Path, span: Span, runs: Sequence[GroupRun]) -> None:
        """Write consecutive runs as one.

        Raises:
            OSError: it could not be written; nothing is there.
        """
        fields = [[run.groups[field] for run in runs] for field in self.fields]
        shifts = [run.span.position_first - span.position_first for run in runs]
        counts: list[int] = []
        for parts in fields:
            counts += _counts(parts, files)
        write_run(files, path, self.kind, span, counts, self._pieces(fields, shifts, counts))

    def _pieces(
        self, fields: list[list[Groups]], shifts: Sequence[int], counts: Sequence[int]
    ) -> Pieces:
        first = 0
        for parts, columns in zip(fields, self.fields.values(), strict=True):
            width = len(columns.dtypes())
            for piece in parts if len(parts) == 1 else merge(parts, shifts):
                yield from enumerate(_columns(piece, counts[first : first + width]), first)
            first += width


def _counts(parts: Sequence[Groups], files: RunFiles) -> list[int]:
    """How many entries each column of ``parts`` together will have."""
    keys = len(parts[0].keys) if len(parts) == 1 else merged_count(parts, pause=files.pause)
    size = sum(len(part.values[0]) for part in parts)
    counts = [keys, keys, *[size] * len(parts[0].values)]
    for totals in zip(*(part.totals for part in parts), strict=True):
        counts += [size, size if need_high_words(totals) else 0]
    return counts


def _columns(groups: Groups, counts: Sequence[int]) -> list[npt.NDArray[Any]]:
    columns: list[npt.NDArray[Any]] = [groups.keys, groups.ends, *groups.values]
    for totals in groups.totals:
        has_high = counts[len(columns) + 1]
        columns += [totals.low, totals.filled() if has_high else totals.high]
    return columns
