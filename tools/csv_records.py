"""CSV as records that know their lines, and that no stray quote makes swallow other rows.

A quote that opens a cell and does not close in its line may be text of the cell (an inch mark), and
then everything up to the next quote, or to the end of the file, becomes part of that one cell. So a
record of several lines is looked at again: if one of its further lines is a row by its shape, or
if the record does not end as CSV must, it is refused.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

LINES_MAX: Final = 1_000  # of one record: bounds the search for a quote's end

_NOT_CSV: Final = "not CSV as the mapping describes it"


class Record(NamedTuple):
    """The cells of one record and its first line; ``fault`` says why it is unusable."""

    line: int
    cells: list[str]
    fault: str = ""
    detail: str = ""


class _TooLong(Exception):
    pass


class CsvRecords:
    """Reads records one by one. ``width``, once set, is the number of cells that a row has."""

    def __init__(
        self,
        lines: Iterable[str],
        *,
        delimiter: str,
        quote: str,
        line_first: int = 1,
        multiline_rows: bool = False,
    ) -> None:
        """Take ``lines`` with their ends.

        Args:
            quote: the character around cells, or empty for none.
            line_first: the number of the first of the lines.
            multiline_rows: allow cells over several lines that look like rows.
        """
        self.width: int | None = None
        self._lines = iter(lines)
        self._delimiter = delimiter
        self._quote = quote
        self._line = line_first
        self._multiline_rows = multiline_rows
        self._again: deque[str] = deque()
        self._taken: list[str] = []

    def __iter__(self) -> Iterator[Record]:
        while True:
            taken = self._taken = []
            try:
                for cells in self._reader(self._feed()):
                    if len(taken) > 1:
                        yield from self._several_lines(cells)
                    elif cells:
                        yield Record(self._line, cells)
                    self._line += len(taken)
                    taken.clear()
            except _TooLong:
                yield self._open_end(f"more than {LINES_MAX:,} lines")
            except csv.Error as error:
                if len(taken) == 1:
                    yield Record(self._line, [_bare(taken[0])], _NOT_CSV, str(error))
                    self._line += 1
                else:
                    yield self._open_end(f"{len(taken) - 1:,} more lines")
            else:
                return

    def _reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(
            lines,
            delimiter=self._delimiter,
            quotechar=self._quote or None,
            quoting=csv.QUOTE_MINIMAL if self._quote else csv.QUOTE_NONE,
            strict=True,
        )

    def _feed(self) -> Iterator[str]:
        taken, again = self._taken, self._again
        while again:
            taken.append(again.popleft())
            yield taken[-1]
        for line in self._lines:
            taken.append(line)
            if len(taken) > LINES_MAX:
                raise _TooLong
            yield line

    def _open_end(self, covered: str) -> Record:
        """Refuse the first line only: the others are rows of their own."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        line = self._line
        self._line += 1
        return Record(
            line,
            [_bare(first)],
            "a quote opens in this line and does not close where a cell ends",
            f"it would swallow {covered}, up to line {line + len(others)}",
        )

    def _several_lines(self, cells: list[str]) -> Iterator[Record]:
        """Yield the record, or refuse every line of it."""
        first, last = self._line, self._line + len(self._taken) - 1
        width = self.width
        if width is None or (len(cells) == width and not self._swallows(width)):
            yield Record(first, cells)
            return
        fault = "a cell swallows lines that look like rows"
        if len(cells) != width:
            fault = "wrong number of columns in a row of several lines"
        yield Record(first, [_bare(self._taken[0])], fault, f"lines {first} to {last}")
        for number, text in enumerate(self._taken[1:], start=first + 1):
            detail = f"the quote opens in line {first}"
            yield Record(number, [_bare(text)], "inside a quoted cell of an earlier line", detail)

    def _swallows(self, width: int) -> bool:
        if self._multiline_rows or width == 1:
            return False
        return any(self._is_like_a_row(line, width) for line in self._taken[1:])

    def _is_like_a_row(self, line: str, width: int) -> bool:
        if line.count(self._delimiter) == width - 1:
            return True
        try:
            return any(len(cells) == width for cells in self._reader(iter([line])))
        except csv.Error:
            return False


def _bare(line: str) -> str:
    return line.rstrip("\r\n")
