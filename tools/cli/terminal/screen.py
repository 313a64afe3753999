"""What goes to standard output: tables, lines and JSON, rich on a terminal and plain elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

import attrs
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_RICH_ROWS_MAX: Final = 1_000  # laying out more takes rich longer than anyone reads
_DECIMAL_ID_MAX: Final = 2**64


@attrs.frozen
class Column:
    """A table's column. ``right`` is for numbers; ``style`` is a rich style, on terminals only."""

    title: str
    right: bool = False
    style: str = ""


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def id_text(id: int) -> str:
    """Return an id as people read it: small ones in decimal, large ones in hexadecimal."""
    return str(id) if id < _DECIMAL_ID_MAX else f"0x{id:032x}"


def counted(number: int, noun: str) -> str:
    """Return ``1 segment`` or ``2,000 segments``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def line(text: str = "", *, style: str = "") -> None:
    """Write one line; ``style`` counts on a terminal only."""
    if style and is_terminal(sys.stdout):
        _console().print(Text(text, style=style), soft_wrap=True)
    else:
        click.echo(text)


def json_line(value: dict[str, Any]) -> None:
    """Write one JSON object on one line."""
    click.echo(json.dumps(value))


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Write a table: rich on a terminal, else aligned columns with a header line."""
    body = [list(row) for row in rows]
    if is_terminal(sys.stdout) and len(body) <= _RICH_ROWS_MAX:
        _rich_table(columns, body)
    else:
        _plain_table(columns, body)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Write names and values below each other."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    rich = is_terminal(sys.stdout)
    for name, value in shown:
        if rich:
            label = Text(name.ljust(width + 2), style="dim")
            _console().print(Text.assemble(label, value), soft_wrap=True)
        else:
            click.echo(f"{name.ljust(width + 2)}{value}")


def _rich_table(columns: Sequence[Column], rows: list[list[str]]) -> None:
    rich = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        rich.add_column(
            column.title,
            justify="right" if column.right else "left",
            style=column.style,
            overflow="fold",
            no_wrap=column.right,  # a number that is broken in two is read wrongly
        )
    for row in rows:
        rich.add_row(*(Text(cell) for cell in row))
    _console().print(rich)


def _plain_table(columns: Sequence[Column], rows: list[list[str]]) -> None:
    lines = [[column.title for column in columns], *rows]
    widths = [max(len(cells[index]) for cells in lines) for index in range(len(columns))]
    for cells in lines:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False)
