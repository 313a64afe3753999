"""What a writer does when it is to die at a certain point: the same each time, to the last event.

Accounts, requests of every kind, expiry, segments as small as can be, checkpoints with index runs,
merges, and closing and opening in between. Whoever runs it on what a crash left goes on with the
first request that is not there yet, and ends with the very same ledger.

Everything happens on the calling thread, so that each system call has its number; how threads meet
is for ``test_kill``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro.journal.format.events import Event
from nostro.journal.model import Account, AccountFlags, Transfer, TransferFlags
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing import writer as writer_module
from nostro.projections.checkpoints.audit import audit
from nostro.projections.indexes.merger import Merger
from nostro.projections.ledger.ledger import Ledger
from tests.clocks import HandClock
from tests.ledgers import ACCOUNTS, SEGMENT_BYTES_MAX, transfer

REQUESTS: Final = 24
CHECKPOINTS: Final = range(3, REQUESTS, 3)
"""Written after these requests; so many that runs are merged, and once more what was merged."""
REOPENED: Final = (10, 17)
"""The ledger is closed and opened after these requests."""
NEVER_SECONDS: Final = 1e6
START_NS: Final = 10**18
REQUEST_NS: Final = 900_000_000
"""From one request to the next; what expires does so between two."""
TIMEOUT_SECONDS: Final = 2


@attrs.frozen
class Truth:
    """The ledger that the script makes when nothing disturbs it."""

    ends: tuple[int, ...]
    """The position after each request."""
    states: dict[int, bytes]
    """The hash of the state after each record; 0 is the empty ledger's."""
    events: list[Event]

    @property
    def position(self) -> int:
        return self.ends[-1]

    @classmethod
    def of(cls, path: Path) -> Truth:
        """Run the script in ``path``, where nothing is yet."""
        ends: list[int] = []
        states: dict[int, bytes] = {}

        def note(ledger: Ledger) -> None:
            states[ledger.position] = ledger.state_sha256()

        run(path, (), ends.append, after=note)
        with open_ledger(path.with_name("empty"), HandClock()) as empty:
            note(empty)
        events: list[Event] = []
        between: list[int] = []
        for record in Reader(path).records():
            events.extend(record.events())
            between.append(record.position_last)
        for position in set(between) - states.keys():
            with Ledger.open(path, read_only=True) as ledger:
                restored = ledger.at(position=position)
                states[position] = restored.state_sha256()
        return cls(tuple(ends), states, events)


def transfers(number: int) -> list[Transfer]:
    """The request of that number, from 1 on: plain ones, two-phase ones, and one refused."""
    first = number * 10
    made = [_plain(first + index) for index in range(2 + number % 3)]
    if number % 4 == 1:
        made.append(_pending(first + 7))
    elif number % 4 == 2:
        made.append(_resolving(first + 7, first - 3, TransferFlags.POST_PENDING_TRANSFER))
    elif number % 4 == 3:
        made.append(_pending(first + 8))
        made.append(attrs.evolve(_plain(first + 9), debit_account_id=99))
    elif number % 8 == 4:
        made.append(_resolving(first + 8, first - 2, TransferFlags.VOID_PENDING_TRANSFER))
    return made


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """Merges happen where they become due, and HEAD is synced only where order demands it."""
    with pytest.MonkeyPatch.context() as patch:
        # private: operations keep their order only without timers
        patch.setattr(writer_module, "HEAD_SYNC_SECONDS_MAX", NEVER_SECONDS)
        # private: operations keep their order only without threads
        patch.setattr(Merger, "start", Merger._merge_due)
        # private: operations keep their order only without threads
        patch.setattr(Merger, "wake", Merger._merge_due)
        yield


def open_ledger(
    path: Path, clock: Callable[[], int] | None = None, storage: Storage | None = None
) -> Ledger:
    """With checkpoints only when asked for, and nothing done by timers."""
    return Ledger.open(
        path,
        segment_bytes_max=SEGMENT_BYTES_MAX,
        checkpoint_events=1_000_000,
        checkpoint_seconds=NEVER_SECONDS,
        expiry_seconds=NEVER_SECONDS,
        clock=clock or HandClock(START_NS),
        storage=storage,
    )


def run(
    path: Path,
    ends: tuple[int, ...],
    acknowledge: Callable[[int], None],
    *,
    after: Callable[[Ledger], None] = lambda _: None,
    storage: Storage | None = None,
) -> None:
    """Open the ledger, do what is not done yet, and close it.

    Args:
        ends: :attr:`Truth.ends`; without them the script begins at the beginning.
        acknowledge: told the position after each answer.
        after: called after each answer.
    """
    clock = HandClock(START_NS)
    ledger = open_ledger(path, clock, storage)
    for number in range(bisect_right(ends, ledger.position), REQUESTS + 1):
        clock.now = START_NS + number * REQUEST_NS
        if number:
            ledger.create_transfers(transfers(number))
        else:
            ledger.create_accounts(accounts())
        acknowledge(ledger.position)
        after(ledger)
        if number in CHECKPOINTS:
            ledger.checkpoint()
        if number in REOPENED:
            ledger.close()
            ledger = open_ledger(path, clock, storage)
    ledger.close()


def run_and_tell(path: Path, pipe: int) -> None:
    """Run the script where nothing is yet, with 8 bytes on ``pipe`` after each answer."""

    def tell(position: int) -> None:
        os.write(pipe, position.to_bytes(8))

    with on_one_thread():
        run(path, (), tell)


def recover_only(path: Path, pipe: int) -> None:
    with on_one_thread():
        open_ledger(path).close()


def accounts() -> list[Account]:
    history, none = AccountFlags.HISTORY, AccountFlags.NONE
    return [
        Account(id=id_, ledger=1, code=1, flags=history if id_ % 2 else none) for id_ in ACCOUNTS
    ]


def check_prefix(path: Path, truth: Truth, *, acknowledged: int) -> None:
    """What a crash left is a prefix with all that was acknowledged, and can be gone on with."""
    if (path / "HEAD").exists():
        with Ledger.open(path, read_only=True) as ledger:
            check_position(ledger, truth, acknowledged)
    with open_ledger(path) as ledger:
        check_position(ledger, truth, acknowledged)
    report = verify(path)
    found = [event for record in Reader(path).records() for event in record.events()]
    assert found == truth.events[: report.position]
    run(path, truth.ends, lambda _: None)
    check_whole(path, truth)


def check_position(ledger: Ledger, truth: Truth, acknowledged: int) -> None:
    position = ledger.position
    assert position >= acknowledged, f"{acknowledged - position} acknowledged events lost"
    assert position in truth.states, "the journal ends inside a request"
    assert ledger.state_sha256() == truth.states[position]


def check_whole(path: Path, truth: Truth) -> None:
    """The ledger is the one that the script makes undisturbed."""
    assert verify(path).position == truth.position
    assert [event for record in Reader(path).records() for event in record.events()] == truth.events
    assert audit(path).passed
    with Ledger.open(path, read_only=True) as ledger:
        assert ledger.state_sha256() == truth.states[truth.position]


def _plain(id_: int) -> Transfer:
    """With bits that do not compress, so that segments fill up."""
    bits = int.from_bytes(hashlib.sha256(id_.to_bytes(8)).digest()[:16])
    return attrs.evolve(transfer(id_), user_data_128=bits)


def _pending(id_: int) -> Transfer:
    return attrs.evolve(_plain(id_), flags=TransferFlags.PENDING, timeout=TIMEOUT_SECONDS)


def _resolving(id_: int, pending_id: int, flags: TransferFlags) -> Transfer:
    return Transfer(
        id=id_, pending_id=pending_id, flags=flags,
        amount=2**128 - 1 if flags is TransferFlags.POST_PENDING_TRANSFER else 0,
    )  # fmt: skip
