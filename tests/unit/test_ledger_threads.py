"""Many threads at one ledger: each answer true, no amount lost, fewer syncs than requests."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from nostro import (
    TRANSFER,
    Account,
    AccountFlags,
    CreateTransferResult,
    CreateTransferStatus,
    Ledger,
    Transfer,
    audit,
)
from nostro.journal.storage.files import Storage

S: Final = CreateTransferStatus
THREADS: Final = 8
REQUESTS: Final = 40
WALLET: Final = 10


class CountingStorage(Storage):
    def __init__(self) -> None:
        super().__init__()
        self.syncs = 0

    def sync_data(self, fd: int) -> None:
        self.syncs += 1
        super().sync_data(fd)


def test_threads_share_one_truth(tmp_path: Path) -> None:
    """Eight threads race for ids and for the money of one wallet; every answer fits the rest."""
    storage = CountingStorage()
    limited = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    with Ledger.open(
        tmp_path / "ledger", storage=storage, segment_bytes_max=65_536, checkpoint_events=50
    ) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in range(1, 5)])
        ledger.create_accounts([Account(id=WALLET, ledger=1, code=1, flags=limited)])
        ledger.create_transfers([transfer(10**6, 1, WALLET, 300)])
        before = storage.syncs
        start = threading.Barrier(THREADS)

        def work(number: int) -> list[tuple[Transfer, CreateTransferResult]]:
            random = Random(number)
            start.wait()
            answered = []
            for _ in range(REQUESTS):
                request = [raced(random) for _ in range(random.randrange(1, 4))]
                results = ledger.create_transfers(request)
                answered += list(zip(request, results, strict=True))
                created = [t.id for t, r in zip(request, results, strict=True) if is_there(r)]
                assert {t.id for t in ledger.lookup_transfers(created)} == set(created)
            return answered

        with ThreadPoolExecutor(THREADS) as pool:
            answered = list(chain.from_iterable(pool.map(work, range(THREADS))))
        check_answers(ledger, answered)
        assert storage.syncs - before < THREADS * REQUESTS, "callers share syncs"
        live = ledger.state_sha256()
        assert audit(tmp_path / "ledger").state_sha256 == live
    report = audit(tmp_path / "ledger")
    assert report.passed
    assert report.state_sha256 == live


def transfer(id_: int, debit: int, credit: int, amount: int) -> Transfer:
    return Transfer(
        id=id_, debit_account_id=debit, credit_account_id=credit, amount=amount, ledger=1, code=1
    )


def raced(random: Random) -> Transfer:
    """One of few ids, each always with the same content; every third spends from the wallet."""
    id_ = random.randrange(1, 400)
    if id_ % 3 == 0:
        return transfer(id_, WALLET, 1 + id_ % 4, 10)
    return transfer(id_, 1 + id_ % 4, 1 + (id_ + 1) % 4, id_)


def is_there(result: CreateTransferResult) -> bool:
    return result.status in (S.CREATED, S.EXISTS)


def check_answers(ledger: Ledger, answered: list[tuple[Transfer, CreateTransferResult]]) -> None:
    """Each id was created once or failed once; the balances are the sum of what was created."""
    firsts = Counter(t.id for t, r in answered if r.status in (S.CREATED, S.EXCEEDS_CREDITS))
    assert set(firsts.values()) == {1}
    assert set(firsts) == {t.id for t, _ in answered}
    created = {t.id: (t, r.timestamp) for t, r in answered if r.status is S.CREATED}
    assert all(created[t.id][1] == r.timestamp for t, r in answered if r.status is S.EXISTS)
    assert len({timestamp for _, timestamp in created.values()}) == len(created)
    for account in ledger.lookup_accounts([*range(1, 5), WALLET]):
        extra = 300 if account.id in (1, WALLET) else 0
        debits = sum(t.amount for t, _ in created.values() if t.debit_account_id == account.id)
        credits = sum(t.amount for t, _ in created.values() if t.credit_account_id == account.id)
        assert account.debits_posted == debits + (extra if account.id == 1 else 0)
        assert account.credits_posted == credits + (extra if account.id == WALLET else 0)
    assert ledger.lookup_accounts([WALLET])[0].debits_posted == 300
    assert ledger.transfer_count == len(created) + 1


def test_columns_and_rules_in_turn_from_many_threads(tmp_path: Path) -> None:
    """Large plain batches and small odd ones, at once: no amount is lost or posted twice."""
    with Ledger.open(tmp_path / "ledger", checkpoint_events=700) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])

        def work(number: int) -> int:
            moved = 0
            for turn in range(12):
                count = 200 if (number + turn) % 2 else 3
                rows = np.zeros(count, TRANSFER)
                rows["id"][:, 0] = np.arange(count) + number * 10**6 + turn * 1_000 + 1
                rows["debit_account_id"][:, 0], rows["credit_account_id"][:, 0] = 1, 2
                rows["amount"][:, 0], rows["ledger"], rows["code"] = number + 1, 1, 1
                assert (ledger.create_transfers(rows)["status"] == S.CREATED).all()
                moved += count * (number + 1)
            return moved

        with ThreadPoolExecutor(THREADS) as pool:
            moved = sum(pool.map(work, range(THREADS)))
        debited, credited = ledger.lookup_accounts([1, 2])
        assert debited.debits_posted == credited.credits_posted == moved
        ids = [n * 10**6 + turn * 1_000 + 1 for n in range(THREADS) for turn in range(12)]
        assert [t.id for t in ledger.lookup_transfers(ids)] == ids
    assert audit(tmp_path / "ledger").passed
