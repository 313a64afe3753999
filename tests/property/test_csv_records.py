"""Whatever quotes a file has: no line that looks like a row disappears inside a cell."""

from __future__ import annotations

import csv
import io

import hypothesis.strategies as st
from hypothesis import example, given

from nostro.tools.csv_records import LINES_MAX, CsvRecords, Record

WIDTH = 3


def records(text: str, *, multiline_rows: bool = False) -> list[Record]:
    lines = io.StringIO(text, newline="")
    found = CsvRecords(lines, delimiter=",", quote='"', multiline_rows=multiline_rows)
    found.width = WIDTH
    return list(found)


@given(st.text('a,"\n\r', max_size=60))
@example('1,"2,3\n4,5,6\n7,8",9\n')
@example('1,"2,3\n4,5,6\n')
@example('"1,2,3\n"4,5,6\n')
@example('1,2,"\n4,5,6"\n')
@example('1,2,3,"\n4,5,6"\n7,8,9\n')
def test_every_line_that_looks_like_a_row_is_a_record_of_its_own(text: str) -> None:
    """Read or refused, but always counted."""
    found = [record.line for record in records(text)]
    assert found == sorted(set(found))
    lines = io.StringIO(text, newline="")
    for number, line in enumerate(lines, start=1):
        if line.count(",") == WIDTH - 1:
            assert number in found


CELL = st.text('a ,"\n', max_size=6)


@given(st.lists(st.lists(CELL, min_size=WIDTH, max_size=WIDTH)))
def test_what_a_csv_writer_wrote_is_read_back(rows: list[list[str]]) -> None:
    """With cells of several lines allowed, nothing that is well-formed is refused."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    found = records(text.getvalue(), multiline_rows=True)
    assert [record.cells for record in found] == rows
    assert not any(record.fault for record in found)


def test_the_search_for_the_end_of_a_quote_has_an_end() -> None:
    """Every line of a large file may open a quote."""
    text = 'a,b,"\n' * (3 * LINES_MAX)
    found = records(text)
    assert len(found) == 3 * LINES_MAX
    assert all(record.fault for record in found)
