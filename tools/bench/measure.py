"""What every workload is made of: figures, how much work, times and sizes."""

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
    """One measured value. ``higher_is_better`` tells a comparison what a gain is."""

    name: str
    value: float
    unit: str
    workload: str
    higher_is_better: bool = True


@attrs.frozen
class Scale:
    """How much work: enough to be steady, or just enough to see that it runs."""

    transfers: int
    """In each workload that writes."""
    history: int
    """In the ledger that is read."""
    singles: int
    lookups: int
    repeats: int


FULL: Final = Scale(
    transfers=1_000_000, history=10_000_000, singles=5_000, lookups=20_000, repeats=3
)
QUICK: Final = Scale(transfers=100_000, history=200_000, singles=500, lookups=2_000, repeats=1)


def times_of(call: Callable[[Argument], object], arguments: Iterable[Argument]) -> list[float]:
    """Seconds that each call took."""
    times = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - began)
    return times


def quantile(times: list[float], share: float) -> float:
    return float(np.quantile(times, share))


def disk_bytes(path: Path) -> int:
    """How far the journal reaches; reserved room not counted."""
    head = journal.Reader(path).head()
    sealed = [file.stat().st_size for file in sorted((path / "segments").iterdir())[:-1]]
    return sum(sealed) + head.offset_bytes
