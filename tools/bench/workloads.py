"""Every workload in turn. Each one that writes waits for the disk, as every caller does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np

from nostro.tools.bench import mirroring, peers, reading, writing
from nostro.tools.bench.measure import Figure, Scale


def run_all(folder: Path, scale: Scale, *, with_peers: bool) -> Iterator[Figure]:
    """The figures of every workload, on fresh ledgers below ``folder``.

    What writes runs ``scale.repeats`` times, and the median is given.
    """
    for workload in writing.WORKLOADS:
        figures = [list(workload(_fresh(folder), scale)) for _ in range(scale.repeats)]
        for same in zip(*figures, strict=True):
            yield attrs.evolve(same[0], value=float(np.median([figure.value for figure in same])))
    path = _fresh(folder)
    reading.fill(path, scale.history)
    yield from reading.all_of(path, folder, scale)
    shutil.rmtree(path)
    if with_peers:
        yield from peers.run_peers(folder, scale)
        yield from mirroring.run_mirror(folder, scale)


def _fresh(folder: Path) -> Path:
    path = folder / "ledger"
    shutil.rmtree(path, ignore_errors=True)
    return path
