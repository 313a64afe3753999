"""A TOML table read key by key, collecting every fault with its line instead of the first only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

import attrs

_HEADER: Final = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w-]+)*)\s*=""")

Place = tuple[str, ...]
"""A key's path in the file; an element of an array of tables is its number, as text."""


@attrs.frozen
class Problem:
    """One fault: ``line`` counts from 1 and is None where it cannot be told."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        where = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'delimiter'?)``, or nothing when no known name is close."""
    known = list(known)
    folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


class Document:
    """The text of a TOML file: finds the line of a place, and gathers the problems."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._lines = _lines_of(text)

    def report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(self.path, self.line(place), message))

    def line(self, place: Place) -> int | None:
        """Return the line of ``place``, or of the nearest table around it that has one."""
        while place:
            if place in self._lines:
                return self._lines[place]
            place = place[:-1]
        return None


class Table:
    """One table of the file. A getter marks its key as known; :meth:`finish` reports the rest."""

    def __init__(self, document: Document, place: Place, data: dict[str, Any]) -> None:
        self._document = document
        self._place = place
        self._data = data
        self._known: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self._data

    def report(self, key: str, message: str) -> None:
        self._document.report((*self._place, key) if key else self._place, message)

    def raw(self, key: str) -> Any:  # noqa: ANN401 - whatever TOML can hold
        self._known.add(key)
        return self._data.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; a missing one without a default is a problem and comes back empty."""
        value = self.raw(key)
        if value is None:
            return self._missing(key) if default is None else default
        if not isinstance(value, str):
            self.report(key, f"{self._name(key)} must be text, not {_shown(value)}")
            return default or ""
        return value

    def column(self, key: str = "column") -> str:
        """Return a column's name, which may not be empty."""
        name = self.text(key)
        if not name and self.has(key):
            self.report(key, f"{self._name(key)} must name a column")
        return name

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """Return one string or a list of strings as a tuple."""
        value = self.raw(key)
        if value is None:
            if required:
                self._missing(key)
            return ()
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in values):
            self.report(
                key, f"{self._name(key)} must be text or a list of texts, not {_shown(value)}"
            )
            return ()
        return tuple(values)

    def integer(self, key: str, minimum: int, maximum: int, default: int | None = None) -> int:
        """Return an integer within the bounds, both included."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self._missing(key)
            return minimum if default is None else default
        if type(value) is not int or not minimum <= value <= maximum:
            self.report(
                key,
                f"{self._name(key)} must be an integer from {minimum} to {maximum},"
                f" not {_shown(value)}",
            )
            return minimum
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self.report(key, f"{self._name(key)} must be true or false, not {_shown(value)}")
            return default
        return default if value is None else bool(value)

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value in options:
            return value
        if not isinstance(self._data.get(key), str):
            return options[0]  # told already: missing, or not text
        listed = ", ".join(options)
        hint = nearest(value, options)
        self.report(key, f"{self._name(key)} must be one of {listed}; not {value!r}{hint}")
        return options[0]

    def table(self, key: str, *, required: bool = True) -> Table:
        """Return the table at ``key``; a missing one reads as empty and, if required, is told."""
        value = self.raw(key)
        if value is None and required:
            self.report("", f"the table [{'.'.join((*self._place, key))}] is missing")
        if value is not None and not isinstance(value, dict):
            self.report(key, f"{self._name(key)} must be a table, not {_shown(value)}")
        if not isinstance(value, dict):
            return Silent(self._document, (*self._place, key), {})
        return Table(self._document, (*self._place, key), value)

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array of tables, each with its own place."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.report(key, f"{self._name(key)} must be an array of tables ([[...]])")
            return []
        return [
            Table(self._document, (*self._place, key, str(number)), cast(dict[str, Any], item))
            for number, item in enumerate(value)
        ]

    def keys(self) -> list[str]:
        return list(self._data)

    def finish(self) -> None:
        """Report every key that nobody asked for, with the nearest name that would be known."""
        table = ".".join(part for part in self._place if not part.isdecimal()) or "the file"
        for key in self._data:
            if key not in self._known:
                hint = nearest(key, self._known)
                self.report(key, f"unknown key {key!r} in [{table}]{hint}")

    def _missing(self, key: str) -> str:
        self.report("", f"{self._name(key)} is missing")
        return ""

    def _name(self, key: str) -> str:
        return ".".join(part for part in (*self._place, key) if not part.isdecimal())


class Silent(Table):
    """Stands in for a missing table: what it lacks has been reported already."""

    def report(self, key: str, message: str) -> None:
        del key, message


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "so long a number"


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
