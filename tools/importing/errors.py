"""What an import can fail on before its first row: the mapping file, or the file of data."""

from __future__ import annotations

from pathlib import Path

import attrs

from nostro.tools.importing.toml_lines import Problem


class ImportingError(Exception):
    """The import cannot begin; nothing was written."""


@attrs.define(eq=False)
class MappingError(ImportingError):
    """The mapping file is wrong; every fault that was found is listed, in order of lines."""

    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@attrs.define(eq=False)
class SourceError(ImportingError):
    """The file of data cannot be read as the mapping says."""

    path: Path
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        where = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.reason}"


@attrs.define(eq=False)
class RowRefused(Exception):
    """One row cannot be used. ``reason`` is the kind of fault, ``detail`` what was found."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
