"""Results of a benchmark as JSON, and the gain from one run to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from nostro.tools.bench.measure import Figure
from nostro.tools.regular_files import open_regular

VERSION: Final = 1
_BYTES_MAX: Final = 1 << 20


class BadResults(ValueError):
    """The file does not hold results of a benchmark."""


def write_results(path: Path, machine: dict[str, str], figures: list[Figure]) -> None:
    """Write machine and figures to ``path``."""
    body = {
        "version": VERSION,
        "machine": machine,
        "figures": [attrs.asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_results(path: Path) -> dict[str, Figure]:
    """Return the figures in ``path`` by name.

    Raises:
        BadResults: :func:`write_results` did not write this file.
        OSError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            body: Any = json.loads(file.read(_BYTES_MAX + 1)[:_BYTES_MAX].decode())
        if body["version"] != VERSION:
            raise BadResults(f"{path}: results of version {body['version']}, not {VERSION}")
        return {entry["name"]: Figure(**entry) for entry in body["figures"]}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise BadResults(f"{path}: not the results of a benchmark ({error})") from None


def gain(new: Figure, old: Figure) -> float:
    """Return how many times better ``new`` is than ``old``; below 1 it is worse."""
    if not new.value or not old.value:
        return 0.0
    return new.value / old.value if new.higher_is_better else old.value / new.value
