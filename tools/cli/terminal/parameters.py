"""Arguments and options that several commands share, and the values that they accept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import click

from nostro.tools.amounts import SCALE_MAX
from nostro.tools.ids import parse_id
from nostro.tools.times import parse_instant

POSITION_MAX: Final = 10**14
"""An integer up to this is a position; a larger one is nanoseconds since 1970.

A journal never has this many events, and as a time it is the second day of 1970.
"""

COUNT_MAX: Final = 2**63 - 1

Command = Callable[..., None]


@attrs.frozen
class Place:
    """A place in the journal: a position or a timestamp (ns), never both."""

    position: int | None = None
    timestamp: int | None = None


def account_id(text: str) -> int:
    """Parse a decimal or 0x hexadecimal id from 1 to 2**128 - 2."""
    try:
        return parse_id(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{error}; write it as a decimal or 0x hexadecimal number"
        ) from None


def first_instant(text: str, *, day_end: bool = False) -> int:
    """Parse RFC 3339, integer nanoseconds, or a bare date, which means its first nanosecond."""
    try:
        return parse_instant(text, day_end=day_end)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time: write 2024-05-01, 2024-05-01T12:00:00Z or nanoseconds"
        ) from None


def last_instant(text: str) -> int:
    """Parse a time as :func:`first_instant`, but a bare date means its last nanosecond."""
    return first_instant(text, day_end=True)


def first_place(text: str, *, day_end: bool = False) -> Place:
    """Parse a position (an integer up to :data:`POSITION_MAX`) or a :func:`first_instant`."""
    number = text.strip()
    if number.isascii() and number.isdecimal() and int(number[:20]) <= POSITION_MAX:
        return Place(position=int(number))
    return Place(timestamp=first_instant(number, day_end=day_end))


def last_place(text: str) -> Place:
    """Parse a position or a :func:`last_instant`."""
    return first_place(text, day_end=True)


directory = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
count = click.IntRange(1, COUNT_MAX)
as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
scale = click.option(
    "--scale",
    type=click.IntRange(0, SCALE_MAX),
    default=0,
    metavar="N",
    help="Show amounts with N decimals; 0 shows the stored integers.",
)
from_place = click.option(
    "--from",
    "start",
    type=first_place,
    metavar="POSITION|TIME",
    help="Begin here; a bare date means its start.",
)
to_place = click.option(
    "--to",
    "end",
    type=last_place,
    metavar="POSITION|TIME",
    help="End here, included; a bare date means its end.",
)
at = click.option(
    "--at",
    type=last_instant,
    metavar="TIME",
    help="As it was at this time; a bare date means the end of that day (UTC).",
)
