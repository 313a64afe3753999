"""The seeded bugs of bugs.toml: small changes to the source, and the tests that must notice."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = Path(__file__).with_name("bugs.toml")


@attrs.frozen
class Bug:
    """One change to one file of the source."""

    name: str
    rule: int
    """The promise it breaks, by its number in docs/reliability.md."""
    what: str
    """What the program does wrong with it."""
    file: str
    before: str
    """Whole lines, which stand in the file once."""
    after: str
    caught_by: list[str]
    """Node ids of tests. Each must fail, by itself, with the bug in place."""

    def applied_to(self, source: str) -> str:
        """The source with the bug in it.

        Raises:
            ValueError: the lines to change are not there, or not only once.
        """
        count = ("\n" + source).count("\n" + self.before)
        if count != 1:
            raise ValueError(f"{self.name}: its lines stand in {self.file} {count} times")
        at = ("\n" + source).index("\n" + self.before)
        return source[:at] + self.after + source[at + len(self.before) :]


def bugs() -> list[Bug]:
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return [Bug(**entry) for entry in table["bug"]]
