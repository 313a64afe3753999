"""Objects of domains as CBOR: what is written can be read, and nothing else is written."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import BadDomain, DecodeError, InvalidField
from nostro.journal.format.codec import decode_cbor, encode_cbor
from nostro.projections.domains.values import (
    INTEGER_MAX,
    INTEGER_MIN,
    VALUE_BYTES_MAX,
    VALUE_DEPTH_MAX,
    VALUE_ITEMS_MAX,
    check_class,
    decode,
    encode,
    from_plain,
    normal,
    to_plain,
)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Party:
    name: str
    level: Level = Level.LOW


@attrs.frozen
class Everything:
    number: int = 0
    text: str = ""
    data: bytes = b""
    flag: bool = False
    color: Color = Color.RED
    maybe: int | None = None
    party: Party | None = None
    parties: tuple[Party, ...] = ()
    tags: tuple[str, ...] = ()
    shares: Mapping[str, int] = attrs.field(factory=dict)
    nested: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)


integers = st.integers(INTEGER_MIN, INTEGER_MAX) | st.sampled_from(
    [0, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, INTEGER_MIN, INTEGER_MAX]
)
texts = st.text(max_size=8)
parties = st.builds(Party, texts, st.sampled_from(Level))
everything = st.builds(
    Everything,
    integers, texts, st.binary(max_size=20), st.booleans(), st.sampled_from(Color),
    st.none() | integers, st.none() | parties, st.lists(parties, max_size=3).map(tuple),
    st.lists(texts, max_size=3).map(tuple), st.dictionaries(texts, integers, max_size=4),
    st.dictionaries(texts, st.lists(integers, max_size=2).map(tuple), max_size=2),
)  # fmt: skip


@given(everything)
def test_what_is_written_is_read_back(value: Everything) -> None:
    """Every object reads back equal, from bytes that the journal's own reader takes."""
    data = encode(value)
    assert decode(Everything, data) == value
    plain = to_plain(value)
    assert decode_cbor(data) == plain
    assert encode_cbor(plain) == data
    assert from_plain(Everything, plain) == value
    assert decode_cbor(encode_cbor({"e": [{"d": plain}]})) == {"e": [{"d": plain}]}


@given(st.dictionaries(texts, integers, max_size=6))
def test_a_mapping_has_one_order(shares: dict[str, int]) -> None:
    """A fold sees the keys of a mapping in one order, live and in a replay."""
    value = Everything(shares=shares)
    assert [*normal(value).shares] == [*decode(Everything, encode(value)).shares]
    assert normal(Party("a")) == Party("a")


BAD_VALUES: list[tuple[str, Any]] = [
    ("number", "1"), ("number", True), ("number", 1.0), ("number", Level.LOW), ("number", None),
    ("number", 2**128), ("number", -(2**127) - 1), ("text", 1), ("text", b""), ("text", None),
    ("text", "\ud800"), ("data", "x"), ("data", bytearray(b"x")), ("flag", 1), ("color", "red"),
    ("maybe", "1"), ("party", "x"), ("party", Everything()), ("parties", [Party("a")]),
    ("parties", (Color.RED,)), ("tags", ("a", 1)), ("tags", "ab"), ("shares", {1: 1}),
    ("shares", {"a": "1"}), ("shares", (("a", 1),)), ("nested", {"a": (1.5,)}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD_VALUES, ids=range(len(BAD_VALUES)))
def test_a_value_of_another_type_is_refused(field: str, value: object) -> None:
    """Nothing is converted in silence: what would read back as something else is not written."""
    fields: dict[str, Any] = {field: value}
    bad = Everything(**fields)
    with pytest.raises(InvalidField):
        encode(bad)
    with pytest.raises(InvalidField):
        to_plain(bad)


BAD_PLAIN: list[Any] = [
    None, [], "x", {}, {"name": "a", "level": 3}, {"name": "a", "level": True},
    {"name": 1, "level": 1}, {"name": "a", "level": 1, "more": 1},
]  # fmt: skip


@pytest.mark.parametrize("plain", BAD_PLAIN, ids=range(len(BAD_PLAIN)))
def test_what_was_not_written_is_not_read(plain: object) -> None:
    """A damaged or foreign value is an error of one type, whatever is wrong with it."""
    with pytest.raises(DecodeError):
        from_plain(Party, plain)
    with pytest.raises(DecodeError):
        decode(Party, cbor2.dumps(plain))


def test_a_field_with_a_default_may_be_added() -> None:
    """An object that was stored before a field with a default was there is read with it."""
    assert from_plain(Party, {"name": "a"}) == Party("a")


@pytest.mark.parametrize(
    "wide", [bytes(17), bytes(16), b"\x01" + bytes(16) + b"\x00", b"\xff" * 17]
)
def test_an_integer_has_one_form(wide: bytes) -> None:
    """A byte string is an integer only beyond 64 bits, so equal objects have equal bytes."""
    with pytest.raises(DecodeError):
        from_plain(Everything, {**to_plain(Everything()), "number": wide})


def test_the_limits_of_a_value() -> None:
    """A value beyond a limit is refused, and one at the limit is not."""
    room = VALUE_BYTES_MAX - len(encode(Everything())) - 2  # a longer length takes two bytes more
    assert len(encode(Everything(data=bytes(room)))) == VALUE_BYTES_MAX
    with pytest.raises(InvalidField, match="65,536"):
        encode(Everything(data=bytes(room + 1)))
    fields = 1 + 2 * len(attrs.fields(Everything))
    encode(Everything(tags=("",) * (VALUE_ITEMS_MAX - fields)))
    with pytest.raises(InvalidField, match="8,192"):
        encode(Everything(tags=("",) * (VALUE_ITEMS_MAX - fields + 1)))


@attrs.frozen
class Deep5:
    deep: tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]


@attrs.frozen
class Deep6:
    deep: Deep5


def test_how_deep_a_value_nests() -> None:
    """What nests deeper than a payload's reader goes is refused; the deepest is read."""
    assert VALUE_DEPTH_MAX == 5
    deepest = Deep5(((((1,),),),))
    decode_cbor(encode_cbor({"e": [{"d": to_plain(deepest)}]}))
    with pytest.raises(InvalidField, match="deep"):
        encode(Deep6(deepest))


@attrs.frozen
class WithFloat:
    amount: float


@attrs.frozen
class WithDate:
    at: datetime


@attrs.frozen
class WithDecimal:
    amount: Decimal


@attrs.frozen
class WithUnion:
    either: int | str


@attrs.frozen
class WithList:
    all: list[int]


@attrs.frozen
class WithPair:
    pair: tuple[int, int]


@attrs.frozen
class WithAny:
    anything: Any


@attrs.frozen
class WithIntegerKeys:
    shares: Mapping[int, int]


@attrs.frozen
class WithItself:
    next: WithItself | None


@attrs.frozen
class WithUnknown:
    what: Unknown  # type: ignore[name-defined]  # noqa: F821 - that is the point


@attrs.define
class Mutable:
    number: int


class Plain:
    pass


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (WithFloat, "float.*smallest unit"), (WithDate, "datetime.*nanoseconds"),
        (WithDecimal, "Decimal.*smallest unit"), (WithUnion, "cannot be stored"),
        (WithList, "cannot be stored"), (WithPair, "cannot be stored"),
        (WithAny, "cannot be stored"), (WithIntegerKeys, "cannot be stored"),
        (WithItself, "contains itself"), (WithUnknown, "cannot be found"),
        (Mutable, "can be changed"), (Plain, "not an attrs class"), (int, "not an attrs class"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_stored_is_refused(cls: type, words: str) -> None:
    """A class says at once, and in words, why its objects cannot be stored."""
    with pytest.raises(BadDomain, match=words):
        check_class(cls)
