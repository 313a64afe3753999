"""Between JSON and the ledger's objects, strictly: what is not understood whole is refused.

Integers of more than 32 bits are decimal strings in every answer, since JavaScript would round
them; in a request every integer may be either. Flags are lists of names in answers, and such a list
or a number in requests.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from enum import IntFlag
from typing import Any, Final, NoReturn, TypeVar

import attrs

from nostro.journal import (
    ACCOUNT,
    TRANSFER,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    BatchTooLarge,
    CreateAccountResult,
    CreateTransferResult,
    InvalidField,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
    TransferFlags,
)
from nostro.tools.times import parse_instant

EVENTS_MAX: Final = 8_189
"""So many events, ids or results are in one request: what a message of TigerBeetle's holds."""

FLAGS: Final[dict[type, type[IntFlag]]] = {
    Account: AccountFlags,
    Transfer: TransferFlags,
    AccountFilter: AccountFilterFlags,
    QueryFilter: QueryFilterFlags,
}
BITS: Final[dict[str, int]] = {
    "account_id": 128, "timestamp_min": 64, "timestamp_max": 64, "limit": 32,
    **{name: 8 * dtype[name].itemsize for dtype in (ACCOUNT, TRANSFER)
       for name in dtype.names or () if name != "reserved"},
}  # fmt: skip
"""How wide each field is; those of one name are equally wide everywhere."""
_ENDS: Final[dict[type, dict[str, int]]] = {
    kind: {field.name: 1 << BITS[field.name] for field in attrs.fields(kind)} for kind in FLAGS
}
"""The first integer that does not fit, of each field."""
_DIGITS: Final = re.compile(r"[0-9]{1,39}", re.ASCII)
_WRONG_TYPE: Final = "must be an integer, or its decimal digits in a string"

T = TypeVar("T")


def is_wide(name: str) -> bool:
    """Whether answers show the field as a string."""
    return BITS[name] > 32


_SHOWN: Final[dict[type, tuple[tuple[str, bool], ...]]] = {
    kind: tuple((field.name, is_wide(field.name)) for field in attrs.fields(kind))
    for kind in (Account, Transfer, AccountBalance)
}
"""The fields of what is answered, and whether they are strings."""


class InvalidJson(ValueError):
    """A body that is no JSON, or more than JSON: duplicate keys, NaN."""


def parse(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The value that a body holds.

    Raises:
        InvalidJson: it holds none, or one that could be read in two ways.
    """
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise InvalidJson("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidJson("it is not UTF-8") from None
    except ValueError as error:  # also a number of more digits than Python reads
        raise InvalidJson(str(error)) from None


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def read_objects(kind: type[T], value: object) -> list[T]:
    """Accounts or transfers of a list.

    Raises:
        InvalidField, BatchTooLarge: it is no such list.
    """
    return [read_object(kind, item, row) for row, item in enumerate(_rows(kind.__name__, value))]


def read_object(kind: type[T], value: object, row: int | None = None) -> T:
    """What an object's members say; the others have their defaults.

    Raises:
        InvalidField: it is no object, or a member is unknown or does not fit; names ``row``.
    """
    if type(value) is not dict:
        raise InvalidField(kind.__name__, value, "must be an object", row)
    ends = _ENDS[kind]
    fields = {}
    for name, given in value.items():
        end = ends.get(name)
        if end is None:
            raise InvalidField(name, given, f"is no field of {kind.__name__}", row)
        if name == "flags" and type(given) is list:
            fields[name] = _flags_of(FLAGS[kind], given, row)
        else:
            fields[name] = _integer(name, given, end, row)
    return _made(kind, fields, row)


def read_ids(value: object) -> list[int]:
    """The ids of a list.

    Raises:
        InvalidField, BatchTooLarge: it is no such list.
    """
    return [_integer("id", id_, 1 << 128, row) for row, id_ in enumerate(_rows("ids", value))]


def read_integer(name: str, text: str, *, bits: int) -> int:
    """The number in a path or a parameter.

    Raises:
        InvalidField: it is not 1 to 39 decimal digits, or does not fit.
    """
    return _integer(name, text, 1 << bits, None)


def read_query(kind: type[T], parameters: Mapping[str, str], **fields: int) -> T:
    """A filter from query parameters; ``fields`` is what is known already.

    Times may be RFC 3339 or bare dates too, flags names parted by commas.

    Raises:
        InvalidField: a parameter is unknown or does not fit.
    """
    ends = _ENDS[kind]
    for name, text in parameters.items():
        if name not in ends or name in fields:
            raise InvalidField(name, text, "is no parameter here")
        if name == "flags" and not text.isdecimal():
            fields[name] = _flags_of(FLAGS[kind], text.split(","), None)
        elif name.startswith("timestamp"):
            fields[name] = read_time(name, text, day_end=name == "timestamp_max")
        else:
            fields[name] = _integer(name, text, ends[name], None)
    return _made(kind, fields, None)


def read_time(name: str, text: str, *, day_end: bool) -> int:
    """Nanoseconds.

    Raises:
        InvalidField: it is neither RFC 3339 nor a date nor an integer.
    """
    try:
        return parse_instant(text, day_end=day_end)
    except ValueError:
        reason = "is not a time: 2024-05-01T12:00:00Z, 2024-05-01 or nanoseconds"
        raise InvalidField(name, text, reason) from None


def show(item: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the ledger's own classes
    """An account, a transfer or a balance as JSON shows it."""
    shown = {
        name: str(getattr(item, name)) if wide else getattr(item, name)
        for name, wide in _SHOWN[type(item)]
    }
    if "flags" in shown:
        shown["flags"] = flag_names(FLAGS[type(item)], item.flags)
    return shown


def show_result(result: CreateAccountResult | CreateTransferResult) -> dict[str, str]:
    """What became of one event, as JSON shows it."""
    return {"timestamp": str(result.timestamp), "status": result.status.name}


def flag_names(kind: type[IntFlag], flags: int) -> list[str]:
    """The names of the flags that are set, in lower case."""
    return list(_flag_names(kind, int(flags)))


@functools.lru_cache(4_096)
def _flag_names(kind: type[IntFlag], flags: int) -> tuple[str, ...]:
    return tuple(flag.name.lower() for flag in kind if flag & flags and flag.name)


def _made(kind: type[T], fields: dict[str, Any], row: int | None) -> T:
    try:
        return kind(**fields)
    except TypeError:  # account_id is the only field without a default
        raise InvalidField("account_id", None, "is missing", row) from None


def _rows(name: str, value: object) -> list[object]:
    if type(value) is not list:
        raise InvalidField(name, value, "the body must be a list")
    if len(value) > EVENTS_MAX:
        raise BatchTooLarge(len(value), EVENTS_MAX)
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
            reason = f"is a number or a list of {', '.join(flag_names(kind, -1))}"
            raise InvalidField("flags", names, reason, row)
        flags |= known
    return flags


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidJson(f"the key {twice[:40]!r} is there twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is no number of JSON's")
