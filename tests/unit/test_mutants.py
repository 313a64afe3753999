"""The table of seeded bugs fits the source as it is; `make mutants` shows that each is caught."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.__main__ import BROKEN, FAILED
from tests.mutants.bugs import ROOT, Bug, bugs

BUGS: Final = bugs()
RELIABILITY: Final = ROOT / "docs" / "reliability.md"


@cache
def functions_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_applies_and_its_tests_are_there(bug: Bug) -> None:
    """Its lines stand in the source once, the change is a program, and tests have their names."""
    source = (ROOT / bug.file).read_text(encoding="utf-8")
    changed = bug.applied_to(source)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    assert len(bug.caught_by) >= 1
    for test in bug.caught_by:
        path, _, name = test.partition("::")
        assert name in functions_in(ROOT / path), test


def test_there_are_bugs_for_every_promise() -> None:
    """The document has a section for each promise, which names all bugs that break it."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 40
    _, *sections = re.split(r"^### ", RELIABILITY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    promised = {}
    for section in sections:
        _, _, names = section.partition("\nBugs: ")
        promised[int(section.partition(".")[0])] = re.findall(r"`(.*?)`", names.partition("##")[0])
    assert promised == {
        rule: [bug.name for bug in BUGS if bug.rule == rule] for rule in {bug.rule for bug in BUGS}
    }


def test_every_test_that_the_document_names_is_there() -> None:
    """Tests are named as file::test, or ::test where the file is that of the one before."""
    file, count = "", 0
    for named, name in re.findall(
        r"`((?:\w+/\w+\.py)?)::(test_\w+)`", RELIABILITY.read_text(encoding="utf-8")
    ):
        file, count = named or file, count + 1
        assert name in functions_in(ROOT / "tests" / file), f"{file}::{name}"
    assert count >= len(BUGS) // 2


@pytest.mark.parametrize("before", ["no such line\n", "one\n", "wo\n"])
def test_a_bug_that_does_not_apply_is_told(before: str) -> None:
    """Lines that are gone, stand there twice, or are only the end of a line, are no place."""
    bug = Bug("a", 1, "", "", before, "", [])
    with pytest.raises(ValueError, match="times"):
        bug.applied_to("one\ntwo\none\n")
    assert Bug("a", 1, "", "", "two\n", "2\n", []).applied_to("one\ntwo\none\n") == "one\n2\none\n"


def test_what_pytest_says_is_understood() -> None:
    """A failure is told from a test that did not get to run."""
    said = (
        "FAILED tests/unit/test_a.py::test_b[x - y[0]] - AssertionError: no - at all\n"
        "ERROR tests/unit/test_a.py::test_c - NameError: name 'x'\n"
        "FAILED tests/unit/test_a.py::test_d\n"
    )
    found = {match[1]: str(match[2]) for match in FAILED.finditer(said)}
    assert list(found) == [f"tests/unit/test_a.py::test_{name}" for name in "bcd"]
    assert [reason.startswith(BROKEN) for reason in found.values()] == [False, True, False]
