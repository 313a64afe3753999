"""Reads a file row by row, as text cells with their line number. Knows nothing of meanings."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from nostro.tools.importing.errors import SourceError
from nostro.tools.importing.mapping import FileRule

ROWS_PEEKED: Final = 1_000  # of JSON Lines, to learn which keys there are


class RawRow(NamedTuple):
    """The cells of one row, in the order of the columns; ``fault`` tells why it is unusable."""

    line: int
    cells: list[str]
    fault: str = ""
    detail: str = ""


class Source:
    """An open file of rows. A context manager.

    Attributes:
        columns: the names of the cells, from the mapping, the header line, or the JSON keys.
        bytes_total: the file's size, or None for a pipe.

    Raises:
        SourceError: the file cannot be opened, or has no readable first line.
    """

    columns: tuple[str, ...]
    bytes_total: int | None

    def __init__(self, path: Path, rule: FileRule) -> None:
        self._path = path
        self._rule = rule
        with self._reading():
            self._binary = path.open("rb")
        status = path.stat()
        self.bytes_total = status.st_size if stat.S_ISREG(status.st_mode) else None
        # A byte that the encoding does not know must spoil its own row only.
        encoding = "utf-8-sig" if rule.encoding.lower() in {"utf-8", "utf8"} else rule.encoding
        self._text = io.TextIOWrapper(
            self._binary, encoding=encoding, errors="surrogateescape", newline=""
        )
        try:
            self.columns, self._rows = self._jsonl() if rule.format == "jsonl" else self._csv()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._text.close()

    @property
    def bytes_done(self) -> int:
        """How far the file has been read; 0 for a pipe."""
        return 0 if self.bytes_total is None else self._binary.tell()

    def rows(self) -> Iterator[RawRow]:
        """Yield every row after the header, once; blank lines are no rows.

        Raises:
            SourceError: reading fails, or the encoding cannot go on.
        """
        trim = self._rule.trim
        width = len(self.columns)
        with self._reading():
            for row in self._rows:
                cells = [cell.strip() for cell in row.cells] if trim else row.cells
                yield self._checked(row.line, cells, width) if not row.fault else row

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(self._path, str(error.strerror)) from None
        except UnicodeError as error:
            raise SourceError(self._path, f"not {self._rule.encoding} text: {error}") from None

    def _checked(self, line: int, cells: list[str], width: int) -> RawRow:
        if len(cells) != width:
            return RawRow(
                line,
                cells,
                "wrong number of columns",
                f"{len(cells)}, where the file has {width}",
            )
        if not "".join(cells).isascii() and any(map(_undecoded, cells)):
            return RawRow(line, cells, f"bytes that are not {self._rule.encoding} text")
        return RawRow(line, cells)

    def _csv(self) -> tuple[tuple[str, ...], Iterator[RawRow]]:
        delimiter, quote = self._rule.csv_marks
        reader = csv.reader(
            self._text,
            delimiter=delimiter,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            strict=True,
        )
        rows = _csv_rows(reader)
        if self._rule.columns:
            return self._rule.columns, rows
        with self._reading():
            header = next(rows, None)
        if header is None:
            raise SourceError(self._path, "the file is empty: not even a header line")
        if header.fault:
            raise SourceError(self._path, f"{header.fault}: {header.detail}", header.line)
        return tuple(cell.strip() for cell in header.cells), rows

    def _jsonl(self) -> tuple[tuple[str, ...], Iterator[RawRow]]:
        objects = _json_objects(self._text)
        with self._reading():
            peeked = list(itertools.islice(objects, ROWS_PEEKED))
        columns = tuple(dict.fromkeys(key for _, found, _ in peeked for key in found))
        if not columns:
            reason = peeked[0][2] if peeked else "the file is empty"
            raise SourceError(self._path, f"no JSON object found: {reason}")
        return columns, _json_rows(itertools.chain(peeked, objects), columns)


def _undecoded(cell: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in cell)


def _csv_rows(reader: Any) -> Iterator[RawRow]:  # noqa: ANN401 - csv's reader has no public type
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield RawRow(line, [], "not CSV as the mapping describes it", str(error))
            continue
        if cells is None:
            return
        if cells:
            yield RawRow(line, cells)


_JsonObject = tuple[int, dict[str, str], str]


def _json_objects(lines: Iterator[str]) -> Iterator[_JsonObject]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, _json_cells(line), ""
        except (ValueError, RecursionError) as error:
            yield number, {}, str(error)


def _json_rows(objects: Iterator[_JsonObject], columns: tuple[str, ...]) -> Iterator[RawRow]:
    for number, cells, fault in objects:
        if fault:
            yield RawRow(number, [], "not a JSON object", fault)
        else:
            yield RawRow(number, [cells.get(column, "") for column in columns])


def _json_cells(line: str) -> dict[str, str]:
    """Return the object's values as text; a nested key is joined with dots (``amount.value``).

    Numbers stay the text they were, so that no digit passes through a float.
    """
    value = json.loads(
        line,
        parse_float=str,
        parse_int=str,
        parse_constant=str,
        object_pairs_hook=_flat,
    )
    if not isinstance(value, dict):
        raise ValueError("a line must be one object in braces")  # noqa: TRY004 - a fault of the data
    return {key: _json_text(item) for key, item in value.items()}


def _flat(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in pairs:
        items = (
            {f"{key}.{inner}": item for inner, item in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
        if not flat.keys().isdisjoint(items):
            raise ValueError(f"the key {key!r} appears twice")
        flat.update(items)
    return flat


def _json_text(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value)
