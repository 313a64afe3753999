"""Shared by every workload: figures, the amount of work, times and sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import attrs
import numpy as np

from nostro import journal

Argument = TypeVar("Argument")

BATCH: Final = 8_189


@attrs.frozen
class Figure:
    """One measured value. ``higher_is_better`` says which of two values is a gain."""

    name: str
    value: float
    unit: str
    workload: str
    higher_is_better: bool = True


@attrs.frozen
class Scale:
    """The amount of work: FULL gives steady figures, QUICK only shows that it runs."""

    transfers: int
    """Written by each workload that writes."""
    history: int
    """Held by the ledger that is read."""
    singles: int
    lookups: int
    repeats: int


FULL: Final = Scale(
    transfers=1_000_000, history=10_000_000, singles=5_000, lookups=20_000, repeats=3
)
QUICK: Final = Scale(transfers=100_000, history=200_000, singles=500, lookups=2_000, repeats=1)


def times_of(call: Callable[[Argument], object], arguments: Iterable[Argument]) -> list[float]:
    """Return the seconds of each call."""
    times = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - began)
    return times


def quantile(times: list[float], share: float) -> float:
    return float(np.quantile(times, share))


def percentiles(name: str, times: list[float], unit: str, workload: str) -> list[Figure]:
    """Return the p50 and the p99 of times (s), in ``unit``: ms or µs."""
    factor = {"ms": 1e3, "µs": 1e6}[unit]
    return [
        Figure(f"{name}, {title}", factor * quantile(times, share), unit, workload, False)
        for title, share in (("p50", 0.5), ("p99", 0.99))
    ]


def disk_bytes(path: Path) -> int:
    """Return the size of the journal, without the room that it has reserved."""
    head = journal.Reader(path).head()
    sealed = [file.stat().st_size for file in sorted((path / "segments").iterdir())[:-1]]
    return sum(sealed) + head.offset_bytes
