"""The tree shows the architecture: rooms on floors, and imports that only run downwards."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("journal", "projections", "tools")
NAMES_THAT_SAY_NOTHING: Final = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
MODULES_MAX: Final = 15

FLOORS: Final = (
    # what happened
    "journal",
    "journal.format",
    "journal.storage",
    "journal.reading",
    "journal.writing",
    "journal.upkeep",
    "journal.evidence",
    # what follows from it
    "projections.rules",
    "projections.state",
    "projections.indexes",
    "projections.deciding",
    "projections.checkpoints",
    "projections.pipeline",
    "projections.queries",
    "projections.domains",
    "projections.tigerbeetle",
    "projections.tigerbeetle.rows",
    "projections.tigerbeetle.session",
    "projections.tigerbeetle.mirror",
    "projections.tigerbeetle.ledger",
    "projections.tigerbeetle.reconcile",
    "projections.tigerbeetle.importing",
    "projections.ledger",
    "projections.dropin",
    "projections",
    # what people run
    "tools",
    "tools.exporting",
    "tools.importing",
    "tools.cluster",
    "tools.server",
    "tools.demo",
    "tools.bench",
    "tools.cli.terminal",
    "tools.cli.books",
    "tools.cli.evidence",
    "tools.cli.clusters",
    "tools.cli.import_export",
    "tools.cli.running",
    "tools.cli.upkeep",
    "tools.cli",
)
"""Every room. A module imports from its own room and from rooms above it in this list.

A face (an ``__init__.py`` that re-exports) stands on top of the rooms below its folder, so it may
import all of them; what imports the face of a top-level folder imports the whole folder.
"""

FACES: Final = {
    "journal": "journal.evidence",
    "projections": "projections",
    "tools.cli": "tools.cli",
}
"""The last room of the folder that a face re-exports."""


def modules() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def room_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the absolute name of each thing that ``source`` imports, in any form.

    A name that is imported from a package is yielded with it: it may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            case ast.ImportFrom():
                yield node.lineno, "a relative import"
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def room_imported(name: str) -> str | None:
    """The room that holds what is imported; the whole folder if it is the folder's face.

    None for what is not nostro's.
    """
    top, *parts = name.split(".")
    if top in FOLDERS or top == "tests" or name == "a relative import":
        return name  # no room has such a name
    if top != "nostro":
        return None
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        if place.with_suffix(".py").is_file():
            return ".".join(parts[: end - 1])
        if place.is_dir():
            folder = ".".join(parts[:end])
            return FACES.get(folder, folder)
    return "nostro"


def wrong_imports(source: str, room: str) -> list[tuple[int, str]]:
    """The imports of a module in ``room`` that do not run downwards, with their lines."""
    allowed = {*FLOORS[: FLOORS.index(room) + 1]}
    return sorted(
        (line, name)
        for line, name in imported(source)
        if (target := room_imported(name)) is not None and target not in allowed
    )


def is_face(path: Path) -> bool:
    return path.name in ("__init__.py", "__main__.py")


@pytest.mark.parametrize("room", FLOORS)
def test_imports_run_downwards(room: str) -> None:
    """A module imports only from its own room and those below; the first wrong one is named."""
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}: {room} stands below it"
        for path in modules()
        if room_of(path) == room and not is_face(path)
        for line, name in wrong_imports(path.read_text(encoding="utf-8"), room)
    ]
    assert not found, found[0]


def test_every_folder_is_a_room_that_says_what_belongs_there() -> None:
    """The list of rooms is complete, and each has an ``__init__.py`` with a sentence in it."""
    rooms = {room_of(path) for path in modules()}
    assert rooms == {*FLOORS}
    assert len(FLOORS) == len({*FLOORS})
    for room in rooms:
        face = ROOT.joinpath(*room.split("."), "__init__.py")
        assert ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))), face


@pytest.mark.parametrize("room", FLOORS)
def test_no_room_is_crowded(room: str) -> None:
    """One can look through a room at a glance."""
    count = sum(room_of(path) == room and not is_face(path) for path in modules())
    assert count <= MODULES_MAX


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Every module and folder is named after what it is about."""
    found = [
        path.relative_to(ROOT)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.stem in NAMES_THAT_SAY_NOTHING and (path.is_dir() or path.suffix == ".py")
    ]
    assert not found


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("journal", "import nostro.projections", [(1, "nostro.projections")]),
        ("journal", "import os\nimport nostro.tools.cli", [(2, "nostro.tools.cli")]),
        ("journal", "from nostro import Ledger", [(1, "nostro.Ledger")]),
        ("journal.format", "from nostro.journal import model", []),
        ("journal", "from nostro.journal import Writer", [(1, "nostro.journal.Writer")]),
        ("journal", "def f():\n    from nostro.tools import cli", [(2, "nostro.tools.cli")]),
        ("journal", "from . import model", [(1, "a relative import")]),
        ("journal", "import_module('nostro.tools.cli')", [(1, "nostro.tools.cli")]),
        ("journal", "__import__('nostro.tools')", [(1, "nostro.tools")]),
        ("journal.format", "from nostro.journal.model import Account", []),
        ("journal.format", "from nostro.journal.storage.files import Storage",
         [(1, "nostro.journal.storage.files.Storage")]),
        ("tools.cli.books", "from journal import Account", [(1, "journal.Account")]),
        ("tools.cli.books", "import tests.documents", [(1, "tests.documents")]),
        ("tools.cli.books", "from nostro.projections import Ledger\nimport numpy", []),
        ("tools.cli.books", "from nostro.tools.cli.running import demo",
         [(1, "nostro.tools.cli.running.demo")]),
    ],
)  # fmt: skip
def test_the_check_sees_every_way_to_import(
    room: str, source: str, expected: list[tuple[int, str]]
) -> None:
    """A wrong import is found in whatever form it is written, and nothing else is."""
    assert wrong_imports(source, room) == expected


def test_no_circle_hides_inside_a_room() -> None:
    """Modules of one room import each other in one direction, too."""
    names = {
        "nostro." + ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in modules()
        if not is_face(path)
    }
    needs = {
        name: {
            found
            for _, target in imported(path.read_text(encoding="utf-8"))
            for found in (target, target.rpartition(".")[0])
            if found in names and found != name
        }
        for name, path in names.items()
    }
    circle = _circle(needs)
    assert not circle, " -> ".join(circle)


def _circle(needs: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()
    for start, first in needs.items():
        path, stack = [start], [iter(sorted(first - done))]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                done.add(path.pop())
            elif step in path:
                return [*path[path.index(step) :], step]
            elif step not in done:
                path.append(step)
                stack.append(iter(sorted(needs[step])))
    return []


def test_a_circle_is_found() -> None:
    """The walk sees a circle wherever it begins, and none where there is none."""
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
