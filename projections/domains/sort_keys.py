"""Values of keys and indexes as bytes that sort as the values do.

::

    None     00
    False    01
    True     02
    int      60 + (16 - n), then the complement of its magnitude    negative, n bytes of magnitude
             70                                                     zero
             70 + n, then its magnitude                             positive
    str      80, UTF-8, 00      00 inside is 00 ff
    bytes    90, the bytes, 00  likewise

Equal bytes mean equal values of one type. Each value ends by itself, and no first byte is ff. So
the bytes of a tuple are those of its values, joined, and what begins with some values is below
those values and ``ff``. Integers are big-endian. An Enum sorts as its value.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from nostro.journal.errors import InvalidField
from nostro.projections.domains.values import INTEGER_MAX, INTEGER_MIN

AFTER_ALL: Final = b"\xff"
"""Behind a prefix: above everything that begins with it."""

_ZERO: Final = 0x70
_NEGATIVE_TAGS: Final = [bytes([_ZERO - count]) for count in range(17)]
_POSITIVE_TAGS: Final = [bytes([_ZERO + count]) for count in range(17)]


def sort_key(value: object) -> bytes:
    """The bytes of one value.

    Raises:
        InvalidField: a value that no key or index has.
    """
    kind = type(value)
    if kind is str:
        try:
            encoded = value.encode()  # type: ignore[attr-defined]
        except UnicodeEncodeError:
            raise InvalidField(
                "key", value, "contains a lone surrogate, which UTF-8 cannot encode"
            ) from None
        return b"\x80" + _ended(encoded)
    if kind is int:
        return _integer(value)  # type: ignore[arg-type]
    if value is None:
        return b"\x00"
    if kind is bool:
        return b"\x02" if value else b"\x01"
    if kind is bytes:
        return b"\x90" + _ended(value)  # type: ignore[arg-type]
    if isinstance(value, Enum):
        return sort_key(value.value)
    raise InvalidField("key", value, f"is a {kind.__name__}, which cannot be a key or in an index")


def sort_keys(values: Iterable[object]) -> bytes:
    """The bytes of several values, which sort as a tuple of them."""
    return b"".join([sort_key(value) for value in values])


def _ended(data: bytes) -> bytes:
    if b"\x00" in data:
        data = data.replace(b"\x00", b"\x00\xff")
    return data + b"\x00"


def _integer(value: int) -> bytes:
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise InvalidField("key", value, "does not fit into 128 bits")
    count = (value.bit_length() + 7) >> 3
    if value >= 0:
        return _POSITIVE_TAGS[count] + value.to_bytes(count, "big")
    return _NEGATIVE_TAGS[count] + ((1 << 8 * count) - 1 + value).to_bytes(count, "big")
