"""The process that is killed: writes to a ledger from several threads, and tells what it heard."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import JournalError
from nostro.journal.model import Account, CreateAccountStatus, CreateTransferStatus, Transfer
from nostro.projections.ledger.ledger import Ledger

THREADS: Final = 4
ACCOUNTS: Final = range(1, 9)
SEGMENT_BYTES_MAX: Final = 16 * 1024
CHECKPOINT_EVENTS: Final = 150
ACKNOWLEDGEMENT: Final = struct.Struct("<HI")
"""Thread and batch, sent once ``create_transfers`` has returned for it."""


@attrs.frozen
class Batch:
    """The transfers of one request: they follow from who sends it, and when in its life."""

    life: int
    thread: int
    number: int

    @property
    def size(self) -> int:
        return (self.number * 7 + self.thread) % 5 + 1

    def transfers(self) -> list[Transfer]:
        return [self._transfer(index) for index in range(self.size)]

    @classmethod
    def of(cls, id_: int) -> Batch:
        return cls(id_ >> 64, id_ >> 48 & 0xFFFF, id_ >> 8 & 0xFF_FFFF_FFFF)

    def _transfer(self, index: int) -> Transfer:
        id_ = self.life << 64 | self.thread << 48 | self.number << 8 | index + 1
        mixed = id_ * 0x9E3779B97F4A7C15 >> 16
        debit = mixed % len(ACCOUNTS)
        credit = (debit + 1 + mixed % (len(ACCOUNTS) - 1)) % len(ACCOUNTS)
        return Transfer(
            id=id_,
            debit_account_id=ACCOUNTS[debit],
            credit_account_id=ACCOUNTS[credit],
            amount=mixed % 10_000,
            user_data_128=mixed % 2**128,
            ledger=1,
            code=1,
        )


def open_ledger(path: Path) -> Ledger:
    """As the process that is killed opens it."""
    return Ledger.open(
        path,
        segment_bytes_max=SEGMENT_BYTES_MAX,
        checkpoint_events=CHECKPOINT_EVENTS,
        checkpoint_seconds=0.05,
    )


def write_until_killed(path: Path, life: int, pipe: int) -> None:
    """Create transfers without end, acknowledging each request on ``pipe``."""
    ledger = open_ledger(path)
    results = ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in ACCOUNTS])
    if not {result.status for result in results} <= {
        CreateAccountStatus.CREATED,
        CreateAccountStatus.EXISTS,
    }:
        raise AssertionError(results)
    for thread in range(1, THREADS):
        threading.Thread(target=_write, args=(ledger, life, thread, pipe), daemon=True).start()
    _write(ledger, life, 0, pipe)


def write_and_tell(path: Path, life: int, pipe: Connection) -> None:
    write_until_killed(path, life, pipe.fileno())


def write_until_cut(path: Path, life: int, pipe: Connection) -> None:
    """The same, and then end without a word: a disk without power is not to be reported."""
    threading.excepthook = lambda _: None
    with contextlib.suppress(JournalError, OSError):
        write_and_tell(path, life, pipe)


def acknowledgements_in(pipe: Connection) -> Counter[int]:
    """The last batch acknowledged to each thread of a writer that has ended, or is about to."""
    data = b"".join(iter(lambda: os.read(pipe.fileno(), 65_536), b""))
    assert len(data) % ACKNOWLEDGEMENT.size == 0
    acknowledged: Counter[int] = Counter()
    for thread, number in ACKNOWLEDGEMENT.iter_unpack(data):
        assert thread != 0xFFFF, f"batch {number} was answered with a refusal"
        acknowledged[thread] = number
    return acknowledged


def _write(ledger: Ledger, life: int, thread: int, pipe: int) -> None:
    number = 0
    while True:
        number += 1
        results = ledger.create_transfers(Batch(life, thread, number).transfers())
        if any(result.status is not CreateTransferStatus.CREATED for result in results):
            os.write(pipe, ACKNOWLEDGEMENT.pack(0xFFFF, number))
        os.write(pipe, ACKNOWLEDGEMENT.pack(thread, number))
