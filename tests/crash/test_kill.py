"""SIGKILL at any moment: nothing acknowledged is lost, and nothing is invented."""

from __future__ import annotations

import os
import random
from collections import Counter
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

import pytest

from journal.verification import verify
from projections.audit import audit
from projections.ledger import Ledger
from tests.crash.forking import fork_server
from tests.crash.recount import Expected
from tests.crash.writing import acknowledgements_in, open_ledger, write_and_tell

DIRECTORIES: Final = 4
KILLS: Final = 50
KILLS_LONG: Final = 500
"""In each directory, one after the other."""

LIFE_SECONDS_MAX: Final = 0.06


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """A server that has everything imported and forks the writers, one after the other."""
    return fork_server()


def killed_writer(
    context: ForkServerContext, path: Path, life: int, chance: random.Random
) -> Counter[int]:
    """Start a writer, kill it at a random moment; the last batch acknowledged to each thread."""
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=write_and_tell, args=(path, life, sending))
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


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("directory", range(DIRECTORIES))
def test_a_killed_writer_loses_and_invents_nothing(
    tmp_path: Path, processes: ForkServerContext, directory: int, is_long: bool
) -> None:
    """After each of many kills of the same ledger, it holds what was acknowledged, and adds up."""
    seed = int(os.environ.get("NOSTRO_SEED", "1")) * 1_000 + directory
    chance, expected, path = random.Random(seed), Expected(), tmp_path / "ledger"
    kills = KILLS_LONG if is_long else KILLS
    acknowledgements = 0
    for life in range(1, kills + 1):
        acknowledged = killed_writer(processes, path, life, chance)
        acknowledgements += sum(acknowledged.values())
        if not (path / "HEAD").exists():
            continue  # killed while it was made; nothing can have been acknowledged
        read_only = chance.random() < 0.5  # then the next writer recovers, and may die doing it
        with Ledger.open(path, read_only=True) if read_only else open_ledger(path) as ledger:
            expected.read_on(path)
            expected.check(ledger)
            expected.check_acknowledged(ledger, life, acknowledged)
    assert acknowledgements > kills
    open_ledger(path).close()
    expected.read_on(path)
    assert verify(path).position == expected.position
    assert audit(path).passed
