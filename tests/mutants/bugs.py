"""The seeded bugs of bugs.toml: small changes to the source, and the tests that must notice."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import attrs

from tests.mutants.source import Definition, find, replace_fragment

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = Path("src", "nostro")
TABLE: Final = Path(__file__).with_name("bugs.toml")


@attrs.frozen
class Bug:
    """One change to one definition in the package."""

    name: str
    rule: int
    """The number of the promise that it breaks, in docs/reliability.md."""
    what: str
    """What the program does wrong with it."""
    where: str
    """A function, method or constant: `decode_frame`, `Writer.append`, `frame.decode_frame`."""
    replace: str
    """Code that the definition holds exactly once."""
    by: str
    """The code in its place."""
    caught_by: list[str]
    """Node ids of tests. Each must fail, by itself, with the bug in place."""

    def applied_to(self, package: list[Definition]) -> tuple[Path, str]:
        """The file that changes, and its source with the bug in it.

        Raises:
            ValueError: the place or the code to replace is missing, or not unique.
        """
        try:
            definition = find(package, self.where)
            return definition.file, replace_fragment(definition, self.replace, self.by)
        except ValueError as error:
            raise ValueError(f"bug {self.name!r}: {error}") from None


def bugs() -> list[Bug]:
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return [Bug(**entry) for entry in table["bug"]]
