"""SIGKILL at any moment: nothing acknowledged is lost, and nothing is invented."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

import attrs
import pytest

from journal.codec import RecordKind
from journal.reader import Cursor, Reader
from journal.rows import accounts_from_rows, transfers_from_rows
from journal.verification import verify
from projections.audit import audit
from projections.ledger import Ledger
from tests.crash.writing import (
    ACCOUNTS,
    ACKNOWLEDGEMENT,
    Batch,
    open_ledger,
    write_until_killed,
)

DIRECTORIES: Final = 4
KILLS: Final = 50
KILLS_LONG: Final = 500
"""In each directory, one after the other."""

LIFE_SECONDS_MAX: Final = 0.06


@attrs.define
class Expected:
    """What the journal has been seen to hold, recounted without the ledger's help."""

    position: int = 0
    timestamp: int = 0
    chain: bytes = bytes(32)
    batches: Counter[tuple[int, int]] = attrs.field(factory=Counter)
    """Batches of each (life, thread) so far: they must come in order and without a gap."""
    debits: Counter[int] = attrs.field(factory=Counter)
    credits: Counter[int] = attrs.field(factory=Counter)

    def read_on(self, path: Path) -> None:
        """Take in what is new since the last look; what was there must be there unchanged."""
        reader = Reader(path)
        if self.position:
            seen = reader.record_at(self.position)
            assert seen is not None
            assert seen.sha256 == self.chain
        for record in reader.records(Cursor(position=self.position + 1)):
            assert record.position_first == self.position + 1
            if record.kind is RecordKind.TRANSFERS:
                self._take(record.rows, record.statuses)
            else:
                assert sorted(record.rows["id"][:, 0].tolist()) == list(ACCOUNTS)
            assert record.timestamp_min > self.timestamp
            self.position, self.chain = record.position_last, record.sha256
            self.timestamp = record.timestamp_max

    def _take(self, rows: object, statuses: object) -> None:
        assert statuses is None
        found = [attrs.evolve(one, timestamp=0) for one in transfers_from_rows(rows)]  # type: ignore[arg-type]
        for one in found:
            self.debits[one.debit_account_id] += one.amount
            self.credits[one.credit_account_id] += one.amount
        while found:  # threads that meet share a record; each batch is in it whole
            batch = Batch.of(found[0].id)
            transfers = batch.transfers()
            assert found[: len(transfers)] == transfers
            self.batches[batch.life, batch.thread] += 1
            assert self.batches[batch.life, batch.thread] == batch.number
            found = found[len(transfers) :]

    def check(self, ledger: Ledger) -> None:
        """The ledger's balances are the recount's, and debits equal credits."""
        assert ledger.position == self.position
        accounts = accounts_from_rows(ledger.accounts())
        assert {one.id: one.debits_posted for one in accounts} == {
            one.id: self.debits[one.id] for one in accounts
        }
        assert {one.id: one.credits_posted for one in accounts} == {
            one.id: self.credits[one.id] for one in accounts
        }
        assert sum(self.debits.values()) == sum(self.credits.values())
        assert len(accounts) in (0, len(ACCOUNTS))
        assert ledger.transfer_count == self.position - len(accounts)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """A server that has everything imported and forks the writers, one after the other."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.writing"])
    return context


def killed_writer(
    context: ForkServerContext, path: Path, life: int, chance: random.Random
) -> Counter[int]:
    """Start a writer, kill it at a random moment; the last batch acknowledged to each thread."""
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_start, args=(path, life, sending))
    process.start()
    sending.close()
    if chance.random() < 0.8:
        wait([receiving, process.sentinel], timeout=60)  # for the first acknowledgement
    process.join(chance.random() * LIFE_SECONDS_MAX)
    assert process.is_alive(), "the writer ended by itself"
    process.kill()
    acknowledged = Counter(dict(_acknowledgements(receiving.fileno())))
    process.join()
    process.close()
    receiving.close()
    return acknowledged


def _start(path: Path, life: int, sending: object) -> None:
    write_until_killed(path, life, sending.fileno())  # type: ignore[attr-defined]


def _acknowledgements(pipe: int) -> Iterator[tuple[int, int]]:
    data = b"".join(iter(lambda: os.read(pipe, 65_536), b""))
    assert len(data) % ACKNOWLEDGEMENT.size == 0
    for thread, number in ACKNOWLEDGEMENT.iter_unpack(data):
        assert thread != 0xFFFF, f"batch {number} was answered with a refusal"
        yield thread, number


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
            for thread, number in acknowledged.items():
                durable = expected.batches[life, thread]
                assert durable in (number, number + 1), (seed, life, thread)
                sample = Batch(life, thread, number).transfers()
                assert len(ledger.lookup_transfers([one.id for one in sample])) == len(sample)
    assert acknowledgements > kills
    open_ledger(path).close()
    expected.read_on(path)
    assert verify(path).position == expected.position
    assert audit(path).passed
