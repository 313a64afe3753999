"""The table of seeded bugs fits the source as it is; `make mutants` shows that each is caught."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.__main__ import BROKEN, FAILED
from tests.mutants.bugs import PACKAGE, ROOT, Bug, bugs
from tests.mutants.source import Definition, definitions, definitions_in

BUGS: Final = bugs()
RELIABILITY: Final = ROOT / "docs" / "reliability.md"


@cache
def package() -> list[Definition]:
    return definitions(ROOT / PACKAGE)


@cache
def functions_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_applies_and_its_tests_are_there(bug: Bug) -> None:
    """Its place and code are in the package, the change is a program, and its tests exist."""
    file, changed = bug.applied_to(package())
    source = file.read_text(encoding="utf-8")
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


EXAMPLE: Final = """\
LIMIT: Final = 2  # comment

class Queue:
    def take(self):
        if LIMIT:
            self.check(
                first,  # comment
                second,
            )
        return third


class Stack:
    def take(self):
        return first, first
"""
CALL: Final = EXAMPLE[EXAMPLE.index("self.check(") : EXAMPLE.index("        return third") - 1]


def in_example(where: str, replace: str, by: str) -> str:
    one = definitions_in(EXAMPLE, "nostro.room.one", Path("one.py"))
    other = definitions_in("def check():\n    pass\n", "nostro.room.other", Path("other.py"))
    again = definitions_in("def check():\n    pass\n", "nostro.room.again", Path("again.py"))
    bug = Bug("example", 1, "", where, replace, by, [])
    return bug.applied_to([*one, *other, *again])[1]


@pytest.mark.parametrize(
    ("where", "replace", "by", "before", "after"),
    [
        ("LIMIT", "= 2", "= 3", "Final = 2  # comment", "Final = 3  # comment"),
        ("Queue.take", "LIMIT", "False", "if LIMIT:", "if False:"),
        ("one.Queue.take", "return third", "pass", "return third\n\n", "pass\n\n"),
        ("Queue.take", "self.check(first, second)", "stop()", CALL, "stop()"),
        ("Queue.take", "first,second", "1", "first,  # comment\n                second", "1"),
        ("Queue.take", "return third", "a\nb", "return third\n\n", "a\n        b\n\n"),
        ("other.check", "pass", "", "def check():\n    pass\n", "def check():\n    \n"),
    ],
)
def test_code_is_found_whatever_its_layout(
    where: str, replace: str, by: str, before: str, after: str
) -> None:
    """Line breaks, comments and trailing commas do not count; new lines get the indentation."""
    source = EXAMPLE if where != "other.check" else "def check():\n    pass\n"
    assert source.count(before) == 1
    assert in_example(where, replace, by) == source.replace(before, after)


@pytest.mark.parametrize(
    ("where", "replace", "message"),
    [
        ("Queue.tale", "x", "no definition is called Queue.tale (did you mean Queue.take"),
        ("take", "x", "no definition is called take"),
        ("check", "pass", "2 definitions are called check; begin with the module's name: nostro"),
        ("Queue.take", "second, first", "the code to replace is not in nostro.room.one.Queue.take"),
        ("Queue.take", "fir", "the code to replace is not in"),
        ("Stack.take", "first", "is 2 times, not once in nostro.room.one.Stack.take, line 14"),
        ("Queue.take", "", "the code to replace is not in"),
        ("Queue.take", "check(", "this is not Python"),
    ],
)
def test_a_bug_that_does_not_apply_says_why(where: str, replace: str, message: str) -> None:
    """A place or code that is missing, or not unique, is an error that names the bug."""
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        in_example(where, replace, "")
    assert str(caught.value).startswith("bug 'example': ")


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
