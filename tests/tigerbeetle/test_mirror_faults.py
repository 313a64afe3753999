"""Whatever fails, and whenever the mirror is killed: the cluster ends up with the journal, once."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import pytest

from tests.crash.forking import fork_server
from tests.crash.recording import alike
from tests.figures import Figure
from tests.tigerbeetle.trial import Figures, Trial, try_seeds

SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))
SEEDS: Final = int(os.environ.get("NOSTRO_SEEDS", "2000"))
PART: Final = 50


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_mirror_holds_what_the_journal_says_once_in_order(ram: Path, figure: Figure) -> None:
    """Thousands of lives, networks and journals; the first seed that fails says how to repeat it.

    Requests and replies are lost, arrive late or twice, sessions are evicted, the cluster restarts
    and its clock is behind; the mirror is killed at any step, and finds its cursor, an older one,
    or none.
    """
    figures = Figures()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    last = SEED + SEEDS
    with ProcessPoolExecutor(cores, fork_server()) as pool:
        futures = [
            pool.submit(try_seeds, ram, range(first, min(last, first + PART)))
            for first in range(SEED, last, PART)
        ]
        try:
            for future in as_completed(futures):
                figures.add(future.result())
        finally:
            pool.shutdown(cancel_futures=True)
    assert figures.seeds == SEEDS
    if SEEDS >= 100:
        assert 2 * figures.lives > 3 * SEEDS
        assert figures.faults > 4 * SEEDS
        assert figures.transfers > 10 * SEEDS
        assert figures.out_of_order < SEEDS // 8
    if SEEDS >= 1_000:  # of 1,000 seeds some are; of 100, often none
        assert figures.out_of_order > 0
    figure(
        "mirror faults",
        "all held once, in order, or up to an import from before an expiry",
        seed=SEED,
        seeds=figures.seeds,
        lives_of_a_mirror=figures.lives,
        faults=figures.faults,
        transfers=figures.transfers,
        journals_mirrored_in_part=figures.out_of_order,
    )


def test_a_seed_can_be_replayed(ram: Path) -> None:
    """The same seed fails in the same ways at the same moments."""
    stories = []
    for name in ("one", "other"):
        for seed in range(1, 6):
            folder = ram / f"{name}-{seed}"
            folder.mkdir()
            with alike(str(seed)):
                trial = Trial(folder, seed)
                figures = trial.run()
            stories.append((figures, trial.network.told, trial.cluster.requests))
    assert stories[:5] == stories[5:]
    assert any(told for _, told, _ in stories)


def test_some_seeds(ram: Path) -> None:
    """A few of them, for whoever runs the fast tests alone."""
    assert try_seeds(ram, range(10_001, 10_031)).lives > 30
