"""Makes hostile inputs of valid ones: edits of bytes, edits of the structure, checksums put right.

Everything follows from a seed, so an input can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Literal

from tests.fuzz.decoder import INPUT_BYTES_MAX, Decoder, Form

NUMBERS: Final = tuple(
    sorted(
        {
            number + more
            for number in (
                0, 7, 23, 24, 127, 128, 255, 256, 512, 4_096, 2**15, 2**16, 2**24, 2**31, 2**32,
                2**53, 2**62, 2**63, 2**64, 2**127, 2**128,
            )
            for more in (-1, 0, 1)
        }
    )
)  # fmt: skip
_WIDTHS: Final = (1, 2, 4, 8, 16)
_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")
_NESTED_MAX: Final = 40
_SCALARS: Final[tuple[object, ...]] = (
    None, True, False, "", "a", "\ud7ff", b"", b"\0", bytes(16), bytes(32), 1.5, float("nan"),
    float("inf"), [], {}, [[]], {"": None}, "9" * 5_000, "0x" + "f" * 40, "1970-01-01", -1,
)  # fmt: skip

Edit = Callable[[random.Random, bytearray, Decoder], None]


def mutated(chance: random.Random, decoder: Decoder) -> bytes:
    """One hostile input; now and then it is still a valid one."""
    data = chance.choice(decoder.seeds)
    edits = chance.choice((1, 1, 1, 2, 2, 4, 16))
    if decoder.forms and chance.random() < 0.5:
        data = _of_form(chance, data, decoder)
        edits = chance.choice((0, 0, 0, 1, 2))
    changed = bytearray(data)
    for _ in range(edits):
        chance.choice(EDITS)(chance, changed, decoder)
        del changed[INPUT_BYTES_MAX:]
    data = bytes(changed)
    if decoder.repairs and chance.random() < 0.8:
        data = chance.choice(decoder.repairs)(data)
    return data


def _of_form(chance: random.Random, data: bytes, decoder: Decoder) -> bytes:
    """``data`` with its structure edited, if what comes of that can be written at all."""
    form: Form = chance.choice(decoder.forms)
    value = form.open(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = edited(chance, value, decoder)
    try:
        return form.close(value)
    except Exception:  # noqa: BLE001  # a value that no file can hold
        return data


def edited(chance: random.Random, value: Any, decoder: Decoder) -> Any:  # noqa: ANN401
    """``value`` with one thing in it changed, somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        return _edited_map(chance, value, decoder)
    if isinstance(value, list) and value and chance.random() < 0.9:
        return _edited_list(chance, value, decoder)
    if isinstance(value, bytes) and chance.random() < 0.8:
        changed = bytearray(value)
        for _ in range(chance.choice((1, 1, 2, 4))):
            chance.choice(EDITS[:-2])(chance, changed, decoder)
        return bytes(changed[:INPUT_BYTES_MAX])
    if isinstance(value, int) and chance.random() < 0.7:
        return chance.choice((*NUMBERS, value + 1, value - 1, -value, value * 2))
    if isinstance(value, str) and decoder.words and chance.random() < 0.5:
        return chance.choice(decoder.words).decode("latin-1").strip('"')
    if isinstance(value, str) and chance.random() < 0.6:
        return chance.choice((value[:-1], value + value, value + "0", value.upper(), f" {value}"))
    if chance.random() < 0.1:
        for _ in range(chance.randint(1, _NESTED_MAX)):
            value = chance.choice(([value], {"a": value}))
        return value
    return chance.choice((*_SCALARS, chance.choice(NUMBERS)))


def _edited_map(chance: random.Random, value: dict[Any, Any], decoder: Decoder) -> dict[Any, Any]:
    changed = dict(value)
    key = chance.choice(list(changed))
    if chance.random() < 0.5:  # where most is
        key = max(changed, key=lambda one: _size(changed[one]))
    kind = chance.random()
    if kind < 0.7:
        changed[key] = edited(chance, changed[key], decoder)
    elif kind < 0.8:
        del changed[key]
    elif kind < 0.9:
        changed[key] = changed[chance.choice(list(changed))]
    else:
        changed[chance.choice(("", "x", 0, key * 2 if isinstance(key, str) else -1))] = 0
    return changed


def _edited_list(chance: random.Random, value: list[Any], decoder: Decoder) -> list[Any]:
    changed = list(value)
    at = chance.randrange(len(changed))
    kind = chance.random()
    if kind < 0.7:
        changed[at] = edited(chance, changed[at], decoder)
    elif kind < 0.8:
        del changed[at]
    elif kind < 0.9:
        changed.insert(at, chance.choice(changed))
    else:
        other = chance.randrange(len(changed))
        changed[at], changed[other] = changed[other], changed[at]
    return changed


def _size(value: object) -> int:
    return len(value) if isinstance(value, bytes | list | dict) else 0


# --- edits of bytes -------------------------------------------------------------------------------


def _flip_bits(chance: random.Random, data: bytearray, _: Decoder) -> None:
    for _number in range(chance.choice((1, 1, 1, 8))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set_byte(chance: random.Random, data: bytearray, _: Decoder) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0x5F, 0x9F))


def _set_number(chance: random.Random, data: bytearray, _: Decoder) -> None:
    """An extreme, of any width and order; fields are mostly aligned."""
    width = chance.choice(_WIDTHS)
    if len(data) < width:
        return
    at = chance.randrange(len(data) - width + 1)
    if chance.random() < 0.7:
        at -= at % min(width, 8)
    number = chance.choice(NUMBERS) % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, chance.choice(_ORDERS))


def _add_to_number(chance: random.Random, data: bytearray, _: Decoder) -> None:
    """A length or a count that is slightly wrong."""
    width = chance.choice((1, 2, 4, 8))
    if len(data) < width:
        return
    at = chance.randrange(len(data) - width + 1)
    order = chance.choice(_ORDERS)
    number = int.from_bytes(data[at : at + width], order) + chance.choice((-8, -1, 1, 8))
    data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)


def _cut_off(chance: random.Random, data: bytearray, _: Decoder) -> None:
    if data:
        del data[chance.randrange(len(data)) :]


def _take_out(chance: random.Random, data: bytearray, _: Decoder) -> None:
    start, end = _stretch(chance, data)
    del data[start:end]


def _double(chance: random.Random, data: bytearray, _: Decoder) -> None:
    start, end = _stretch(chance, data)
    data[end:end] = data[start:end] * chance.choice((1, 1, 2, 7))


def _put_in(chance: random.Random, data: bytearray, _: Decoder) -> None:
    at = chance.randint(0, len(data))
    count = chance.choice((1, 2, 4, 8, 16, 64))
    data[at:at] = bytes(count) if chance.random() < 0.3 else chance.randbytes(count)


def _splice(chance: random.Random, data: bytearray, decoder: Decoder) -> None:
    """A stretch of another seed, in place of one here or between."""
    other = chance.choice(decoder.seeds)
    start, end = _stretch(chance, other)
    at, until = _stretch(chance, data)
    data[at : chance.choice((at, until))] = other[start:end]


def _put_word(chance: random.Random, data: bytearray, decoder: Decoder) -> None:
    if decoder.words:
        at, until = _stretch(chance, data)
        data[at : chance.choice((at, at, until))] = chance.choice(decoder.words)


def _stretch(chance: random.Random, data: bytes | bytearray) -> tuple[int, int]:
    """Where a stretch of ``data`` begins and ends; most are short."""
    start = chance.randint(0, len(data))
    end = start + chance.choice((1, 4, 16, 128, len(data)))
    return start, min(end, len(data))


EDITS: Final[tuple[Edit, ...]] = (
    _flip_bits, _set_byte, _set_number, _set_number, _add_to_number, _cut_off, _take_out, _double,
    _put_in, _splice, _put_word,
)  # fmt: skip
"""The last two need a decoder's seeds and words."""
