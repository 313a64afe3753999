"""Reports of the journal as JSON: shared by ``backup``, ``restore``, ``repair`` and ``verify``."""

from __future__ import annotations

from typing import Any, Final

import attrs

from nostro.journal import Damage
from nostro.tools.times import format_rfc3339

_NAMES: Final = {"frame_sha256": "chain_hash", "size_bytes": "bytes"}


def report_json(report: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a report's fields: bytes in hexadecimal, seconds rounded, a timestamp also as text."""
    found: dict[str, Any] = {}
    for name, value in attrs.asdict(report, recurse=False).items():
        if name == "timestamp":
            found |= {"timestamp": format_rfc3339(value), "timestamp_ns": value}
        elif isinstance(value, bytes):
            found[_NAMES.get(name, name)] = value.hex()
        else:
            found[_NAMES.get(name, name)] = round(value, 3) if name == "seconds" else value
    return found


def damage_json(damage: Damage) -> dict[str, Any]:
    """Return the kind of damage, its place and its cause."""
    return {
        "kind": type(damage).__name__,
        "path": str(damage.path),
        "offset_bytes": damage.offset_bytes,
        "position": damage.position,
        "cause": damage.cause,
    }
