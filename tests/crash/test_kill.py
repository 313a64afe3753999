"""SIGKILL at any moment: nothing acknowledged is lost, and nothing is invented.

Every other ledger lies in memory: on a disk most kills come while the writer waits for a sync, in
memory they come anywhere.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import traceback
from collections import Counter
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro.journal.upkeep.verification import verify
from nostro.projections.checkpoints.audit import audit
from nostro.projections.ledger.ledger import Ledger
from tests.crash.forking import at_once, cores
from tests.crash.recount import Expected
from tests.crash.writing import acknowledgements_in, open_ledger, write_and_tell
from tests.figures import Figure

LEDGERS: Final = 20
LEDGERS_LONG: Final = 100
KILLS: Final = 50
KILLS_LONG: Final = 100
"""Of writers of each ledger, one after the other."""
AT_ONCE: Final = 3
"""Ledgers for each core: they wait for the disk, and for the moment to kill."""

LIFE_SECONDS_MAX: Final = 0.06
SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))
ONLY: Final = os.environ.get("NOSTRO_LEDGER")
"""The number of one ledger, as a failing test names it."""


@attrs.frozen
class Job:
    """A ledger whose writers are killed, and how often."""

    path: Path
    number: int
    kills: int
    kept: Path
    """Where it is put if something is wrong: what is in memory is removed."""

    def report(self, life: int) -> str:
        """What went wrong, where to look, and how to try again."""
        if self.path.exists():
            shutil.copytree(self.path, self.kept)
        return (
            f"{traceback.format_exc()}\nafter kill {life} of ledger {self.number}, kept in"
            f" {self.kept}\nreplay: NOSTRO_SEED={SEED} NOSTRO_LEDGER={self.number}"
            " python -m pytest tests/crash/test_kill.py"
        )


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_killed_writer_loses_and_invents_nothing(
    tmp_path: Path, ram: Path, figure: Figure, is_long: bool
) -> None:
    """After each of many kills of the same ledger, it holds what was acknowledged, and adds up."""
    numbers = range(LEDGERS_LONG if is_long else LEDGERS) if ONLY is None else [int(ONLY)]
    kills = KILLS_LONG if is_long else KILLS
    jobs = [
        Job((tmp_path, ram)[number % 2] / f"{number}", number, kills, tmp_path / f"kept-{number}")
        for number in numbers
    ]
    acknowledged = at_once(AT_ONCE * cores(), [partial(kill_often, job) for job in jobs])
    assert len(acknowledged) == len(jobs)
    assert min(acknowledged) > kills
    figure(
        "SIGKILL at random moments",
        "nothing lost or invented",
        seed=SEED,
        ledgers=len(jobs),
        kills=len(jobs) * kills,
        requests_acknowledged=sum(acknowledged),
    )


def kill_often(job: Job) -> int:
    """Kill writers of a ledger, one after the other; how many requests they acknowledged.

    Raises:
        AssertionError: a promise was broken; says where.
    """
    chance, expected = random.Random(f"{SEED}-{job.number}"), Expected()
    acknowledgements = life = 0
    try:
        for life in range(1, job.kills + 1):
            acknowledged = killed_writer(job.path, life, chance)
            acknowledgements += sum(acknowledged.values())
            if not (job.path / "HEAD").exists():
                continue  # killed while it was made; nothing can have been acknowledged
            read_only = chance.random() < 0.5  # then the next writer recovers, and may die doing it
            with (
                Ledger.open(job.path, read_only=True) if read_only else open_ledger(job.path)
            ) as ledger:
                expected.read_on(job.path)
                expected.check(ledger)
                expected.check_acknowledged(ledger, life, acknowledged)
        open_ledger(job.path).close()
        expected.read_on(job.path)
        assert verify(job.path).position == expected.position
        assert audit(job.path).passed
    except Exception:  # noqa: BLE001 - it is told in words: not each kind can be sent on
        raise AssertionError(job.report(life)) from None
    return acknowledgements


def killed_writer(path: Path, life: int, chance: random.Random) -> Counter[int]:
    """Start a writer, kill it at a random moment; the last batch acknowledged to each thread."""
    context = multiprocessing.get_context("fork")  # in a process without threads
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=write_and_tell, args=(path, life, sending), daemon=True)
    process.start()
    sending.close()
    if chance.random() < 0.8:
        wait([receiving, process.sentinel], timeout=60)  # for the first acknowledgement
    process.join(chance.random() * LIFE_SECONDS_MAX)
    assert process.is_alive(), "the writer ended by itself"
    process.kill()
    acknowledged = acknowledgements_in(receiving)
    process.join()
    process.close()
    receiving.close()
    return acknowledged
