"""Conversion between JSON and the ledger's objects. Anything unexpected is an error.

Answers show integers of more than 32 bits as decimal strings, because JavaScript would round them;
in a request, every integer may be a number or such a string. Answers show flags as lists of names;
requests may hold such a list or a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal import (
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLarge,
    InvalidField,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
    TransferFlags,
)
from nostro.journal.model import FIELD_BITS, MESSAGE_EVENTS_MAX
from nostro.tools.flag_names import flag_names
from nostro.tools.server.strict_json import dump
from nostro.tools.times import parse_instant

FLAGS: Final[dict[type, type[IntFlag]]] = {
    Account: AccountFlags,
    Transfer: TransferFlags,
    AccountFilter: AccountFilterFlags,
    QueryFilter: QueryFilterFlags,
}
_ENDS: Final[dict[type, dict[str, int]]] = {
    kind: {field.name: 1 << FIELD_BITS[field.name] for field in attrs.fields(kind)}
    for kind in FLAGS
}
"""The first integer that does not fit, for each field."""
_DIGITS: Final = re.compile(r"[0-9]{1,39}", re.ASCII)
_WRONG_TYPE: Final = "must be an integer, or a string of decimal digits"

T = TypeVar("T")
Results: TypeAlias = npt.NDArray[np.void]
"""``CREATE_RESULT[n]``."""


def is_wide(name: str) -> bool:
    """Whether answers show the field as a string."""
    return FIELD_BITS[name] > 32


_SHOWN: Final[dict[type, tuple[tuple[str, bool], ...]]] = {
    kind: tuple((field.name, is_wide(field.name)) for field in attrs.fields(kind))
    for kind in (Account, Transfer, AccountBalance)
}
"""The fields of each class in answers, and whether they are strings."""


def read_objects(kind: type[T], value: object) -> list[T]:
    """The accounts or transfers in a list.

    Raises:
        InvalidField, BatchTooLarge: it is not such a list, or is too long.
    """
    return [read_object(kind, item, row) for row, item in enumerate(_rows(kind.__name__, value))]


def read_object(kind: type[T], value: object, row: int | None = None) -> T:
    """The event or filter that a JSON object describes; fields left out have their defaults.

    Raises:
        InvalidField: it is not an object, or a field is unknown or does not fit; has ``row``.
    """
    if type(value) is not dict:
        raise InvalidField(kind.__name__, value, "must be an object", row)
    ends = _ENDS[kind]
    fields = {}
    for name, given in value.items():
        end = ends.get(name)
        if end is None:
            raise InvalidField(name, given, f"is not a field of {kind.__name__}", row)
        if name == "flags" and type(given) is list:
            fields[name] = _flags_of(FLAGS[kind], given, row)
        else:
            fields[name] = _integer(name, given, end, row)
    return _made(kind, fields, row)


def read_ids(value: object) -> list[int]:
    """The ids in a list.

    Raises:
        InvalidField, BatchTooLarge: it is not such a list, or is too long.
    """
    return [_integer("id", id_, 1 << 128, row) for row, id_ in enumerate(_rows("ids", value))]


def read_integer(name: str, text: str, *, bits: int) -> int:
    """The integer in a path or a query parameter.

    Raises:
        InvalidField: it is not 1 to 39 decimal digits, or does not fit.
    """
    return _integer(name, text, 1 << bits, None)


def read_query(kind: type[T], parameters: Mapping[str, str], **fields: int) -> T:
    """The filter in query parameters; ``fields`` holds the fields already known.

    Times may also be RFC 3339 or bare dates; flags may be names separated by commas.

    Raises:
        InvalidField: a parameter is unknown or does not fit.
    """
    ends = _ENDS[kind]
    for name, text in parameters.items():
        if name not in ends or name in fields:
            raise InvalidField(name, text, "is not a parameter of this request")
        if name == "flags" and not text.isdecimal():
            fields[name] = _flags_of(FLAGS[kind], text.split(","), None)
        elif name.startswith("timestamp"):
            fields[name] = read_time(name, text, day_end=name == "timestamp_max")
        else:
            fields[name] = _integer(name, text, ends[name], None)
    return _made(kind, fields, None)


def read_time(name: str, text: str, *, day_end: bool) -> int:
    """The nanoseconds of a time.

    Raises:
        InvalidField: it is not RFC 3339, a date or an integer.
    """
    try:
        return parse_instant(text, day_end=day_end)
    except ValueError:
        reason = "must be a time: 2024-05-01T12:00:00Z, 2024-05-01 or nanoseconds"
        raise InvalidField(name, text, reason) from None


def show(item: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the ledger's own classes
    """An account, a transfer or a balance as an object for JSON."""
    shown = {
        name: str(getattr(item, name)) if wide else getattr(item, name)
        for name, wide in _SHOWN[type(item)]
    }
    if "flags" in shown:
        shown["flags"] = flag_names(FLAGS[type(item)], int(item.flags))
    return shown


def show_results(
    statuses: type[IntEnum], results: Results, notes: Mapping[int, Mapping[str, object]]
) -> bytes:
    """The JSON of ``CREATE_RESULT[n]``; ``notes`` has more members for some, by index."""
    names = {status.value: status.name for status in statuses}
    shown = [
        f'{{"timestamp":"{timestamp}","status":"{names[status]}"}}'
        for timestamp, status, _ in results.tolist()
    ]
    for index, note in notes.items():
        shown[index] = f"{shown[index][:-1]},{dump(note).decode()[1:]}"
    return f"[{','.join(shown)}]".encode()


def _made(kind: type[T], fields: dict[str, Any], row: int | None) -> T:
    try:
        return kind(**fields)
    except TypeError:  # account_id is the only field without a default
        raise InvalidField("account_id", None, "is missing", row) from None


def _rows(name: str, value: object) -> list[object]:
    if type(value) is not list:
        raise InvalidField(name, value, "must be a list")
    if len(value) > MESSAGE_EVENTS_MAX:
        raise BatchTooLarge(len(value), MESSAGE_EVENTS_MAX)
    return value


def _integer(name: str, given: object, end: int, row: int | None) -> int:
    if type(given) is str and _DIGITS.fullmatch(given):
        given = int(given)
    if type(given) is not int:
        raise InvalidField(name, given, _WRONG_TYPE, row)
    if given < 0:
        raise InvalidField(name, given, "cannot be negative", row)
    if given >= end:
        raise InvalidField(name, given, f"does not fit in {end.bit_length() - 1} bits", row)
    return given


def _flags_of(kind: type[IntFlag], names: list[Any], row: int | None) -> int:
    flags = 0
    for name in names:
        known = type(name) is str and name == name.lower() and kind.__members__.get(name.upper())
        if not known:
            reason = f"must be a number or a list of {', '.join(flag_names(kind, -1))}"
            raise InvalidField("flags", names, reason, row)
        flags |= known
    return flags
