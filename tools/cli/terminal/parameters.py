"""What may stand on the command line: account ids, times, positions, and shared options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from nostro.tools.amounts import SCALE_MAX
from nostro.tools.ids import parse_id
from nostro.tools.times import parse_instant

POSITION_MAX: Final = 10**14
"""An integer up to here means a position, above it nanoseconds since 1970. No journal has so many
events, and no event is that old: it would be the second day of 1970."""


_Parameter = click.Parameter | None
_Context = click.Context | None


@attrs.frozen
class Place:
    """A place in the journal: a position or a timestamp (ns), never both."""

    position: int | None = None
    timestamp: int | None = None


if TYPE_CHECKING:  # generic for the type checker, not yet so in every click that is supported
    _IntType = click.ParamType[int]
    _PlaceType = click.ParamType[Place]
else:
    _IntType = _PlaceType = click.ParamType


class AccountId(_IntType):
    """A decimal or 0x hexadecimal id from 1 to 2**128 - 2."""

    name = "account"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_id(str(value))
        except ValueError as error:
            self.fail(f"{error}; write it as a decimal or 0x hexadecimal number", param, ctx)


class Instant(_IntType):
    """RFC 3339, a bare date, or integer nanoseconds; a bare date means its end or its start."""

    name = "time"

    def __init__(self, *, day_end: bool) -> None:
        self._day_end = day_end

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_instant(str(value), day_end=self._day_end)
        except ValueError:
            self.fail(
                f"{value!r} is not a time: write 2024-05-01, 2024-05-01T12:00:00Z or nanoseconds",
                param,
                ctx,
            )


class PlaceType(_PlaceType):
    """A position (an integer up to 10**14) or a time."""

    name = "position|time"

    def __init__(self, *, day_end: bool) -> None:
        self._instant = Instant(day_end=day_end)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        if isinstance(value, Place):
            return value
        text = str(value).strip()
        if text.isascii() and text.isdecimal() and int(text[:20]) <= POSITION_MAX:
            return Place(position=int(text))
        return Place(timestamp=self._instant.convert(text, param, ctx))


Command = Callable[..., None]
Decorator = Callable[[Command], Command]

directory = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
scale = click.option(
    "--scale",
    type=click.IntRange(0, SCALE_MAX),
    default=0,
    metavar="N",
    help="Show amounts with N decimals; without it, the integers as they are kept.",
)
from_place = click.option(
    "--from",
    "start",
    type=PlaceType(day_end=False),
    metavar="POSITION|TIME",
    help="Begin here; a bare date means its start.",
)
to_place = click.option(
    "--to",
    "end",
    type=PlaceType(day_end=True),
    metavar="POSITION|TIME",
    help="End here, included; a bare date means its end.",
)
at = click.option(
    "--at",
    type=Instant(day_end=True),
    metavar="TIME",
    help="As it was at this time; a bare date means the end of that day (UTC).",
)
