"""The demonstration's acts. Each does something real and returns what it found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from nostro import journal
from nostro.journal import CreateTransferStatus, Cursor, Reader, RecordKind, VerifyReport
from nostro.projections import AuditReport, Ledger, OpenReport, audit
from nostro.tools.demo.world import HOUR_NS, WALLET_FIRST, WALLETS, World

BATCH: Final = 2_000
KILL_SHARE: Final = 0.6
MOMENTS_HOURS: Final = (9, 13, 21)

Progress = Callable[[int], None]
"""Called with how many transfers are acknowledged."""


@attrs.frozen
class Killed:
    """What the writer had acknowledged when it was killed."""

    acknowledged: int
    seconds: float
    process_id: int


@attrs.frozen
class Survived:
    """What the ledger held after recovery."""

    report: OpenReport
    acknowledged: int
    found: int
    """Acknowledged transfers that are in the journal."""
    unacknowledged: int
    """Transfers that reached the disk, but were not acknowledged."""
    invented: int
    """Transfers in the journal that the writer never sent."""


@attrs.frozen
class Moment:
    timestamp: int
    balance: int
    expected: int


def write_and_kill(path: Path, world: World, *, seed: int, progress: Progress) -> Killed:
    """Let a process write the world, and kill it with SIGKILL before the end."""
    command = [sys.executable, "-m", "nostro.tools.demo.writer", str(path)]
    numbers = (len(world.transfers) - WALLETS, world.midnight_ns, seed, BATCH)
    began = time.perf_counter()
    acknowledged = 0
    with subprocess.Popen(
        [*command, *map(str, numbers)],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C is for this process, which kills the writer
    ) as process:
        if process.stdout is None:
            raise AssertionError("the writer was started without a pipe")
        try:
            for line in process.stdout:
                acknowledged = int(line)
                progress(acknowledged)
                if acknowledged >= len(world.transfers) * KILL_SHARE:
                    break
        finally:
            process.kill()
        # The lines that it wrote before it died count as well.
        for line in process.stdout:
            acknowledged = int(line) if line.endswith("\n") else acknowledged
    return Killed(acknowledged, time.perf_counter() - began, process.pid)


def recover(path: Path, world: World, killed: Killed) -> Survived:
    """Open the ledger again, and look in the journal for every acknowledged transfer."""
    with Ledger.open(path) as ledger:
        report = ledger.report
    present = np.concatenate(
        [part.rows["id"] for part in Reader(path).parts(Cursor(position=1))
         if part.kind is RecordKind.TRANSFERS]
        or [np.empty((0, 2), np.uint64)]
    )  # fmt: skip
    asked = world.transfers["id"][:, 0]  # numbers from 1 on, in order
    found = np.isin(asked, present[:, 0])
    return Survived(
        report=report,
        acknowledged=killed.acknowledged,
        found=int(found[: killed.acknowledged].sum()),
        unacknowledged=int(found[killed.acknowledged :].sum()),
        invented=int((~np.isin(present[:, 0], asked)).sum()),
    )


def finish(path: Path, world: World, killed: Killed, *, progress: Progress) -> tuple[int, int]:
    """Send the unacknowledged transfers again; return (newly created, already there)."""
    created = existed = 0
    with Ledger.open(path) as ledger:
        for start in range(killed.acknowledged, len(world.transfers), BATCH):
            statuses = ledger.create_transfers(world.transfers[start : start + BATCH])["status"]
            created += int((statuses == CreateTransferStatus.CREATED).sum())
            existed += int((statuses == CreateTransferStatus.EXISTS).sum())
            progress(start + len(statuses))
    return created, existed


def walk_back(path: Path, world: World) -> list[Moment]:
    """Return a wallet's balance at three past times, with a plain sum over its payments."""
    moments = []
    with Ledger.open(path, read_only=True) as ledger:
        for hour in MOMENTS_HOURS:
            timestamp = world.midnight_ns + hour * HOUR_NS
            [account] = ledger.at(timestamp=timestamp).lookup_accounts([WALLET_FIRST])
            moments.append(
                Moment(
                    timestamp,
                    account.credits_posted - account.debits_posted,
                    world.balance_at(WALLET_FIRST, timestamp),
                )
            )
    return moments


def prove(path: Path) -> tuple[VerifyReport, AuditReport]:
    """Read every byte again, replay every event, and compare."""
    return journal.verify(path), audit(path)
