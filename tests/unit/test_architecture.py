"""The tree is the architecture: ``journal <- projections <- tools``, with no back edges."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

MUST_NOT_IMPORT: Final = {
    "journal": {"projections", "tools", "tests"},
    "projections": {"tools", "tests"},
    "tools": {"tests"},
}
NAMES_THAT_SAY_NOTHING: Final = {"utils", "util", "helpers", "helper", "common", "base", "misc"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_modules(source: str, *, package: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the absolute name of every module that ``source`` imports.

    ``package`` is the dotted package that holds the source: relative imports start from it.
    ``importlib.import_module`` and ``__import__`` count when they are given a literal name.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                yield from ((node.lineno, name) for name in _imported_from(node, package))
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def back_edges(source: str, *, package: str) -> list[tuple[int, str]]:
    """The imports of ``source``, with their lines, that its top-level package must not make."""
    forbidden = MUST_NOT_IMPORT[package.partition(".")[0]]
    return sorted(
        (line, name)
        for line, name in imported_modules(source, package=package)
        if name.partition(".")[0] in forbidden
    )


def _imported_from(node: ast.ImportFrom, package: str) -> list[str]:
    if node.level == 0:
        return [node.module or ""]
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] + ([node.module] if node.module else [])
    # From above every package, what is imported is a package itself: `from .. import tools`.
    return [".".join(above)] if above else [alias.name for alias in node.names]


@pytest.mark.parametrize("package", MUST_NOT_IMPORT)
def test_no_module_imports_against_the_arrows(package: str) -> None:
    """No module imports a package that stands on its own one."""
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in back_edges(
            path.read_text(encoding="utf-8"),
            package=".".join(path.relative_to(ROOT).parent.parts),
        )
    ]
    assert not found


@pytest.mark.parametrize("package", MUST_NOT_IMPORT)
def test_every_package_has_modules_and_says_that_it_is_typed(package: str) -> None:
    """The other tests here look at something, and type checkers read our annotations."""
    assert modules(package)
    assert (ROOT / package / "py.typed").is_file()


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Every module and package is named after what it is about."""
    found = [
        path.relative_to(ROOT)
        for package in MUST_NOT_IMPORT
        for path in (ROOT / package).rglob("*")
        if path.stem in NAMES_THAT_SAY_NOTHING and (path.is_dir() or path.suffix == ".py")
    ]
    assert not found


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("journal", "import projections", [(1, "projections")]),
        ("journal", "import os\nimport tools.cli as cli", [(2, "tools.cli")]),
        ("journal", "from projections.ledger import Ledger", [(1, "projections.ledger")]),
        ("journal", "from .. import projections", [(1, "projections")]),
        ("journal", "def f():\n    from tools import cli", [(2, "tools")]),
        ("journal", "if TYPE_CHECKING:\n    import projections", [(2, "projections")]),
        ("journal", "importlib.import_module('tools.cli')", [(1, "tools.cli")]),
        ("journal", "__import__('projections')", [(1, "projections")]),
        ("journal", "import journal.frame, projectionsx", []),
        ("journal", "from . import frame\nfrom .frame import Frame", []),
        ("projections", "import journal\nimport tools", [(2, "tools")]),
        ("projections.tigerbeetle", "from ... import tools", [(1, "tools")]),
        ("projections.tigerbeetle", "from .. import tools", []),  # This is projections.tools.
        ("tools.cli", "import journal, projections, tools.bench", []),
        ("tools.cli", "from tests import conftest", [(1, "tests")]),
    ],
)
def test_the_check_sees_every_way_to_import(
    package: str, source: str, expected: list[tuple[int, str]]
) -> None:
    """A back edge is found in whatever form it is written, and nothing else is."""
    assert back_edges(source, package=package) == expected
