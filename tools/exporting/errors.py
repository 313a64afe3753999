"""What an export, or reading one, can fail on."""

from __future__ import annotations

from pathlib import Path

import attrs


class ExportingError(Exception):
    """Nothing was written."""


@attrs.define(eq=False)
class ExportUnfit(ExportingError):
    """What was asked for cannot be done with this file or this value."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@attrs.define(eq=False)
class ExportDamaged(ExportingError):
    """The file is not as it was exported."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"
