"""A disk that fails: at any operation of a ledger's life, no answer is false and no book is wrong.

The life holds opening, recovery, requests, rotation, sealing, checkpoints, index runs and closing,
twice. The journal alone, under the same faults, is in tests/unit/test_writer_faults.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from nostro.journal.errors import JournalFull, NoRoomToRecover, WriterPoisoned
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing import writer as writer_module
from nostro.projections.checkpoints.audit import audit
from nostro.projections.ledger.ledger import Ledger
from tests.descriptors import open_files
from tests.figures import Figure
from tests.ledgers import (
    ACCOUNTS,
    copy_while_open,
    create_accounts,
    create_transfers,
    open_ledger,
    transfers_in,
)
from tests.storages import CHANGES, FaultyStorage

OPERATIONS: Final = CHANGES | {"open_read", "close", "size", "read", "names", "try_lock"}
NEVER: Final = 10**9
REQUESTS: Final = 12
SIZE: Final = 3
"""Transfers in a request."""
FAULTS: Final = 16
"""How many operations fail, each in a life of its own, unless every one does."""
SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))

CODES: Final = {
    "EIO": (errno.EIO, OPERATIONS),
    "ENOSPC": (errno.ENOSPC, OPERATIONS),
    "EMFILE": (errno.EMFILE, {"create", "open_read", "open_write", "sync_directory", "names"}),
}
"""What fails in which way; a write that fails has written half of what it should."""


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEAD is synced only where the order of operations demands it, so operations keep count."""
    # private: operations keep their count only without timers
    monkeypatch.setattr(writer_module, "HEAD_SYNC_SECONDS_MAX", 3_600)


class Life:
    """A ledger's life on a disk that fails; what it heard about transfers 1, 2, 3 and so on."""

    def __init__(self, path: Path, storage: FaultyStorage, *, promised: int) -> None:
        self.acknowledged = promised
        self.attempted = promised
        self.balances_seen = True
        self._path = path
        self._storage = storage

    def live(self) -> None:
        """Open, post and close, twice; end early where a program would have to."""
        for _ in range(2):
            try:
                ledger = open_ledger(self._path, self._storage)
            except (OSError, NoRoomToRecover):
                return
            try:
                self._post(ledger)
            except (OSError, WriterPoisoned):
                return
            finally:
                with contextlib.suppress(OSError, WriterPoisoned):
                    ledger.close()

    def _post(self, ledger: Ledger) -> None:
        assert self.acknowledged <= ledger.transfer_count <= self.attempted
        self.acknowledged = self.attempted = ledger.transfer_count
        self._until_there_is_room(partial(create_accounts, ledger))
        for request in range(REQUESTS):
            first = self.acknowledged + 1
            self.attempted = max(self.attempted, first + SIZE - 1)
            self._until_there_is_room(partial(create_transfers, ledger, first, SIZE))
            self.acknowledged += SIZE
            posted = sum(one.debits_posted for one in ledger.lookup_accounts(ACCOUNTS))
            self.balances_seen &= posted == sum(
                number % 1_000 + 1 for number in range(1, self.acknowledged + 1)
            )
            if request % 4 == 2:
                with contextlib.suppress(OSError):
                    ledger.checkpoint()

    def _until_there_is_room(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except JournalFull:
            self._storage.repair()
            ask()


def leave_crashed(path: Path) -> int:
    """A ledger whose writer died: records past a stale HEAD, the last one torn, leftovers.

    Returns how many transfers are whole.
    """
    original = path.with_name("original")
    with open_ledger(original) as ledger:
        create_accounts(ledger)
        for first in range(1, 34, SIZE):
            create_transfers(ledger, first, SIZE)
        ledger.checkpoint()
        stale = (original / "HEAD").read_bytes()
        for first in range(34, 61, SIZE):
            create_transfers(ledger, first, SIZE)
        copy_while_open(original, path)
    shutil.rmtree(original)
    (path / "HEAD").write_bytes(stale)
    active = max((path / "segments").iterdir())
    os.truncate(active, len(active.read_bytes().rstrip(b"\0")) - 16)
    for folder in (".", "segments", "checkpoints", "indexes"):
        (path / folder / "left.tmp").touch()
    return 57


def operations_to_fail(count: int, is_long: bool) -> Sequence[int]:
    if is_long:
        return range(1, count + 1)
    return sorted(random.Random(SEED).sample(range(1, count + 1), FAULTS))


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("is_crashed", [False, True], ids=["new", "after a crash"])
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES)
def test_no_fault_in_a_ledgers_life_makes_an_answer_false(
    ram: Path, code: str, for_ever: bool, is_crashed: bool, figure: Figure, is_long: bool
) -> None:
    """Whichever operation fails: reopened on a sound disk, it holds what was acknowledged.

    It holds at most what was asked for, and adds up. While it lived, its balances were those of
    what had been acknowledged.
    """
    number, only = CODES[code]
    left = ram / "left"
    promised = leave_crashed(left) if is_crashed else 0

    def life(fail_at: int) -> tuple[FaultyStorage, Life]:
        path = ram / f"ledger-{fail_at}"
        if is_crashed:
            shutil.copytree(left, path)
        storage = FaultyStorage(fail_at, number, for_ever=for_ever, only=only)
        lived = Life(path, storage, promised=promised)
        lived.live()
        return storage, lived

    undisturbed, lived = life(NEVER)
    assert lived.acknowledged == promised + 2 * REQUESTS * SIZE
    assert undisturbed.calls > 50
    failing = operations_to_fail(undisturbed.calls, is_long)
    for fail_at in failing:
        storage, lived = life(fail_at)
        path = ram / f"ledger-{fail_at}"
        try:
            assert lived.balances_seen
            with open_ledger(path) as again:
                position, state = again.position, again.state_sha256()
            found = transfers_in(path)
            assert found == list(range(1, len(found) + 1))
            assert lived.acknowledged <= len(found) <= lived.attempted
            assert verify(path).position == position
            report = audit(path)
            assert report.passed
            assert report.state_sha256 == state
            assert not list(path.rglob("*.tmp"))
            assert not open_files(ram)
        except BaseException as error:
            error.add_note(f"operation {fail_at} failed: {storage.failed[:1]}, left in {path}")
            raise
        shutil.rmtree(path)
    figure(
        "faults in a ledger's life", "all answers true", seed=SEED, ways=1, operations=len(failing)
    )
