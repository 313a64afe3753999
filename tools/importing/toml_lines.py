"""On which line of a TOML file a key stands, for messages about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

_HEADER: Final = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w-]+)*)\s*=""")

Place = tuple[str, ...]
"""A key's path in the file; an element of an array of tables is its number, as text."""


@attrs.frozen
class Problem:
    """One fault. ``line`` counts from 1; None means that the line is not known."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        where = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


def problems(path: Path, text: str, faults: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    """Yield the faults of the TOML file ``text``, each once, in the order of their lines.

    A fault without a line of its own gets that of the nearest table around it. Those without any
    line come last.
    """
    lines = _lines_of(text)
    found = dict.fromkeys(
        Problem(path, _nearest_line(lines, place), message) for place, message in faults
    )
    yield from sorted(found, key=lambda one: (one.line is None, one.line))


def _nearest_line(lines: dict[Place, int], place: Place) -> int | None:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place)


def _lines_of(text: str) -> dict[Place, int]:
    """Return the line of every table and key, by a plain scan that knows TOML's line shapes.

    Inline tables and values over several lines are found by the key that opens them.
    """
    lines: dict[Place, int] = {}
    table: Place = ()
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            table = _parts(header[2])
            if header[1] == "[[":
                index = counts.get(table, 0)
                counts[table] = index + 1
                lines.setdefault(table, number)
                table = (*table, str(index))
            lines[table] = number
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def _parts(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
