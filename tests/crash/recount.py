"""What a journal must hold after writers were cut short, recounted without the ledger's help."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs

from nostro.journal.format.codec import RecordKind
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.rows import accounts_from_rows, transfers_from_rows
from nostro.projections.ledger.ledger import Ledger
from tests.crash.writing import ACCOUNTS, Batch


@attrs.define
class Expected:
    """What the journal has been seen to hold so far."""

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
                self._take(record.parts[0].rows, record.parts[0].statuses)
            else:
                assert sorted(record.parts[0].rows["id"][:, 0].tolist()) == list(ACCOUNTS)
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

    def check_acknowledged(self, ledger: Ledger, life: int, acknowledged: Counter[int]) -> None:
        """Each thread's last acknowledged batch is there, and at most the one it had under way."""
        for thread, number in acknowledged.items():
            assert self.batches[life, thread] in (number, number + 1), (life, thread)
            sample = Batch(life, thread, number).transfers()
            assert len(ledger.lookup_transfers([one.id for one in sample])) == len(sample)
