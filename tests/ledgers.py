"""Small ledgers for crash tests: what they hold follows from numbers, and every state is known."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from nostro.journal.model import Account, CreateAccountStatus, CreateTransferStatus, Transfer
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.files import Storage
from nostro.projections.indexes.run_stack import RunStack
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.pipeline.pipeline import Pipeline
from tests.clocks import HandClock

ACCOUNTS = range(1, 9)
SEGMENT_BYTES_MAX = 4096


@attrs.define
class History:
    """What a ledger held after each record: position -> hash of its state."""

    states: dict[int, bytes] = attrs.field(factory=lambda: {0: b""})

    def note(self, ledger: Ledger) -> None:
        self.states[ledger.position] = ledger.state_sha256()

    @property
    def position(self) -> int:
        return max(self.states)


def copy_while_open(source: Path, target: Path) -> None:
    """A copy, file by file; what a checkpoint in the background removes meanwhile is left out."""
    target.mkdir(mode=0o700)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            copy_while_open(path, target / path.name)
        else:
            with contextlib.suppress(FileNotFoundError):
                (target / path.name).write_bytes(path.read_bytes())


def transfer(number: int) -> Transfer:
    """The transfer of that number; every field follows from it."""
    debit = number * 7 % len(ACCOUNTS)
    credit = (debit + 1 + number % (len(ACCOUNTS) - 1)) % len(ACCOUNTS)
    return Transfer(
        id=number,
        debit_account_id=ACCOUNTS[debit],
        credit_account_id=ACCOUNTS[credit],
        amount=number % 1_000 + 1,
        user_data_128=pow(number, 5, 2**127 - 1),
        user_data_64=pow(number, 3, 2**61 - 1),
        ledger=1,
        code=1 + number % 9,
    )


def open_ledger(
    path: Path, storage: Storage | None = None, *, clock: Callable[[], int] = time.time_ns
) -> Ledger:
    """With segments as small as can be, and checkpoints only when asked for."""
    return Ledger.open(
        path,
        segment_bytes_max=SEGMENT_BYTES_MAX,
        checkpoint_events=1_000_000,
        checkpoint_seconds=3_600,
        storage=storage,
        clock=clock,
    )


def create_accounts(ledger: Ledger) -> None:
    results = ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in ACCOUNTS])
    assert {result.status for result in results} <= {
        CreateAccountStatus.CREATED,
        CreateAccountStatus.EXISTS,
    }


def create_transfers(ledger: Ledger, first: int, count: int) -> None:
    results = ledger.create_transfers([transfer(n) for n in range(first, first + count)])
    assert {result.status for result in results} == {CreateTransferStatus.CREATED}


def write_ledger(path: Path, *, records: int) -> History:
    """A closed ledger of several segments, two checkpoints, a manifest and index runs.

    Transfers follow on the last checkpoint but one, and on none but the last. Two such ledgers
    differ in nothing but their identity.
    """
    history = History()
    ledger = open_ledger(path, clock=HandClock(10**18))
    history.states[0] = ledger.state_sha256()
    create_accounts(ledger)
    history.note(ledger)
    first = 1
    for record in range(records):
        count = record % 3 + 1
        create_transfers(ledger, first, count)
        history.note(ledger)
        first += count
        if record == records // 2:
            ledger.checkpoint()
    ledger.close()
    return history


def transfers_in(path: Path) -> list[int]:
    """The ids of all durable transfers in order, each checked field by field."""
    ids = []
    for record in Reader(path).records():
        for event in record.events():
            found = getattr(event, "transfer", None)
            if found is not None:
                assert attrs.evolve(found, timestamp=0) == transfer(found.id)
                ids.append(found.id)
    return ids


def pipeline(ledger: Ledger) -> Pipeline:
    """What carries the requests of a ledger that is open for writing."""
    carrying = ledger._pipeline  # private: the moments that tests need lie inside it
    assert carrying is not None
    return carrying


def index_stacks(ledger: Ledger) -> tuple[RunStack[Any], ...]:
    """The runs of each index, that of transfer ids first."""
    return ledger._indexes.stacks  # private: answers are the same, however many runs there are
