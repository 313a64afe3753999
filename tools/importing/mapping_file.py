"""Reads a mapping file. Every fault is found, with its line, before a single row is read."""

from __future__ import annotations

import datetime
import io
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn, override

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
    Mapping,
    Mark,
    Name,
    NumberRule,
    Scale,
)
from nostro.tools.importing.toml_lines import Problem, problems
from nostro.tools.nearest_name import nearest

INSTANT_FORMATS: Final = ("rfc3339", "unix_s", "unix_ms", "unix_ns")

_BOUNDS: Final[dict[Any, tuple[int, int]]] = {
    LedgerNumber: (1, 2**32 - 1),
    Code: (1, 2**16 - 1),
    Scale: (0, SCALE_MAX),
    AccountId: (1, AMOUNT_MAX - 1),
}
_FlagName = Literal["history", "debits_must_not_exceed_credits", "credits_must_not_exceed_debits"]
_Hook = Callable[[Any, Any], Any]
"""Takes a value of the file and the type that the mapping has there."""
_origin: Final[Callable[[Any], Any]] = get_origin


def read_mapping(path: Path) -> Mapping:
    """Return the mapping in the file at ``path``.

    Raises:
        MappingError: unreadable, not TOML, or anything in it is unknown, missing or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise MappingError((Problem(path, None, str(error.strerror)),)) from None
    except (ValueError, RecursionError) as error:
        raise MappingError((Problem(path, None, f"not a TOML file: {error}"),)) from None
    try:
        return _converter().structure(data, Mapping)
    except (cattrs.BaseValidationError, _TableError) as error:
        raise MappingError(tuple(problems(path, text, _faults(error, ())))) from None


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
        faults.append(((), f"the file's columns are {', '.join(known)}"))
        raise MappingError(tuple(problems(path, path.read_text(encoding="utf-8"), faults)))


class _TableError(ValueError):
    """Keys of a table do not fit each other."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def _faults(error: BaseException, place: tuple[str, ...]) -> Iterator[Fault]:
    """Yield what is wrong at ``place`` and below it."""
    name = ".".join(part for part in place if not part.isdecimal())
    match error:
        case cattrs.ClassValidationError() | cattrs.IterableValidationError():
            noted, others = error.group_exceptions()
            for cause, note in noted:
                if isinstance(note, cattrs.AttributeValidationNote):
                    yield from _faults(cause, (*place, note.name.rstrip("_")))
                else:
                    yield from _faults(cause, (*place, str(note.index)))
            for cause in others:
                yield from _faults(cause, place)
        case cattrs.ForbiddenExtraKeysError():
            known = [
                field.name.rstrip("_") for field in attrs.fields(_origin(error.cl) or error.cl)
            ]
            for key in sorted(error.extra_fields):
                table = name or "the file"
                yield (*place, key), f"unknown key {key!r} in [{table}]{nearest(key, known)}"
        case _TableError():
            yield from (((*place, *below), message) for below, message in error.faults)
        case KeyError():
            is_table = len(place) == 1 and name != "namespace"
            yield place, f"the table [{name}] is missing" if is_table else f"{name} is missing"
        case _:
            yield place, f"{name} {error}"


def _converter() -> cattrs.Converter:
    """Return what makes the classes of a mapping from the values of a TOML file."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _boolean)
    for type_, bounds in _BOUNDS.items():
        converter.register_structure_hook(type_, _integer(*bounds))
    for type_, check in _TEXTS.items():
        converter.register_structure_hook(type_, _checked(check))
    converter.register_structure_hook_func(lambda t: _origin(t) is Literal, _choice)

    def several(value: Any, type_: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        item_type: Any = get_args(type_)[0]
        return _origin(type_)(converter.structure(items, list[item_type]))

    def number(value: Any, type_: Any) -> Any:
        plain, by_column = get_args(type_)
        return converter.structure(value, by_column if isinstance(value, dict) else plain)

    def counter(value: Any, _: Any) -> Counters | AccountRule:
        if isinstance(value, dict) and "column" in value:
            return converter.structure(value, AccountRule)
        return converter.structure(value, Counters)

    def flags(value: Any, _: Any) -> AccountFlags:
        names = converter.structure(value, tuple[_FlagName, ...])
        found = AccountFlags.NONE
        for name in names:
            found |= AccountFlags[name.upper()]
        if (found & ~AccountFlags.HISTORY).bit_count() > 1:
            raise ValueError("must hold one of the two limits at most")
        return found

    converter.register_structure_hook_func(lambda t: _origin(t) in (tuple, frozenset), several)
    for type_ in (LedgerNumber, Code):
        union = type_ | NumberRule[type_]  # type: ignore[valid-type]
        converter.register_structure_hook(union, number)
    converter.register_structure_hook(Counters | AccountRule, counter)
    converter.register_structure_hook(AccountFlags, flags)
    converter.register_structure_hook_factory(
        lambda t: attrs.has(t) or _origin(t) is dict, lambda t: _table(t, converter)
    )
    return converter


def _table(cls: Any, converter: cattrs.Converter) -> _Hook:
    if attrs.has(cls):
        names = (field.name for field in attrs.fields(_origin(cls) or cls))
        renamed: dict[str, Any] = {
            name: override(rename=name[:-1]) for name in names if name.endswith("_")
        }
        read: _Hook = make_dict_structure_fn(
            cls, converter, _cattrs_forbid_extra_keys=True, **renamed
        )
    else:
        read = make_mapping_structure_fn(cls, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table, not {_shown(value)}")  # noqa: TRY004 - as others
        table = read(value, cls)
        faults = list(table.faults()) if hasattr(table, "faults") else []
        if faults:
            raise _TableError(faults)
        return table

    return structure


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_shown(value)}")  # noqa: TRY004 - as the others
    return value


def _boolean(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")  # noqa: TRY004
    return value


def _integer(minimum: int, maximum: int) -> _Hook:
    def read(value: Any, _: Any) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise ValueError(f"must be an integer from {minimum} to {maximum}, not {_shown(value)}")
        return value

    return read


def _choice(value: Any, type_: Any) -> str:
    options = get_args(type_)
    text = _text(value, type_)
    if text not in options:
        hint = nearest(text, options)
        raise ValueError(f"must be one of {', '.join(options)}; not {text!r}{hint}")
    return text


def _checked(check: Callable[[str], str]) -> _Hook:
    """Return what reads text in which ``check`` finds nothing wrong."""

    def read(value: Any, type_: Any) -> str:
        text = _text(value, type_)
        fault = check(text)
        if fault:
            raise ValueError(fault)
        return text

    return read


def _name_fault(text: str) -> str:
    return "" if text else "must not be empty"


def _character_fault(text: str) -> str:
    if len(text) != 1:
        return f"must be one character, not {text!r}"
    return f"must not be {text!r}" if text in "\r\n\0" else ""  # they end a row, or nothing


def _mark_fault(text: str) -> str:
    return _character_fault(text) if text else ""


def _encoding_fault(text: str) -> str:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=text)  # as the file will be read
    except (LookupError, ValueError):
        return f"{text!r} is not known to Python"
    return ""


def _date_format_fault(text: str) -> str:
    if text in INSTANT_FORMATS or _reads_dates(text):
        return ""
    return (
        f"{text!r} is neither {', '.join(INSTANT_FORMATS)} nor a strptime pattern with year, month"
        f" and day{nearest(text, INSTANT_FORMATS)}"
    )


def _reads_dates(pattern: str) -> bool:
    """Whether strptime knows the pattern, and it keeps year, month and day apart."""
    first = datetime.datetime(1993, 11, 22, tzinfo=datetime.UTC)
    try:
        read = datetime.datetime.strptime(first.strftime(pattern), pattern)  # noqa: DTZ007 - only its day is looked at
    except (ValueError, re.error):  # a directive that stands there twice
        return False
    return read.date() == first.date()


_TEXTS: Final[dict[Any, Callable[[str], str]]] = {
    Name: _name_fault,
    Character: _character_fault,
    Mark: _mark_fault,
    Encoding: _encoding_fault,
    DateFormat: _date_format_fault,
}


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "so long a number"
