"""Past balances are read off the indexes. A replay of the journal must find the same ones."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Final

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    CreateAccountStatus,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
)
from nostro.journal.rows import accounts_from_rows
from nostro.projections.indexes import groups
from tests.clocks import HandClock
from tests.traffic import EASY, TIMEOUT, Past, Traffic

REQUESTS: Final = int(os.environ.get("NOSTRO_PAST_REQUESTS", "60"))
MOMENTS: Final = 60
DERIVED: Final = ("*.postings", "*.reservations", "*.ids", "*")


class Requests:
    """Sends a ledger what may and what will succeed, in requests small and large."""

    def __init__(self, ledger: Ledger, clock: HandClock, seed: int) -> None:
        self.ledger = ledger
        self.clock = clock
        self.random = Random(seed)
        self.traffic = Traffic()
        self.known = Past()
        self.reserved: list[Transfer] = []
        """What was sent as pending to be resolved by columns."""
        self.whole = 0
        """How many large requests took effect from the first to the last."""

    def send(self) -> None:
        self.clock.now += self.random.choice((1, 1_000, 10**9, 2 * 10**9))
        if self.random.random() < 0.02:
            self.traffic.renew()
        count = self.random.choice((1, 2, 10, 100))
        if self.random.random() < 0.2:
            accounts = self.traffic.accounts(self.random, count, self.known, self.clock.now)
            self._create_accounts(accounts)
            return
        transfers = self._easy(count) if self.random.random() < 0.4 else self.traffic.transfers(
            self.random, count, self.known, self.clock.now
        )  # fmt: skip
        results = self.ledger.create_transfers(transfers)
        for transfer, result in zip(transfers, results, strict=True):
            if result.status == CreateTransferStatus.CREATED:
                self.known.note(transfer, result.timestamp)
        self.whole += len(transfers) >= 64 and {it.status for it in results} == {
            CreateTransferStatus.CREATED
        }

    def _easy(self, count: int) -> list[Transfer]:
        """Plain, pending, or posting and voiding: what columns can decide if there is enough."""
        if not set(EASY) <= self.known.account_ids:
            self._create_accounts([Account(id=id_, ledger=1, code=1) for id_ in EASY])
        transfers = self.traffic.easy(self.random, count, self.known)
        if transfers[0].flags & TransferFlags.IMPORTED:
            return transfers
        if len(self.reserved) < 100:
            timeout = self.random.choice((0, 0, TIMEOUT, 3_600))
            pending = [
                attrs.evolve(transfer, flags=TransferFlags.PENDING, timeout=timeout)
                for transfer in transfers
            ]
            if not timeout:
                self.reserved += pending
            return pending
        wanted, self.reserved = self.reserved[:count], self.reserved[count:]
        return [
            Transfer(
                transfer.id,
                amount=self.random.choice((pending.amount // 2, AMOUNT_MAX)),
                pending_id=pending.id,
                flags=TransferFlags.POST_PENDING_TRANSFER,
            )
            if self.random.random() < 0.6
            else Transfer(
                transfer.id, pending_id=pending.id, flags=TransferFlags.VOID_PENDING_TRANSFER
            )
            for transfer, pending in zip(transfers, wanted, strict=False)
        ]

    def _create_accounts(self, accounts: list[Account]) -> None:
        for account, made in zip(accounts, self.ledger.create_accounts(accounts), strict=True):
            if made.status == CreateAccountStatus.CREATED:
                self.known.note(account, made.timestamp)


@pytest.mark.parametrize("seed", range(4))
def test_the_indexes_tell_what_a_replay_tells(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was pending, closed, imported or expired, in runs of any number, merged or lost."""
    random, clock = Random(seed), HandClock(10**9)
    # private: a real piece holds more than the test writes
    monkeypatch.setattr(groups, "PIECE", random.choice((2, 50, 2**18)))
    path = tmp_path / "ledger"
    requests = Requests(Ledger.open(path, clock=clock), clock, seed)
    for _ in range(REQUESTS):
        requests.send()
        if random.random() < 0.15:
            requests.ledger.checkpoint()
        if random.random() < 0.05:
            requests.ledger.close()
            for derived in (path / "indexes").glob(random.choice(DERIVED)):
                derived.unlink()
            requests.ledger = Ledger.open(path, clock=clock)
    assert requests.whole
    with requests.ledger as ledger:
        for _ in range(MOMENTS):
            _assert_same(ledger, position=random.randrange(ledger.position + 1))
            time = random.choice(requests.known.times) + random.choice((-1, 0, 0, 1))
            _assert_same(ledger, timestamp=time)
        _assert_same(ledger, position=ledger.position)


def _assert_same(ledger: Ledger, **moment: int) -> None:
    past = ledger.at(**moment)
    ids = [account.id for account in accounts_from_rows(ledger.accounts())]
    found = past.lookup_accounts(ids)
    replayed = accounts_from_rows(past.accounts())
    assert found == replayed, moment
