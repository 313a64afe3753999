"""What the proofs say of themselves, and how it gets into the document."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.documents import ROOT
from tests.figures import PAGE, Row, rows_of, with_rows

TABLE = """\
# Page

| proof | what was run | result | date | machine | seeds |
| --- | --- | --- | --- | --- | --- |
| cuts | 1 cut | well, in 1 s | 2026-01-01 | this | 1 |
| kills | 1 kill | well, in 1 s | 2026-01-01 | this | 1 |

After it.
"""


def report(nodeid: str, *figures: list[object], when: str = "call") -> SimpleNamespace:
    named = [("figure", figure) for figure in figures]
    return SimpleNamespace(
        nodeid=nodeid, when=when, duration=2.0, user_properties=[("other", 1), *named]
    )


def test_cases_of_a_proof_make_one_row() -> None:
    cases = [report(f"a[{n}]", ["cuts", "well", 7, {"cuts": n, "big_states": 1}]) for n in (1, 2)]
    assert rows_of(cases, []) == [Row("cuts", "well", 7, {"cuts": 3, "big_states": 2}, 4.0)]


def test_nothing_is_said_of_a_proof_of_which_a_case_failed() -> None:
    passed = [report("a[1]", ["cuts", "well", 7, {}]), report("b", ["kills", "well", 7, {}])]
    assert [row.proof for row in rows_of(passed, [report("a[2]")])] == ["kills"]


def test_setting_up_is_not_counted() -> None:
    assert not rows_of([report("a", ["cuts", "well", 7, {}], when="setup")], [])


def test_a_row_takes_the_place_of_the_one_before_it() -> None:
    line = Row("kills", "well", None, {"kills": 10_000}, 61.2).line("2026-02-02", "that")
    assert line == "| kills | 10,000 kills | well, in 61 s | 2026-02-02 | that | none |\n"
    old = "| kills | 1 kill | well, in 1 s | 2026-01-01 | this | 1 |\n"
    assert with_rows(TABLE, {"kills": line}) == TABLE.replace(old, line)


def test_a_new_row_comes_last() -> None:
    line = "| tears | x |\n"
    assert with_rows(TABLE, {"tears": line}) == TABLE.replace("\n\nAfter", f"\n{line}\nAfter")


def test_a_page_without_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no table"):
        with_rows("# Page\n", {})


def test_the_document_has_the_table() -> None:
    assert "| new |" in with_rows(PAGE.read_text(encoding="utf-8"), {"new": "| new |\n"})


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["in one process", "in others"])
def test_figures_are_told_in_the_end(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """By pytest itself; a failed case is not."""
    (tmp_path / "conftest.py").write_text(
        "from tests.figures import figure, pytest_terminal_summary\n"
    )
    (tmp_path / "test_it.py").write_text(
        "def test_one(figure):\n"
        "    figure('cuts', 'well', seed=1, cuts=12_345)\n"
        "def test_two(figure):\n"
        "    figure('kills', 'well', seed=1, kills=1)\n"
        "    assert 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}",
         *workers, "."],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "cuts: 12,345 cuts: well, in 0 s" in done.stdout
    assert "kills:" not in done.stdout
