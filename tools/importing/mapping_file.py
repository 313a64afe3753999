"""Reads a mapping file. Every fault is found, with its line, before a single row is read."""

from __future__ import annotations

import datetime
import io
import re
import tomllib
import zoneinfo
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

from nostro.journal import AMOUNT_MAX, AccountFlags
from nostro.tools.amounts import SCALE_MAX
from nostro.tools.importing.errors import MappingError
from nostro.tools.importing.mapping import (
    AccountId,
    AccountRule,
    Character,
    Code,
    Counters,
    DateFormat,
    Encoding,
    Fault,
    LedgerNumber,
    Lines,
    Mapping,
    Mark,
    Name,
    Scale,
    Shape,
    Zone,
)
from nostro.tools.importing.toml_lines import Place, Problem, problems
from nostro.tools.nearest_name import nearest
from nostro.tools.regular_files import open_regular

INSTANT_FORMATS: Final = ("rfc3339", "unix_s", "unix_ms", "unix_ns")
_BYTES_MAX: Final = 1 << 20
_DEEP_KEY: Final = re.compile(
    r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}"""
)
"""A dotted key of more than 64 parts. The parser's memory grows with the square of their number."""
_NAMES_SHOWN: Final = 50
_NAME_SHOWN: Final = 60

_FlagName = Literal["history", "debits_must_not_exceed_credits", "credits_must_not_exceed_debits"]


def read_mapping(path: Path) -> Mapping:
    """Return the mapping in the file at ``path``.

    Raises:
        MappingError: unreadable, not TOML, or anything in it is unknown, missing or wrong.
    """
    text = _text_of(path)
    if _DEEP_KEY.search(text):
        raise MappingError((Problem(path, None, "a key in it has more than 64 parts"),))
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise MappingError((Problem(path, None, f"not a TOML file: {error}"),)) from None
    reader = _Reader()
    mapping: Mapping = reader.read(data, Mapping, ())
    if reader.faults:
        raise MappingError(tuple(problems(path, text, reader.faults)))
    return mapping


def check_columns(path: Path, mapping: Mapping, columns: Iterable[str]) -> None:
    """Check that every column the mapping uses is one of the file's ``columns``.

    Raises:
        MappingError: naming each unknown column, its line in the mapping and the nearest name.
    """
    known = list(columns)
    faults: list[Fault] = []
    for column, place in mapping.columns():
        if column not in known:
            faults.append((place, f"the file has no column {column!r}{nearest(column, known)}"))
        elif known.count(column) > 1:
            faults.append((place, f"the file has more than one column {column!r}"))
    if faults:
        named = [one if len(one) <= _NAME_SHOWN else f"{one[:_NAME_SHOWN]}..." for one in known]
        more = "" if len(named) <= _NAMES_SHOWN else f" and {len(named) - _NAMES_SHOWN:,} more"
        shown = ", ".join(named[:_NAMES_SHOWN])
        faults.append(((), f"the file's columns are {shown}{more}"))
        raise MappingError(tuple(problems(path, _text_of(path), faults)))


def _text_of(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise MappingError((Problem(path, None, "more than 1 MiB: this is not a mapping"),))
        return data.decode("utf-8-sig")
    except OSError as error:
        raise MappingError((Problem(path, None, str(error.strerror)),)) from None
    except UnicodeError as error:
        raise MappingError((Problem(path, None, f"not a TOML file: {error}"),)) from None


class _Reader:
    """Makes the classes of a mapping from TOML values, and gathers every fault.

    A value with a fault becomes None, and a table with faults keeps the values that are good:
    the checks between keys still run on those.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def read(self, value: Any, type_: Any, place: Place) -> Any:
        """Return ``value`` as a ``type_``."""
        type_ = _alternative(type_, value)
        origin, arguments = get_origin(type_) or type_, get_args(type_)
        try:
            if attrs.has(origin):
                return self._table(value, type_, place)
            if origin is dict:
                items = _dict(value).items()
                return {key: self.read(item, arguments[1], (*place, key)) for key, item in items}
            if origin in (tuple, frozenset):
                return origin(self._items(value, arguments[0], place))
            if type_ is AccountFlags:
                return _flags(self._items(value, _FlagName, place))
            return _choice(arguments, value) if origin is Literal else _SCALARS[type_](value)
        except ValueError as error:
            self.faults.append((place, f"{_name_of(place)} {error}"))
            return _blank(type_)

    def _items(self, value: Any, type_: Any, place: Place) -> list[Any]:
        """Return the good items of a list; a single value that is no table needs no brackets."""
        if attrs.has(type_) and not isinstance(value, list):
            raise ValueError(f"must be a list of tables, [[{_name_of(place)}]]")
        items = value if isinstance(value, list) else [value]
        read = [self.read(item, type_, (*place, str(at))) for at, item in enumerate(items)]
        return [item for item in read if item is not None]

    def _table(self, value: Any, type_: Any, place: Place) -> Any:
        known = _fields(type_)
        table = _dict(value)
        name = _name_of(place) or "the file"
        read: dict[str, Any] = {}
        for key in sorted(table.keys() - known.keys()):
            self.faults.append(
                ((*place, key), f"unknown key {key!r} in [{name}]{nearest(key, known)}")
            )
        for key, (field, field_type) in known.items():
            inner = (*place, key)
            if key in table:
                read[field.name] = self.read(table[key], field_type, inner)
            elif field.default is attrs.NOTHING:
                read[field.name] = _blank(field_type)
                is_table = not place and key != "namespace"
                self.faults.append(
                    (
                        inner,
                        f"the table [{key}] is missing"
                        if is_table
                        else f"{_name_of(inner)} is missing",
                    )
                )
        made = (get_origin(type_) or type_)(**read)
        for below, message in made.faults() if hasattr(made, "faults") else ():
            inner = (*place, *below)
            if not any(at[: len(inner)] == inner for at, _ in self.faults):
                self.faults.append((inner, message))
        return made


def _alternative(type_: Any, value: Any) -> Any:
    """Return which type of a union ``value`` is to be."""
    if get_origin(type_) not in (Union, UnionType):
        return type_
    if type_ == Counters | AccountRule:
        return AccountRule if isinstance(value, dict) and "column" in value else Counters
    plain, *by_column = (one for one in get_args(type_) if one is not NoneType)
    return by_column[0] if by_column and isinstance(value, dict) else plain


def _fields(type_: Any) -> dict[str, tuple[Any, Any]]:
    """Return the attributes of a class of the mapping and their types, by key."""
    cls = attrs.resolve_types(get_origin(type_) or type_)
    fields = {}
    for field in attrs.fields(cls):
        of_any_number = getattr(field.type, "__parameters__", ())
        resolved = field.type[get_args(type_)] if of_any_number else field.type
        fields[field.name.rstrip("_")] = (field, resolved)
    return fields


def _blank(type_: Any) -> Any:
    """Return what stands for a value that is missing or wrong."""
    type_ = _alternative(type_, None)
    origin = get_origin(type_) or type_
    if attrs.has(origin):
        return origin(**{f.name: _blank(t) for f, t in _fields(type_).values()})
    return origin() if origin in (dict, tuple, frozenset) else None


def _name_of(place: Place) -> str:
    return ".".join(part for part in place if not part.isdecimal())


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {_shown(value)}")  # noqa: TRY004 - as the others
    return value


def _flags(names: list[str]) -> AccountFlags:
    found = AccountFlags.NONE
    for name in names:
        found |= AccountFlags[name.upper()]
    if (found & ~AccountFlags.HISTORY).bit_count() > 1:
        raise ValueError("must hold one of the two limits at most")
    return found


def _choice(options: tuple[str, ...], value: Any) -> str:
    text = _text(value)
    if text not in options:
        hint = nearest(text, options)
        raise ValueError(f"must be one of {', '.join(options)}; not {text!r}{hint}")
    return text


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")  # noqa: TRY004
    return value


def _integer(minimum: int, maximum: int, value: Any) -> int:
    if type(value) is not int or not minimum <= value <= maximum:
        raise ValueError(f"must be an integer from {minimum} to {maximum}, not {_shown(value)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_shown(value)}")  # noqa: TRY004 - as the others
    return value


def _name(value: Any) -> str:
    if value == "":
        raise ValueError("must not be empty")
    return _text(value)


def _character(value: Any) -> str:
    text = _text(value)
    if len(text) != 1:
        raise ValueError(f"must be one character, not {text!r}")
    if text in "\r\n\0":  # they end a row, or nothing
        raise ValueError(f"must not be {text!r}")
    return text


def _mark(value: Any) -> str:
    return "" if value == "" else _character(value)


def _encoding(value: Any) -> str:
    text = _text(value)
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=text)  # as the file will be read
    except (LookupError, ValueError):
        raise ValueError(f"{text!r} is not known to Python") from None
    return text


def _date_format(value: Any) -> str:
    text = _text(value)
    if text not in INSTANT_FORMATS and not _reads_dates(text):
        raise ValueError(
            f"{text!r} is neither {', '.join(INSTANT_FORMATS)} nor a strptime pattern with year,"
            f" month and day{nearest(text, INSTANT_FORMATS)}"
        )
    directives = set(re.findall("%(.)", text))
    if ("I" in directives) != ("p" in directives):
        raise ValueError(f"{text!r} must have both %I and %p, or %H: 10 o'clock is twice a day")
    return text


def _zone(value: Any) -> str:
    text = _text(value)
    try:
        zoneinfo.ZoneInfo(text)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError(
            f"{text!r} is not a time zone that this machine knows; write one like"
            " 'America/New_York', or install the package tzdata"
        ) from None
    return text


def _shape(value: Any) -> str:
    text = _text(value)
    if text.count("#") != 1 or text == "#":
        raise ValueError(f"must be text around one # for the number, like '(#)'; not {text!r}")
    return text


def _reads_dates(pattern: str) -> bool:
    """Whether strptime knows the pattern, and it keeps year, month and day apart."""
    first = datetime.datetime(1993, 11, 22, tzinfo=datetime.UTC)
    try:
        read = datetime.datetime.strptime(first.strftime(pattern), pattern)  # noqa: DTZ007 - only its day is looked at
    except (ValueError, re.error):  # a directive that stands there twice
        return False
    return read.date() == first.date()


_SCALARS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: _text,
    bool: _boolean,
    Name: _name,
    Character: _character,
    Mark: _mark,
    Encoding: _encoding,
    DateFormat: _date_format,
    LedgerNumber: partial(_integer, 1, 2**32 - 1),
    Code: partial(_integer, 1, 2**16 - 1),
    Scale: partial(_integer, 0, SCALE_MAX),
    AccountId: partial(_integer, 1, AMOUNT_MAX - 1),
    Lines: partial(_integer, 0, 1_000),
    Zone: _zone,
    Shape: _shape,
}


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "so long a number"
