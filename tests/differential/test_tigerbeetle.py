"""The ledger beside a real TigerBeetle: the same requests, the same answers, to the last bit.

TigerBeetle is asked first; our clock then says what its clock said. So not only the statuses must
agree but every timestamp, and with them every account and transfer that is looked up.

NOSTRO_DIFFERENTIAL_EVENTS sets how many events are sent, NOSTRO_DIFFERENTIAL_SEED repeats a run.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final, Protocol

import attrs
import pytest

import projections.ledger
from journal import Account, CreateAccountStatus, CreateTransferStatus, Transfer
from journal.codec import Rows
from projections import Ledger, audit
from projections.columns import decide_plain
from projections.decision import Decision
from projections.frontier import Frontier
from tests.clocks import HandClock
from tests.differential.tigerbeetle_server import find_binary, running
from tests.traffic import EASY, Past, Traffic

EVENTS: Final = int(os.environ.get("NOSTRO_DIFFERENTIAL_EVENTS", "20000"))
BATCH_EVENTS_MAX: Final = 250
"""What a TigerBeetle started with --development takes."""
REQUESTS_PER_LOOK: Final = 10
_EXPIRY_LATE_NS: Final = 300_000_000
_REQUEST_NS: Final = 100_000_000
REQUESTS_PER_OPENING: Final = 60
REQUESTS_PER_GENERATION: Final = 12


@pytest.mark.slow
@pytest.mark.timeout(60 + EVENTS / 100)
def test_every_answer_is_tigerbeetles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statuses, timestamps, balances and transfers are equal after any mix of requests."""
    binary = find_binary()
    if binary is None:
        pytest.skip("no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none")
    tigerbeetle = pytest.importorskip("tigerbeetle")
    seed = os.environ.get("NOSTRO_DIFFERENTIAL_SEED") or str(SystemRandom().getrandbits(32))
    by_columns = _count_plain_batches(monkeypatch)
    (tmp_path / "tigerbeetle").mkdir()
    with (
        running(binary, tmp_path / "tigerbeetle") as address,
        tigerbeetle.ClientSync(cluster_id=0, replica_addresses=address) as original,
    ):
        comparison = Comparison(original, tmp_path / "ledger", Random(seed))
        try:
            comparison.run(EVENTS)
        finally:
            comparison.ledger.close()
            with capsys.disabled():
                sys.stdout.write(f"\n{comparison.summary()}, {by_columns[True]} batches decided")
                sys.stdout.write(f" by columns; NOSTRO_DIFFERENTIAL_SEED={seed}\n")
    assert audit(tmp_path / "ledger").passed
    assert by_columns[True] > 0


class Original(Protocol):
    """TigerBeetle's client, which takes our accounts and transfers for its own."""

    def create_accounts(self, accounts: Sequence[Account], /) -> Sequence[Any]: ...
    def create_transfers(self, transfers: Sequence[Transfer], /) -> Sequence[Any]: ...
    def lookup_accounts(self, ids: Sequence[int], /) -> Sequence[Any]: ...
    def lookup_transfers(self, ids: Sequence[int], /) -> Sequence[Any]: ...


class Comparison:
    def __init__(self, original: Original, path: Path, random: Random) -> None:
        self.original = original
        self.path = path
        self.random = random
        self.clock = HandClock(1)
        self.ledger = self.open()
        self.traffic = Traffic()
        self.past = Past()
        self.answers: Counter[str] = Counter()
        self.expiries: list[int] = []
        """When pending transfers run out of time, ns."""
        self.asked: list[Transfer] = []
        """Since the last look."""

    def open(self) -> Ledger:
        return Ledger.open(self.path, clock=self.clock, checkpoint_events=2_000)

    def run(self, events: int) -> None:
        easy = [Account(id=id_, ledger=1, code=1) for id_ in EASY]
        self.ask("create_accounts", easy)
        requests = 0
        while self.answers.total() < events:
            requests += 1
            if requests % REQUESTS_PER_GENERATION == 1:
                self.traffic.renew()
                self.request_accounts()
            self.request()
            if requests % REQUESTS_PER_LOOK == 0:
                self.look()
            if requests % REQUESTS_PER_OPENING == 0:
                self.ledger.close()
                self.ledger = self.open()
        self.look()

    def request(self) -> None:
        chance = self.random.random()
        if chance < 0.1:
            self.request_accounts()
            return
        count = self.random.choice((1, 2, 10, 100, self.random.randrange(1, BATCH_EVENTS_MAX)))
        if chance < 0.25:
            transfers = self.traffic.easy(self.random, count, self.past)
        else:
            transfers = self.traffic.transfers(self.random, count, self.past, self.clock.now)
        self.asked += transfers
        self.ask("create_transfers", transfers)

    def request_accounts(self) -> None:
        count = self.random.randrange(1, 20)
        accounts = self.traffic.accounts(self.random, count, self.past, self.clock.now)
        self.ask("create_accounts", accounts)

    def let_expire(self) -> None:
        """Wait until nothing is running out of time just now.

        TigerBeetle lets pending transfers expire some ticks late; a request in between would see
        them half gone.
        """
        while True:
            now = time.time_ns()
            self.expiries = [due for due in self.expiries if due > now - _EXPIRY_LATE_NS]
            near = [due for due in self.expiries if due < now + _REQUEST_NS]
            if not near:
                return
            time.sleep((max(near) + _EXPIRY_LATE_NS - now) / 1e9)

    def ask(self, method: str, request: list[Any]) -> None:
        self.let_expire()
        expected = [dataclasses.astuple(it) for it in getattr(self.original, method)(request)]
        kind = CreateAccountStatus if method == "create_accounts" else CreateTransferStatus
        began = _began(request, expected, int(kind.EXISTS))
        self.clock.now = began - 10**6
        self.ledger.lookup_accounts([])  # what had run out of time by then expires now
        self.clock.now = began
        answers = [attrs.astuple(it) for it in getattr(self.ledger, method)(request)]
        different = [
            (event, wanted, got)
            for event, wanted, got in zip(request, expected, answers, strict=True)
            if wanted != got
        ]
        assert different == [], f"{different[0]} in a batch of {len(request)}"
        for event, (timestamp, status) in zip(request, answers, strict=True):
            self.answers[f"{method} {kind(status).name}"] += 1
            if status == kind.CREATED:
                self.past.note(event, timestamp)
                if isinstance(event, Transfer) and event.timeout:
                    self.expiries.append(timestamp + event.timeout * 10**9)

    def look(self) -> None:
        ids = [*self.traffic.account_ids, *EASY]
        self.random.shuffle(ids)
        self.compare("lookup_accounts", ids)
        asked = self.random.sample(self.asked, min(len(self.asked), BATCH_EVENTS_MAX))
        self.compare("lookup_transfers", [transfer.id for transfer in asked])
        self.asked = []

    def compare(self, method: str, ids: list[int]) -> None:
        """What is stored is equal; at once, or when both have let expire what is due."""
        found: list[Any] = []
        expected: list[Any] = [None]
        for _ in range(50):
            expected = [dataclasses.astuple(it) for it in getattr(self.original, method)(ids)]
            self.clock.now = max(self.clock.now, time.time_ns())
            found = [attrs.astuple(it) for it in getattr(self.ledger, method)(ids)]
            if found == expected:
                return
            time.sleep(0.1)
        assert found == expected

    def summary(self) -> str:
        created = self.answers["create_transfers CREATED"]
        return (
            f"{self.answers.total():,} events, {created:,} transfers created,"
            f" {len(self.answers)} kinds of answer"
        )


def _began(
    request: Sequence[Account | Transfer], answers: Sequence[tuple[int, int]], exists: int
) -> int:
    """When TigerBeetle's batch began, as far as its answers tell.

    They do where a timestamp is neither the original's (of what exists) nor the event's own (of an
    import). Where none does, every event passed as past, and any time after them will do.
    """
    began = {
        timestamp - index
        for index, (event, (timestamp, status)) in enumerate(zip(request, answers, strict=True))
        if status != exists and timestamp != event.timestamp
    }
    assert len(began) < 2
    times = [timestamp for timestamp, _ in answers] + [event.timestamp for event in request]
    return began.pop() if began else max(times) + 2


def _count_plain_batches(monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    counts: Counter[bool] = Counter()

    def counting(rows: Rows, frontier: Frontier, *, timestamp_first: int) -> Decision | None:
        decision = decide_plain(rows, frontier, timestamp_first=timestamp_first)
        counts[decision is not None] += 1
        return decision

    monkeypatch.setattr(projections.ledger, "decide_plain", counting)
    return counts
