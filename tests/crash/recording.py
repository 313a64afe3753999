"""What the power fails under: the script's requests, written in groups left to chance."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from nostro.journal.format.codec import RecordKind
from nostro.journal.reading.reader import Reader
from nostro.journal.rows import transfer_rows
from nostro.projections.checkpoints.restore import apply_record
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.state.ledger_state import LedgerState
from tests.clocks import HandClock
from tests.crash.power_cut import Tape
from tests.crash.script import (
    REQUEST_NS,
    REQUESTS,
    START_NS,
    accounts,
    on_one_thread,
    open_ledger,
    transfers,
)
from tests.ledgers import pipeline


@attrs.frozen
class Truth:
    """What the workload wrote."""

    states: dict[int, bytes]
    """The hash of the state after each record."""
    links: dict[int, bytes]
    """The chain's last link after each record."""
    segments: dict[str, bytes]


@contextmanager
def alike(seed: str) -> Iterator[None]:
    """Whatever would differ from one run to the next follows from ``seed``."""
    with on_one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", random.Random(seed).randbytes)
        patch.setattr(time, "time_ns", lambda: START_NS)
        yield


def record_workload(path: Path, seed: str) -> tuple[Tape, Truth]:
    """Run a workload in ``path``, which is not there yet."""
    path.parent.mkdir()
    end, tape = path.with_name("end"), Tape()
    with alike(seed):
        workload(path, end, tape, random.Random(seed))
    state = LedgerState()
    states, links = {0: state.sha256()}, {0: bytes(32)}
    for record in Reader(end).records():
        apply_record(state, record)
        links[record.position_last] = record.sha256
        states[record.position_last] = state.sha256()
    segments = {file.name: file.read_bytes() for file in (end / "segments").iterdir()}
    assert len(segments) >= 3
    return tape, Truth(states, links, segments)


def workload(path: Path, end: Path, tape: Tape, chance: random.Random) -> None:
    """The script's requests in groups, checkpoints, reopening, and an abrupt end, kept in ``end``.

    What is written together, and when there is a checkpoint, is left to chance.
    """
    clock, number = HandClock(START_NS), 1
    ledger = open_ledger(path, clock, tape)
    ledger.create_accounts(accounts())
    tape.promise(ledger.position)
    while number <= REQUESTS:
        group = range(number, min(number + chance.choice((1, 1, 2, 3)), REQUESTS + 1))
        create_group(ledger, clock, group)
        tape.promise(ledger.position)
        if chance.random() < 0.5:
            ledger.checkpoint()
        if chance.random() < 0.15:
            ledger.close()
            ledger = open_ledger(path, clock, tape)
        number = group.stop
    shutil.copytree(path, end)
    operations = len(tape.operations)
    ledger.close()
    del tape.operations[operations:]


def create_group(ledger: Ledger, clock: HandClock, group: range) -> None:
    """Requests decided one after the other and written as one group."""
    clock.now = START_NS + group[-1] * REQUEST_NS
    for number in group:
        rows = transfer_rows(transfers(number))
        assert pipeline(ledger).decide(RecordKind.TRANSFERS, rows)[1] is not None
    pipeline(ledger).finish()
