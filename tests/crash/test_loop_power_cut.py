"""Power cuts of a real file system: nothing acknowledged is lost, invented or reordered."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

import pytest

from nostro import Account, Ledger, backup, restore, verify
from nostro.projections.checkpoints.audit import audit
from tests.crash.forking import fork_server
from tests.crash.loop_disk import LoopDisk, MayNotMount
from tests.crash.recount import Expected
from tests.crash.writing import (
    ACCOUNTS,
    Batch,
    acknowledgements_in,
    open_ledger,
    write_until_cut,
)
from tests.figures import Figure

LEDGERS: Final = 2
LEDGERS_LONG: Final = 40
CUTS: Final = 25
"""Of each ledger, one after the other."""

LIFE_SECONDS_MAX: Final = 0.06
UNCHECKED: Final = 0.3
"""Of the cuts, after which the next writer recovers what nobody looked at, and may be cut off."""

SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))


@pytest.fixture
def disk(ram: Path) -> Iterator[LoopDisk]:
    try:
        disk = LoopDisk(ram)
    except MayNotMount as error:
        pytest.skip(f"no power of a real file system is cut here: {error}")
    try:
        yield disk
    finally:
        disk.close()


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return fork_server()


def cut_writer(
    context: ForkServerContext, disk: LoopDisk, path: Path, life: int, chance: random.Random
) -> Counter[int]:
    """Start a writer and cut the power at a random moment; what each thread last heard of."""
    receiving, sending = context.Pipe(duplex=False)
    with receiving:
        process = context.Process(target=write_until_cut, args=(path, life, sending), daemon=True)
        process.start()
        sending.close()
        try:
            if chance.random() < 0.7:
                wait([receiving, process.sentinel], timeout=60)  # for the first acknowledgement
            process.join(chance.random() * LIFE_SECONDS_MAX)
            assert process.is_alive(), "the writer ended by itself"
            disk.cut_power()
        finally:
            process.kill()
            acknowledged = acknowledgements_in(receiving)
            process.join()
            process.close()
    return acknowledged


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_a_real_power_cut_loses_and_invents_nothing(
    disk: LoopDisk, processes: ForkServerContext, figure: Figure, is_long: bool
) -> None:
    """After each of many cuts the ledger opens, holds what was acknowledged, and adds up."""
    acknowledgements = checks = 0
    ledgers = LEDGERS_LONG if is_long else LEDGERS
    for number in range(ledgers):
        chance, expected = random.Random(f"{SEED}-{number}"), Expected()
        path = disk.path / f"ledger-{number}"
        unchecked: dict[int, Counter[int]] = {}
        for life in range(1, CUTS + 1):
            try:
                unchecked[life] = cut_writer(processes, disk, path, life, chance)
                acknowledgements += sum(unchecked[life].values())
                disk.mount_again()
                if chance.random() < UNCHECKED and life < CUTS:
                    continue
                check(path, expected, unchecked)
            except BaseException as error:
                error.add_note(f"NOSTRO_SEED={SEED}, ledger {number}, cut {life}")
                raise
            unchecked.clear()
            checks += 1
        assert audit(path).passed
    assert acknowledgements > checks
    figure(
        "real power cuts",
        "nothing lost or invented",
        seed=SEED,
        ledgers=ledgers,
        cuts=ledgers * CUTS,
        requests_acknowledged=acknowledgements,
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["checkpoint", "backup", "restored"])
def test_what_is_in_place_stays_through_a_power_cut(
    disk: LoopDisk, processes: ForkServerContext, figure: Figure, what: str
) -> None:
    """As soon as whoever asked for it is told: its name was synced, and not only its bytes.

    ext4 puts names on disk together with whatever is synced next, so this shows only where nothing
    is: the last thing that is done before the power fails.
    """
    receiving, sending = processes.Pipe()
    process = processes.Process(target=PLACING[what], args=(disk.path, sending), daemon=True)
    process.start()
    sending.close()
    try:
        placed = receiving.recv()
        disk.cut_power()
    finally:
        process.kill()
        process.join()
        receiving.close()
    disk.mount_again()
    assert placed.exists(), f"{placed} is gone"
    assert verify(placed if placed.is_dir() else disk.path / "ledger").position > len(ACCOUNTS)
    figure("real power cuts just after something was in place", "it is there", seed=None, cuts=1)


def checkpoint_and_wait(folder: Path, pipe: Connection) -> None:
    ledger = write_some(folder / "ledger")
    pipe.send(ledger.checkpoint().path)
    pipe.recv()


def back_up_and_wait(folder: Path, pipe: Connection) -> None:
    write_some(folder / "ledger").close()
    backup(folder / "ledger", folder / "backup")
    pipe.send(folder / "backup")
    pipe.recv()


def restore_and_wait(folder: Path, pipe: Connection) -> None:
    write_some(folder / "ledger").close()
    restore(folder / "ledger", folder / "restored")
    pipe.send(folder / "restored")
    pipe.recv()


PLACING: Final = {
    "checkpoint": checkpoint_and_wait,
    "backup": back_up_and_wait,
    "restored": restore_and_wait,
}


def write_some(path: Path) -> Ledger:
    ledger = open_ledger(path)
    ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in ACCOUNTS])
    ledger.create_transfers(Batch(1, 0, 1).transfers())
    return ledger


def check(path: Path, expected: Expected, unchecked: dict[int, Counter[int]]) -> None:
    """Recover, and hold the journal against all that was acknowledged since the last look."""
    with open_ledger(path) as ledger:
        expected.read_on(path)
        expected.check(ledger)
        for life, acknowledged in unchecked.items():
            expected.check_acknowledged(ledger, life, acknowledged)
    assert verify(path).position == expected.position
