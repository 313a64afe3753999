"""Root and proof files as JSON objects: every field that any of them has, in one form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import attrs

from nostro.journal.errors import DecodeError, InvalidEvidence
from nostro.journal.evidence.entries import describe_entry

VERSION: Final = 1

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_POSITION_END: Final = 2**63
_ENTRY_BYTES_MAX: Final = 16 * 1024
_HEX: Final = re.compile(r"[0-9a-f]*")
_NAMES: Final = {"ledger_id": "ledger", "taken_at": "time"}
"""Fields whose attributes have other names."""
_ATTRIBUTES: Final = {name: attribute for attribute, name in _NAMES.items()}
_DERIVED: Final = ("type", "version", "event")

T = TypeVar("T", bound=attrs.AttrsInstance)


def encode_fields(found: attrs.AttrsInstance, file_type: str) -> dict[str, Any]:
    """The fields of the file, in order; an attribute that is None is left out."""
    shown: dict[str, Any] = {"type": file_type, "version": VERSION}
    for attribute, value in attrs.asdict(found, recurse=False).items():
        if attribute == "entry":
            shown["event"] = describe_entry(value)
        if value is not None:
            shown[_NAMES.get(attribute, attribute)] = _encode(value)
    return shown


def decode_fields(data: bytes, classes: dict[str, type[T]], *, what: str, bytes_max: int) -> T:
    """The object in a file, of the class that its type names.

    Raises:
        InvalidEvidence: the file is not JSON, is of an unknown type or version, is larger than any
            that this program writes, or its fields are not those of the class.
    """
    if len(data) > bytes_max:
        raise InvalidEvidence(what, f"it has more than {bytes_max:,} bytes")
    try:
        shown = json.loads(data.decode(), object_pairs_hook=_without_repeated_keys)
        if not isinstance(shown, dict) or not _is_version(shown.get("version")):
            raise ValueError(f"it is not a JSON object of version {VERSION}")
        values: dict[str, Any] = {
            (_ATTRIBUTES.get(name) or name): _DECODERS[name](value)
            for name, value in shown.items()
            if name not in _DERIVED
        }
        found = classes[shown["type"]](**values)
        if _text(encode_fields(found, shown["type"])) != _text(shown):
            raise ValueError("its fields do not say what its entry says")
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvidence(what, "it is not JSON") from None
    except KeyError as error:
        raise InvalidEvidence(what, f"a field is missing or unknown: {error}") from None
    except (DecodeError, TypeError, ValueError) as error:
        raise InvalidEvidence(what, str(error)) from None
    return found


def decode_hex(text: object, size_bytes: int) -> bytes:
    """``size_bytes`` bytes of lower-case hexadecimal text; ValueError if it is anything else."""
    if not isinstance(text, str) or len(text) != 2 * size_bytes or not _HEX.fullmatch(text):
        raise ValueError(f"{text!r} is not {2 * size_bytes} hexadecimal digits")
    return bytes.fromhex(text)


def _encode(value: object) -> object:
    if isinstance(value, tuple):
        return [one.hex() for one in value]
    if isinstance(value, datetime):
        return value.strftime(_TIME_FORMAT)
    return value.hex() if isinstance(value, bytes) else value


_decode_hash: Final = partial(decode_hex, size_bytes=32)


def _decode_position(value: object) -> int:
    if type(value) is not int or not 0 <= value < _POSITION_END:
        raise ValueError(f"{value!r} is not a position")
    return value


_DECODERS: Final[dict[str, Callable[[Any], object]]] = {
    "ledger": partial(decode_hex, size_bytes=16),
    "old_position": _decode_position,
    "old_root": _decode_hash,
    "position": _decode_position,
    "root": _decode_hash,
    "time": lambda text: datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC),
    "public_key": partial(decode_hex, size_bytes=32),
    "signature": partial(decode_hex, size_bytes=64),
    "entry": lambda text: decode_hex(text, min(len(text) // 2, _ENTRY_BYTES_MAX)),
    "path": lambda hashes: tuple(map(_decode_hash, hashes)),
}


def _is_version(value: object) -> bool:
    return type(value) is int and value == VERSION


def _text(value: object) -> str:
    """JSON in one form. True, 1 and 1.0 are equal in Python, and are three texts here."""
    return json.dumps(value, sort_keys=True)


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError if a key occurs twice: each reader would choose another value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found
