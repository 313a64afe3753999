"""All workloads, one after the other. A workload that writes waits for the disk, like a caller."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from nostro.tools.bench import reading, writing
from nostro.tools.bench.measure import Figure, Scale

FIGURES: Final = 32
"""How many figures :func:`run_all` yields."""


def run_all(folder: Path, scale: Scale) -> Iterator[Figure]:
    """Yield the figures of every workload, on fresh ledgers in ``folder``.

    A workload that writes runs ``scale.repeats`` times, and its figures are the medians.
    """
    for workload in writing.WORKLOADS:
        figures = [list(workload(_fresh(folder), scale)) for _ in range(scale.repeats)]
        for same in zip(*figures, strict=True):
            yield attrs.evolve(same[0], value=float(np.median([figure.value for figure in same])))
    path = _fresh(folder)
    reading.fill(path, scale.history)
    yield from reading.all_of(path, folder, scale)
    shutil.rmtree(path)


def _fresh(folder: Path) -> Path:
    path = folder / "ledger"
    shutil.rmtree(path, ignore_errors=True)
    return path
