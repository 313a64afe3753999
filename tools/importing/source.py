"""Reads a file row by row, as text cells with their line number. Knows nothing of meanings."""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import itertools
import json
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nostro.tools.csv_records import CsvRecords, Record
from nostro.tools.importing.errors import SourceError
from nostro.tools.importing.mapping import FileRule
from nostro.tools.regular_files import open_regular

ROWS_PEEKED: Final = 1_000  # of JSON Lines, to learn which keys there are
LINE_CHARACTERS_MAX: Final = 1 << 20
BELOW: Final = "below the rows"
"""The fault of lines that the mapping leaves out at the end of the file."""

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


RawRow = Record
"""The cells of one row, in the order of the columns; ``fault`` says why it is unusable."""


class Source:
    """An open file of rows. A context manager.

    Attributes:
        columns: the names of the cells, from the mapping, the header line, or the JSON keys.
        columns_unseen: those of the ``columns_used`` that no row of JSON Lines has had yet.
        bytes_total: the file's size, or None for a pipe.

    Raises:
        SourceError: the file cannot be opened, or has no readable first line.
    """

    columns: tuple[str, ...]
    bytes_total: int | None

    def __init__(self, path: Path, rule: FileRule, *, columns_used: Iterable[str] = ()) -> None:
        """Open the file. ``columns_used`` are columns of JSON Lines even if they come late."""
        self.columns_unseen: set[str] = set()
        self._last_lines: deque[str] = deque()
        self._lines_read = 0
        self._path = path
        self._rule = rule
        with self._reading():
            self._binary = open_regular(path, or_pipe=True)
        self._status = os.fstat(self._binary.fileno())
        is_regular = stat.S_ISREG(self._status.st_mode)
        self.bytes_total = self._status.st_size if is_regular else None
        try:
            with self._reading():
                self._text = self._decoder()
                jsonl = rule.format == "jsonl"
                self.columns, self._rows = self._jsonl(columns_used) if jsonl else self._csv()
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
        self._binary.close()

    @property
    def bytes_done(self) -> int:
        """How far the file has been read; 0 for a pipe."""
        return 0 if self.bytes_total is None else self._binary.tell()

    def rows(self) -> Iterator[RawRow]:
        """Yield every row after the header, once; blank lines are no rows.

        Raises:
            SourceError: reading fails, a line has no end, or the encoding cannot go on.
        """
        trim = self._rule.trim
        width = len(self.columns)
        with self._reading():
            for row in itertools.chain(self._rows, self._below()):
                if row.fault:
                    yield row
                    continue
                line, cells, *_ = row
                if trim:
                    cells = [cell.strip() for cell in cells]
                fits = len(cells) == width and "".join(cells).isascii()
                yield RawRow(line, cells) if fits else self._checked(line, cells, width)
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        status, before = os.fstat(self._binary.fileno()), self._status
        if self.bytes_total is not None and (status.st_size, status.st_mtime_ns) != (
            before.st_size,
            before.st_mtime_ns,
        ):
            raise SourceError(self._path, "the file changed while it was read")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(self._path, str(error.strerror)) from None
        except UnicodeError as error:
            raise SourceError(self._path, f"not {self._rule.encoding} text: {error}") from None

    def _decoder(self) -> io.TextIOWrapper:
        start = self._binary.peek(4)[:4]  # type: ignore[attr-defined]  # a BufferedReader
        name = codecs.lookup(self._rule.encoding).name
        for mark, encoding in _BYTE_ORDER_MARKS:
            if start.startswith(mark) and not name.startswith((encoding, "utf-32")):
                raise SourceError(
                    self._path,
                    f"the file begins with the mark of {encoding}: set file.encoding to"
                    f" {encoding!r}, not {self._rule.encoding!r}",
                )
        # A byte that the encoding does not know must spoil its own row only.
        return io.TextIOWrapper(
            self._binary,
            encoding="utf-8-sig" if name == "utf-8" else self._rule.encoding,
            errors="surrogateescape",
            newline="",
        )

    def _lines(self) -> Iterator[str]:
        read = functools.partial(self._text.readline, LINE_CHARACTERS_MAX)
        for number, line in enumerate(iter(read, ""), start=1):
            if len(line) == LINE_CHARACTERS_MAX:
                longest = f"{LINE_CHARACTERS_MAX:,} characters"
                raise SourceError(self._path, f"the line is longer than {longest}", number)
            self._lines_read = number
            yield line.removeprefix("\ufeff") if number == 1 else line

    def _checked(self, line: int, cells: list[str], width: int) -> RawRow:
        if len(cells) != width:
            return RawRow(
                line,
                cells,
                "wrong number of columns",
                f"{len(cells)}, where the file has {width}",
            )
        if any(map(_undecoded, cells)):
            return RawRow(line, cells, f"bytes that are not {self._rule.encoding} text")
        return RawRow(line, cells)

    def _csv(self) -> tuple[tuple[str, ...], Iterator[RawRow]]:
        rule = self._rule
        lines = itertools.islice(self._lines(), rule.skip_lines, None)
        records = self._records(
            _without_last(lines, rule.skip_last_lines, self._last_lines)
            if rule.skip_last_lines
            else lines,
            rule.skip_lines + 1,
        )
        rows = iter(records)
        columns: tuple[str, ...] = rule.columns
        if not columns:
            header = next(rows, None)
            if header is None:
                raise SourceError(self._path, "the file is empty: not even a header line")
            if header.fault:
                raise SourceError(self._path, f"{header.fault}: {header.detail}", header.line)
            columns = tuple(cell.strip() for cell in header.cells)
        records.width = len(columns)
        return columns, rows

    def _records(self, lines: Iterable[str], line_first: int) -> CsvRecords:
        delimiter, quote = self._rule.csv_marks
        return CsvRecords(
            lines,
            delimiter=delimiter,
            quote=quote,
            line_first=line_first,
            multiline_rows=self._rule.multiline_rows,
        )

    def _below(self) -> Iterator[RawRow]:
        """Yield the lines below the rows, with a fault: they must not be rows."""
        first = self._lines_read - len(self._last_lines) + 1
        for row in self._records(self._last_lines, first):
            yield RawRow(row.line, [cell.strip() for cell in row.cells], BELOW)

    def _jsonl(self, columns_used: Iterable[str]) -> tuple[tuple[str, ...], Iterator[RawRow]]:
        objects = _json_objects(self._lines())
        peeked = list(itertools.islice(objects, ROWS_PEEKED))
        columns = dict.fromkeys(key for _, found, _ in peeked for key in found)
        if not columns:
            reason = peeked[0][2] if peeked else "the file is empty"
            raise SourceError(self._path, f"no JSON object found: {reason}")
        if len(peeked) == ROWS_PEEKED:  # later rows may have further keys
            self.columns_unseen = set(columns_used) - columns.keys()
            columns |= dict.fromkeys(columns_used)
        return tuple(columns), self._json_rows(itertools.chain(peeked, objects), tuple(columns))

    def _json_rows(
        self, objects: Iterable[_JsonObject], columns: tuple[str, ...]
    ) -> Iterator[RawRow]:
        for number, cells, fault in objects:
            if fault:
                yield RawRow(number, [], "not a JSON object", fault)
                continue
            if self.columns_unseen:
                self.columns_unseen -= cells.keys()
            yield RawRow(number, [cells.get(column, "") for column in columns])


def _without_last(lines: Iterator[str], count: int, held: deque[str]) -> Iterator[str]:
    for line in lines:
        held.append(line)
        if len(held) > count:
            yield held.popleft()


def _undecoded(cell: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in cell)


_JsonObject = tuple[int, dict[str, str], str]


def _json_objects(lines: Iterator[str]) -> Iterator[_JsonObject]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, _json_cells(line), ""
        except (ValueError, RecursionError) as error:
            yield number, {}, str(error)


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
