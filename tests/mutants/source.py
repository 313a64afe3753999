"""Definitions of a package by name, and the replacement of code inside one of them.

Code is compared token by token: line breaks, indentation, comments and trailing commas do not
count. A bug therefore survives a formatter, and a move of its function to another file.
"""

from __future__ import annotations

import ast
import io
import os
import textwrap
import tokenize
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import attrs

LAYOUT: Final = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)
"""The kinds of tokens that do not count."""


@attrs.frozen
class Definition:
    """A function, a method, a class, or a constant of a module or class."""

    module: str
    """`nostro.journal.format.frame`"""
    name: str
    """Its name inside the module: `decode_frame`, `Writer.append`."""
    file: Path
    source: str = attrs.field(repr=False)
    """Of the whole file."""
    line_first: int
    line_last: int

    def __str__(self) -> str:
        return f"{self.module}.{self.name}, line {self.line_first}"


def definitions(folder: Path) -> list[Definition]:
    """All definitions in a package's folder; folders that it links to are part of it."""
    found: list[Definition] = []
    for place, _, names in os.walk(folder, followlinks=True):
        for name in sorted(names):
            if name.endswith(".py"):
                file = Path(place) / name
                parts = file.relative_to(folder.parent).with_suffix("").parts
                module = ".".join(part for part in parts if part != "__init__")
                found += definitions_in(file.read_text(encoding="utf-8"), module, file)
    return found


def definitions_in(source: str, module: str, file: Path) -> Iterator[Definition]:
    """The definitions of one module. A function inside a function belongs to the outer one."""
    for name, node in _named(ast.parse(source), ""):
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        yield Definition(module, name, file, source, first, node.end_lineno or first)


def find(package: list[Definition], name: str) -> Definition:
    """The one definition of that name. The name may begin with the module's: `frame.decode`.

    Raises:
        ValueError: no definition has the name, or several have.
    """
    found = [
        one
        for one in package
        if name.endswith(one.name) and f".{one.module}.{one.name}".endswith(f".{name}")
    ]
    if not found:
        close = get_close_matches(name, {one.name for one in package})
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ValueError(f"no definition is called {name}{hint}")
    if len(found) > 1:
        places = "; ".join(map(str, found))
        raise ValueError(
            f"{len(found)} definitions are called {name}; begin with the module's name: {places}"
        )
    return found[0]


def replace_fragment(definition: Definition, fragment: str, by: str) -> str:
    """The source of the definition's file, with other code in the fragment's place.

    Raises:
        ValueError: the definition does not hold the fragment exactly once.
    """
    lines = definition.source.split("\n")
    above = lines[: definition.line_first - 1]
    own = lines[definition.line_first - 1 : definition.line_last]
    below = lines[definition.line_last :]
    tokens = _tokens("\n".join(own))
    texts = [token.string for token in tokens]
    wanted = [token.string for token in _tokens(textwrap.dedent(fragment))]
    starts = [at for at in range(len(texts)) if texts[at : at + len(wanted)] == wanted]
    if not wanted or len(starts) != 1:
        count = f"{len(starts)} times, not once" if wanted and starts else "not"
        raise ValueError(f"the code to replace is {count} in {definition}: {fragment.strip()}")
    first, last = tokens[starts[0]], tokens[starts[0] + len(wanted) - 1]
    before, after = own[first.start[0] - 1], own[last.end[0] - 1]
    indentation = before[: len(before) - len(before.lstrip())]
    new = textwrap.dedent(by).strip("\n").replace("\n", "\n" + indentation)
    own[first.start[0] - 1 : last.end[0]] = [before[: first.start[1]] + new + after[last.end[1] :]]
    return "\n".join([*above, *own, *below])


def _named(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield prefix + child.name, child
            yield from _named(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, child
        elif isinstance(child, ast.stmt):  # such as `if TYPE_CHECKING:`
            yield from _named(child, prefix)


def _tokens(code: str) -> list[tokenize.TokenInfo]:
    """The tokens that count."""
    read = tokenize.generate_tokens(io.StringIO(code).readline)
    try:
        tokens = [token for token in read if token.type not in LAYOUT]
    except (tokenize.TokenError, SyntaxError) as error:
        raise ValueError(f"this is not Python ({error}): {code.strip()}") from None
    return [
        token
        for at, token in enumerate(tokens)
        if token.string != "," or at + 1 == len(tokens) or tokens[at + 1].string not in ")]}"
    ]
