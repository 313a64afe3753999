"""Objects of domains as plain values, and as canonical CBOR.

Events, commands, answers and entities are frozen attrs classes. A field is an int of 128 bits, str,
bytes, bool, None, an Enum, another such class, ``T | None``, ``tuple[T, ...]`` or
``Mapping[str, T]``. A plain value holds what :mod:`nostro.journal.format.codec` reads: an int
beyond 64 bits is a byte string, an object a map of its fields.

Both directions are strict: a value of another type than its field's is refused, never converted.
So what is written can be read, and equals what was written.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, cast

import attrs
import cattrs
import cbor2
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn_from_attrs

from nostro.journal.errors import BadDomain, DecodeError, InvalidField
from nostro.journal.format.codec import DEPTH_MAX

VALUE_BYTES_MAX: Final = 64 * 1024
"""Of one event, command, answer or entity, encoded."""
VALUE_ITEMS_MAX: Final = 8_192
"""Each list, map, key and value is one item."""
VALUE_DEPTH_MAX: Final = DEPTH_MAX - 3
"""How deep a value nests: a payload holds it in a map in a list in a map."""
INTEGER_MIN: Final = -(2**127)
INTEGER_MAX: Final = 2**128 - 1

T = TypeVar("T")
Hook = Callable[..., Any]

_WIDE_BYTES: Final = 17
_SCALARS: Final = (int, str, bytes, bool)


def to_plain(value: object) -> Any:
    """``value``, an object of an attrs class, as maps, lists and scalars.

    Raises:
        InvalidField: a value of another type than its field's, or beyond a limit.
        BadDomain: the class has a field that cannot be stored.
    """
    return _checked(value)[0]


def from_plain(cls: type[T], plain: object) -> T:
    """The object that :func:`to_plain` made ``plain`` of.

    Raises:
        DecodeError: it was made of something else.
    """
    check_class(cls)
    try:
        return _converter.structure(plain, cls)
    except InvalidField as bad:
        raise DecodeError(f"not a {cls.__name__}: {bad}") from None
    except Exception as bad:
        # cattrs, and what a class checks itself, raise anything.
        raise DecodeError(f"not a {cls.__name__}: {bad!r}") from bad


def encode(value: object) -> bytes:
    """The canonical CBOR of ``value``; :func:`decode` gives an equal object back.

    Raises:
        InvalidField, BadDomain: as :func:`to_plain`.
    """
    return _checked(value)[1]


def decode(cls: type[T], data: bytes) -> T:
    """The object that :func:`encode` made ``data`` of.

    Raises:
        DecodeError: these bytes were made of something else.
    """
    try:
        plain = cbor2.loads(data, max_depth=DEPTH_MAX)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DecodeError(f"not CBOR: {error}") from None
    return from_plain(cls, plain)


def normal(value: T) -> T:
    """``value`` as it is read back: a mapping has its keys in their stored order.

    A fold that goes through a mapping must see one order, live and in a replay.
    """
    if not _has_mapping(cast("Any", type(value))):
        return value
    return from_plain(type(value), to_plain(value))


def check_class(cls: type) -> None:
    """Refuse a class whose objects cannot be stored.

    Raises:
        BadDomain: it is not a frozen attrs class, or a field has a type that cannot be stored.
    """
    if cls not in _sound:
        _check_fields(cls, ())
        _sound.add(cls)


_sound: Final[set[type]] = set()


def _checked(value: object) -> tuple[Any, bytes]:
    cls = type(value)
    check_class(cls)
    plain = _converter.unstructure(value)
    # Its maps have their keys in canonical order already.
    data = cbor2.dumps(plain)
    if len(data) > VALUE_BYTES_MAX:
        raise InvalidField(
            cls.__name__, f"{len(data):,} bytes", f"is too large: the limit is {VALUE_BYTES_MAX:,}"
        )
    depth, items = _extent(plain) if len(data) > VALUE_DEPTH_MAX else (0, 0)
    if depth > VALUE_DEPTH_MAX:
        raise InvalidField(
            cls.__name__, f"{depth} levels", f"nests too deep: the limit is {VALUE_DEPTH_MAX}"
        )
    if items > VALUE_ITEMS_MAX:
        raise InvalidField(
            cls.__name__, f"{items:,} items", f"has too many: the limit is {VALUE_ITEMS_MAX:,}"
        )
    return plain, data


def _extent(plain: Any) -> tuple[int, int]:
    """How deep a plain value nests, and how many items it has."""
    inner: Iterable[Any]
    if isinstance(plain, dict):
        inner, items = plain.values(), 1 + len(plain)
    elif isinstance(plain, list):
        inner, items = plain, 1
    else:
        return 0, 1
    depth = 0
    for value in inner:
        if isinstance(value, (dict, list)):
            below, count = _extent(value)
            depth, items = max(depth, below), items + count
        else:
            items += 1
    return depth + 1, items


# --- which classes can be stored ---


def _check_fields(cls: Any, above: tuple[type, ...]) -> None:
    if not isinstance(cls, type) or not attrs.has(cls):
        raise BadDomain(f"{_name(cls)} is not an attrs class; decorate it with @attrs.frozen")
    if cls.__setattr__ is object.__setattr__ or not _is_frozen(cls):
        raise BadDomain(f"{cls.__name__} can be changed; decorate it with @attrs.frozen")
    if cls in above:
        raise BadDomain(f"{cls.__name__} contains itself")
    try:
        attrs.resolve_types(cls)
    except NameError as error:
        raise BadDomain(f"{cls.__name__}: a field's type cannot be found: {error}") from None
    for field in attrs.fields(cls):
        if not field.init:
            raise BadDomain(f"{cls.__name__}.{field.name} is not an argument (init=False)")
        _check_type(field.type, f"{cls.__name__}.{field.name}", (*above, cls))


def _is_frozen(cls: type) -> bool:
    return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"


def _check_type(kind: Any, where: str, above: tuple[type, ...]) -> None:
    if kind in _SCALARS or kind is type(None):
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if (
        origin in (typing.Union, types.UnionType)
        and len(arguments) == 2
        and (type(None) in arguments)
    ):
        inner = [one for one in arguments if one is not type(None)]
    elif origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        inner = [arguments[0]]
    elif _is_mapping(kind) and arguments[0] is str:
        inner = [arguments[1]]
    elif isinstance(kind, type) and issubclass(kind, Enum):
        if not all(type(member.value) in (str, int) for member in kind):
            raise BadDomain(f"{where}: the values of {kind.__name__} must be text or integers")
        # By class: cattrs takes the hook of int for an IntEnum otherwise.
        _converter.register_unstructure_hook(kind, _dump_enum(kind))
        _converter.register_structure_hook(kind, _load_enum(kind))
        return
    elif attrs.has(kind):
        _check_fields(kind, above)
        return
    else:
        raise BadDomain(
            f"{where}: a {_name(kind)} cannot be stored; use int, str, bytes, bool, an Enum,"
            " another frozen attrs class, T | None, tuple[T, ...] or Mapping[str, T]"
            + _ADVICE.get(_name(kind), "")
        )
    for one in inner:
        _check_type(one, where, above)


_ADVICE: Final = {
    "float": ". Amounts are integers of the smallest unit",
    "Decimal": ". Amounts are integers of the smallest unit",
    "datetime": ". Times are integers, nanoseconds since 1970",
}


def _is_mapping(kind: Any) -> bool:
    return typing.get_origin(kind) in (dict, Mapping) and len(typing.get_args(kind)) == 2


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


@cache
def _has_mapping(kind: Any) -> bool:
    if _is_mapping(kind):
        return True
    if isinstance(kind, type) and attrs.has(kind):
        check_class(kind)
        return any(_has_mapping(field.type) for field in attrs.fields(kind))
    return any(_has_mapping(one) for one in typing.get_args(kind) if one is not ...)


# --- cattrs, made strict ---


def _require(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise InvalidField(
            kind.__name__, value, f"is a {type(value).__name__}, not {kind.__name__}"
        )
    return value


def _dump_scalar(kind: type) -> Hook:
    def dump(value: Any) -> Any:
        return value if type(value) is kind else _require(value, kind)

    return dump


def _dump_int(value: Any) -> int | bytes:
    if type(value) is not int:
        _require(value, int)
    if -(2**63) <= value < 2**64:
        return cast("int", value)
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise InvalidField("int", value, "does not fit into 128 bits")
    return cast("int", value).to_bytes(_WIDE_BYTES, "big", signed=True)


def _dump_str(value: Any) -> str:
    if type(value) is not str:
        _require(value, str)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidField(
                "str", value, "contains a lone surrogate, which UTF-8 cannot encode"
            ) from None
    return cast("str", value)


def _load_int(value: Any, _: type) -> int:
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if type(value) is not bytes or len(value) != _WIDE_BYTES:
        raise InvalidField("int", value, "is not an integer")
    number = int.from_bytes(value, "big", signed=True)
    if -(2**63) <= number < 2**64 or not INTEGER_MIN <= number <= INTEGER_MAX:
        raise InvalidField("int", value, "is not an integer")
    return number


def _dump_class(cls: Any) -> Hook:
    fields = sorted(attrs.fields(cls), key=lambda field: (len(field.name.encode()), field.name))
    dump: Hook = make_dict_unstructure_fn_from_attrs(fields, cls, _converter)

    def checked(value: Any) -> Any:
        return dump(value if type(value) is cls else _require(value, cls))

    return checked


def _load_class(cls: Any) -> Hook:
    load: Hook = make_dict_structure_fn(
        cls, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=False
    )

    def checked(value: Any, kind: type) -> Any:
        return load(value if type(value) is dict else _require(value, dict), kind)

    return checked


def _dump_enum(kind: type) -> Hook:
    def dump(value: Any) -> Any:
        return _require(value, kind).value

    return dump


def _load_enum(kind: type) -> Hook:
    members = {(type(member.value), member.value): member for member in cast("Any", kind)}

    def load(value: Any, _: type) -> Any:
        member = members.get((type(value), value)) if type(value) in (str, int) else None
        if member is None:
            raise InvalidField(kind.__name__, value, "is not one of its values")
        return member

    return load


def _is_tuple(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _dump_tuple(kind: Any) -> Hook:
    dump: Hook = _converter.get_unstructure_hook(typing.get_args(kind)[0])
    return lambda value: [dump(one) for one in _require(value, tuple)]


def _load_tuple(kind: Any) -> Hook:
    inner = typing.get_args(kind)[0]
    load: Hook = _converter.get_structure_hook(inner)
    return lambda value, _: tuple([load(one, inner) for one in _require(value, list)])


def _dump_mapping(kind: Any) -> Hook:
    dump: Hook = _converter.get_unstructure_hook(typing.get_args(kind)[1])

    def dump_all(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidField("Mapping", value, f"is a {type(value).__name__}, not a mapping")
        keys = sorted(map(_dump_str, value), key=lambda key: (len(key.encode()), key.encode()))
        return {key: dump(value[key]) for key in keys}

    return dump_all


def _load_mapping(kind: Any) -> Hook:
    inner = typing.get_args(kind)[1]
    load: Hook = _converter.get_structure_hook(inner)
    return lambda value, _: {
        _require(key, str): load(one, inner) for key, one in _require(value, dict).items()
    }


def _strict_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False, forbid_extra_keys=True)
    scalars: tuple[tuple[type, Hook, Hook], ...] = (
        (int, _dump_int, _load_int),
        (str, _dump_str, _require),
        (bytes, _dump_scalar(bytes), _require),
        (bool, _dump_scalar(bool), _require),
    )
    for kind, dump, load in scalars:
        converter.register_unstructure_hook(kind, dump)
        converter.register_structure_hook(kind, load)
    factories: tuple[
        tuple[Callable[[Any], bool], Callable[[Any], Hook], Callable[[Any], Hook]], ...
    ]
    factories = (
        (_is_tuple, _dump_tuple, _load_tuple),
        (_is_mapping, _dump_mapping, _load_mapping),
        (attrs.has, _dump_class, _load_class),
    )
    for is_kind, dump_of, load_of in factories:
        converter.register_unstructure_hook_factory(is_kind, dump_of)
        converter.register_structure_hook_factory(is_kind, load_of)
    return converter


_converter: Final = _strict_converter()
