"""Tests keep to public names. Where one cannot, a comment beside the line says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parents[1]
REASON: Final = re.compile(r"# private: \w.{9,}")

PUBLIC_IN_PYTHON: Final = {"_replace", "_asdict", "_fields", "_make", "_fields_", "_exit"}
"""Names that Python documents although they begin with an underscore."""


def uses(source: str) -> list[tuple[int, str]]:
    """The line and the text of each private use in ``source`` that has no reason.

    A private use reads or sets a private name of another object, imports one, or replaces an
    attribute of something that belongs to nostro. The reason stands on the line, or above it.
    """
    tree, lines = ast.parse(source), source.splitlines()
    foreign = _foreign_modules(tree)
    found = {
        place
        for statement in ast.walk(tree)
        if isinstance(statement, ast.stmt)
        for node in _own_nodes(statement)
        if _is_private(node) or _replaces(node, foreign) or _sets_method(node, lines)
        for place in [getattr(node, "lineno", statement.lineno)]
        if not any(REASON.search(lines[line - 1]) for line in _beside(lines, statement, place))
    }
    return [(line, lines[line - 1].strip()) for line in sorted(found)]


def _beside(lines: list[str], statement: ast.stmt, place: int) -> Iterator[int]:
    """The lines on which a reason may stand: this one, the one above, that above the statement."""
    for line in {place, statement.lineno}:
        yield line
        if line > 1 and lines[line - 2].lstrip().startswith("#"):
            yield line - 1


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A statement's nodes without those of the statements inside it."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield from _own_nodes(child)


def _is_private(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="self" | "cls")):
            return False
        case ast.Attribute(attr=name):
            return _is_private_name(name)
        case ast.ImportFrom(names=names):
            return any(_is_private_name(alias.name) for alias in names)
        case _:
            return False


def _is_private_name(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_IN_PYTHON


def _replaces(node: ast.AST, foreign: set[str]) -> bool:
    """Whether ``node`` replaces, through pytest or mock, an attribute that is not a stranger's."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="setattr" | "patch")
            | ast.Attribute(value=ast.Attribute(attr="patch")),
            args=[target, *_],
        ):
            while isinstance(target, ast.Attribute):
                target = target.value
        case _:
            return False
    match target:
        case ast.Constant(value=str(path)):
            return path.startswith("nostro.")
        case ast.Name(id=name):
            return name not in foreign
        case _:
            return True


def _sets_method(node: ast.AST, lines: list[str]) -> bool:
    """Whether ``node`` assigns to a method: mypy asks for a comment that says so."""
    return isinstance(node, ast.Assign) and "[method-assign" in lines[node.lineno - 1]


def _foreign_modules(tree: ast.Module) -> set[str]:
    """The names under which ``tree`` imports modules of strangers."""
    return {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.partition(".")[0] not in ("nostro", "tests")
    }


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in TESTS.rglob("*.py")}), ids=lambda path: path.name
)
def test_every_private_use_has_a_reason(folder: Path) -> None:
    """A test that leaves the public names says beside the line why it must."""
    found = [
        f"{path.relative_to(TESTS)}:{line}: {text}"
        for path in sorted(folder.glob("*.py"))
        for line, text in uses(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join([*found, "use public names, or say why not: # private: <why>"])


@pytest.mark.parametrize(
    "source",
    [
        "ledger._state.dump()",
        "from nostro.journal.id import _generator",
        "clock = a.b[0]._clock",
        "merger._retry_at = 0.0",
        "if queue._is_led:\n    pass",
        "until(lambda: queue._waiting)",
        "monkeypatch.setattr(Ledger, 'lookup_accounts', held)",
        "monkeypatch.setattr('nostro.journal.Writer.append', fail)",
        "import nostro.journal\nmonkeypatch.setattr(nostro.journal, 'backup', watched)",
        "with mock.patch('nostro.journal.Writer'):\n    pass",
        "mock.patch.object(Ledger, 'close')",
        "pipeline.decide = counting  # type: ignore[method-assign]",
        "ledger._state  # private: why",
        "ledger._state  # it is what is compared",
        "one = 1  # private: a reason for another line\nledger._state",
    ],
)
def test_the_check_sees_every_private_use(source: str) -> None:
    """Without a reason beside it, or with one too short to be a reason, a use is found."""
    assert len(uses(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "ledger._state  # private: nothing outside shows it",
        "# private: nothing outside shows it\nledger._state",
        "# private: nothing outside shows it\ncall(\n    ledger._state,\n)",
        "call(\n    ledger._state,  # private: nothing outside shows it\n)",
        "self._state = 1",
        "ledger.__class__",
        "header._replace(position=1)",
        "import os\nmonkeypatch.setattr(os, 'fsync', fail)",
        "monkeypatch.setattr('time.sleep', sleep)",
    ],
)
def test_the_check_sees_nothing_else(source: str) -> None:
    """A reason counts on the line and above it; what belongs to others needs none."""
    assert uses(source) == []
