"""A cluster that loses whatever it may, at random, beside a ledger that loses nothing.

Requests are a mix of what may be confused when it is sent twice: chains, resolutions, twins of one
request, ids of earlier ones, refusals for good and for the moment.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import pytest

from nostro import (
    REFUSED_FOR_GOOD,
    Account,
    AccountFlags,
    ClusterLedger,
    CreateTransferResult,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
)
from tests.simulated_cluster import Fault, Impatient, SimulatedCluster, configuration

S: Final = CreateTransferStatus
F: Final = TransferFlags
REQUESTS: Final = 60
ACCOUNTS: Final = (
    *(Account(id=id_, ledger=1, code=1) for id_ in (1, 2, 3)),
    *(
        Account(id=id_, ledger=1, code=1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
        for id_ in (4, 5)
    ),
)
LOSSES: Final = (
    Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.ARRIVE_LATE, Fault.EVICT_BEFORE, Fault.EVICT_AFTER,
)  # fmt: skip
CARRIED_OUT: Final = {Fault.LOSE_REPLY, Fault.ARRIVE_LATE, Fault.EVICT_AFTER}


class Mix:
    """Draws requests."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.sent: list[Transfer] = []
        self.next_id = 100

    def request(self) -> list[Transfer]:
        events: list[Transfer] = []
        for _ in range(self.random.randint(1, 4)):
            length = self.random.choice((1, 1, 1, 2, 3))
            chain = [self.transfer(events) for _ in range(length)]
            *others, last = chain
            events += [attrs.evolve(it, flags=it.flags | F.LINKED) for it in others]
            events.append(attrs.evolve(last, flags=last.flags & ~F.LINKED))
        self.sent += events
        return events

    def transfer(self, events: list[Transfer]) -> Transfer:
        if (self.sent or events) and self.random.random() < 0.15:
            return self.random.choice(self.sent + events)
        self.next_id += 1
        random = self.random
        debit, credit = random.sample((1, 2, 3, 4, 5, 6), 2)  # the last is not there
        plain = Transfer(
            id=self.next_id, debit_account_id=debit, credit_account_id=credit,
            amount=random.randint(0, 9), ledger=1, code=random.choice((0, 1, 1, 1, 1, 1, 1)),
        )  # fmt: skip
        kind = random.random()
        if kind < 0.25:
            return attrs.evolve(plain, flags=F.PENDING)
        if kind < 0.35:
            return attrs.evolve(plain, flags=F.BALANCING_DEBIT)
        if kind < 0.6 and self.sent:
            flags = random.choice((F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER))
            amount = random.choice((0, 3, 2**128 - 1)) if flags is F.POST_PENDING_TRANSFER else 0
            pending = random.choice(self.sent).id
            return Transfer(id=self.next_id, pending_id=pending, amount=amount, flags=flags)
        return plain


def fits(answer: CreateTransferResult, expected: CreateTransferResult, *, lost: bool) -> bool:
    """Why something was refused for the moment may be lost; nothing else may."""
    told = answer.status is expected.status
    return told or (
        lost and expected.status in REFUSED_FOR_GOOD and answer.status is S.ID_ALREADY_FAILED
    )


@pytest.mark.parametrize("seed", range(12))
def test_losses_change_no_answer_and_no_balance(tmp_path: Path, seed: int) -> None:
    """Every request is answered as by the ledger that had no faults, and moved the same."""
    random = Random(seed)
    mix = Mix(random)
    options: dict[str, Any] = {"attempts_max": 5, "breaker": Impatient}
    with (
        Ledger.open(tmp_path / "expected") as expected,
        SimulatedCluster(tmp_path / "cluster", batch_events_max=4) as cluster,
        ClusterLedger.open(
            configuration(timeout_seconds=0.002, batch_events_max=4),
            connect=cluster.connect, **options,
        ) as ledger,
    ):  # fmt: skip
        expected.create_accounts(ACCOUNTS)
        ledger.create_accounts(ACCOUNTS)
        losses = 0
        for _ in range(REQUESTS):
            request = mix.request()
            faults = random.choices(LOSSES, k=random.choice((0, 0, 1, 2)))
            cluster.faults.extend(faults)
            answers = ledger.create_transfers(request)
            cluster.faults.clear()
            lost = bool(CARRIED_OUT.intersection(faults))
            losses += lost
            wanted = expected.create_transfers(request)
            differing = [
                (it, want.status.name, answer.status.name, faults)
                for it, answer, want in zip(request, answers, wanted, strict=True)
                if not fits(answer, want, lost=lost)
            ]
            assert differing == []
            created = [it.id for it, answer in zip(request, answers, strict=True)
                       if answer.status in {S.CREATED, S.EXISTS}]  # fmt: skip
            times = {it.id: it.timestamp for it in ledger.lookup_transfers(created)}
            for transfer, answer in zip(request, answers, strict=True):
                if answer.status in {S.CREATED, S.EXISTS}:
                    assert answer.timestamp == times[transfer.id]
        ids = [account.id for account in ACCOUNTS]
        ours = [attrs.evolve(it, timestamp=0) for it in ledger.lookup_accounts(ids)]
        theirs = [attrs.evolve(it, timestamp=0) for it in expected.lookup_accounts(ids)]
        assert ours == theirs
        assert losses > 5
