"""JSON in and out: strict, and in pieces that are short enough for the event loop.

The C code of :mod:`json` lets no other thread run. So it gets a large list element by element:
another thread, such as the event loop, waits for one element at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NoReturn, TypeVar

from nostro.journal.model import MESSAGE_EVENTS_MAX

WHOLE_BYTES_MAX: Final = 64 * 1024
"""A body of this size is parsed at once, in about 1 ms. A larger one must be a list."""
KEYS_MAX: Final = 64
"""The most keys in one object; the largest object of a request has 13."""
PIECE_ITEMS: Final = 64
_ELEMENT_CHARS: Final = 4_096
"""More than any account or transfer. A longer element is tried again, up to WHOLE_BYTES_MAX."""
_LITERAL_CHARS: Final = len("-Infinity")
_BLANK: Final = re.compile(r"[ \t\n\r]{0,4096}")

T = TypeVar("T")


class InvalidJson(ValueError):
    """The text is not JSON, or has what is ambiguous or too large: duplicate keys, NaN."""


def parse(body: bytes | bytearray) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The value in a body. Of a list that is too long, it reads only the beginning.

    Raises:
        InvalidJson: it is not JSON, is ambiguous, or has too many keys.
    """
    try:
        if len(body) > WHOLE_BYTES_MAX:
            return list(islice(_elements(body.decode("ascii")), MESSAGE_EVENTS_MAX + 1))
        return _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except UnicodeDecodeError as error:  # no request needs more than ASCII
        name = {"utf-8": "UTF-8", "ascii": "ASCII"}[error.encoding]
        raise InvalidJson(f"not {name} at byte {error.start}") from None
    except InvalidJson:
        raise
    except json.JSONDecodeError as error:
        raise InvalidJson(str(error)) from None
    except ValueError:  # Python reads no number of more digits
        raise InvalidJson("a number has too many digits") from None


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def dump_list(items: Iterable[T], shown: Callable[[T], object]) -> bytes:
    """Compact JSON of a list; ``shown`` makes the JSON value of an item."""
    rest = iter(items)
    pieces = iter(lambda: dump([shown(item) for item in islice(rest, PIECE_ITEMS)])[1:-1], b"")
    return b"[" + b",".join(pieces) + b"]"


def repeated(pairs: Sequence[tuple[str, object]]) -> str | None:
    """The first name that stands in ``pairs`` for the second time; None if there is none."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    return None


def _elements(text: str) -> Iterator[Any]:
    """The elements of a list that is the whole text."""
    at = _after_blank(text, 0)
    if text[at : at + 1] != "[":
        raise InvalidJson(f"only a list may have more than {WHOLE_BYTES_MAX:,} bytes")
    at = _after_blank(text, at + 1)
    more = text[at : at + 1] != "]"
    while more:
        element, at = _element(text, at)
        yield element
        at = _after_blank(text, at)
        more = text[at : at + 1] == ","
        if more:
            at = _after_blank(text, at + 1)
    if text[at : at + 1] != "]":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    at = _after_blank(text, at + 1)
    if at < len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _element(text: str, at: int, chars: int = _ELEMENT_CHARS) -> tuple[Any, int]:
    """The value at ``at``, and the place after it."""
    try:
        element, length = _DECODER.raw_decode(text[at : at + chars])
    except json.JSONDecodeError as error:
        is_cut = error.pos > chars - _LITERAL_CHARS or error.msg.startswith("Unterminated")
        if is_cut and at + chars < len(text):
            if chars < WHOLE_BYTES_MAX:
                return _element(text, at, WHOLE_BYTES_MAX)
            reason = f"has more than {WHOLE_BYTES_MAX:,} bytes"
            raise InvalidJson(f"the element at character {at:,} of the list {reason}") from None
        raise json.JSONDecodeError(error.msg, text, at + error.pos) from None
    return element, at + length


def _after_blank(text: str, at: int) -> int:
    while match := _BLANK.match(text, at):
        if match.end() == at:
            break
        at = match.end()
    return at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > KEYS_MAX:
        raise InvalidJson(f"an object has more than {KEYS_MAX} keys")
    made = dict(pairs)
    if len(made) < len(pairs) and (twice := repeated(pairs)) is not None:
        raise InvalidJson(f"the key {twice[:40]!r} appears twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not a JSON number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
