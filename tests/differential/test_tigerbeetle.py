"""The ledger beside a real TigerBeetle: the same requests, the same answers, to the last bit.

TigerBeetle is asked first; our clock then says what its clock said. So not only the statuses must
agree but every timestamp, and with them every account and transfer that is looked up or queried.

When TigerBeetle releases what ran out of time cannot be seen in its answers, nor can its clock be
set. So no request is under way while a timeout ends: before it the comparison waits, and compares
the balances of what ended. A server that is held up until a timeout ended all the same would leave
two right answers; that round is given up, and another begins with a fresh server and ledger.

NOSTRO_DIFFERENTIAL_EVENTS sets how many events are sent, NOSTRO_DIFFERENTIAL_SEED repeats a run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final, Protocol

import attrs
import pytest

import nostro.projections.pipeline.pipeline
from nostro import (
    Account,
    AccountFilter,
    ChangeEventType,
    CreateAccountStatus,
    CreateTransferStatus,
    Ledger,
    QueryFilter,
    Transfer,
    TransferFlags,
    audit,
)
from nostro.journal.model import Rows
from nostro.projections.deciding.fast_path_columns import ROWS_MIN, decide_by_columns
from nostro.projections.deciding.fast_path_rows import decide_by_rows
from tests.clocks import HandClock
from tests.differential.change_events import RawClient, change_events
from tests.differential.tigerbeetle_server import find_binary, running
from tests.filters import account_filter, query_filter
from tests.traffic import EASY, EVERY_FLAG, Past, Traffic

EVENTS: Final = int(os.environ.get("NOSTRO_DIFFERENTIAL_EVENTS", "20000"))
BATCH_EVENTS_MAX: Final = 250
"""What a TigerBeetle started with --development takes."""
ROUND_EVENTS: Final = 100_000
"""After so many events the next round begins, with a fresh server and ledger."""
REQUESTS_PER_LOOK: Final = 10
REQUESTS_PER_OPENING: Final = 60
REQUESTS_PER_GENERATION: Final = 12
QUERIES_PER_LOOK: Final = 6
SECOND: Final = 10**9
SOON: Final = SECOND // 4
"""No request is made so shortly before a timeout ends, in ns."""


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
    random, tally = Random(seed), Tally()
    try:
        while tally.events < EVENTS:
            tally.rounds += 1
            path = tmp_path / str(tally.rounds)
            (path / "tigerbeetle").mkdir(parents=True)
            with (
                running(binary, path / "tigerbeetle") as address,
                tigerbeetle.ClientSync(cluster_id=0, replica_addresses=address) as original,
                contextlib.suppress(HeldUp),
            ):
                until = min(EVENTS, tally.events + ROUND_EVENTS)
                Comparison(original, path / "ledger", random, tally).run(until)
            assert audit(path / "ledger").passed
    finally:
        with capsys.disabled():
            sys.stdout.write(f"\n{tally.summary()}, {by_columns[True]} batches decided")
            sys.stdout.write(f" by columns; NOSTRO_DIFFERENTIAL_SEED={seed}\n")
    assert by_columns[True] > 0


class HeldUp(Exception):
    """A timeout ended while TigerBeetle was at a request: before it or after it, none can say."""


@attrs.define
class Tally:
    answers: Counter[str] = attrs.field(factory=Counter)
    queries: Counter[str] = attrs.field(factory=Counter)
    rows: int = 0
    expired: int = 0
    changes: int = 0
    rounds: int = 0

    @property
    def events(self) -> int:
        return self.answers.total()

    def summary(self) -> str:
        created = self.answers["create_transfers CREATED"]
        return (
            f"{self.events:,} events, {created:,} transfers created,"
            f" {len(self.answers)} kinds of answer, {self.expired:,} timeouts ended,"
            f" {self.queries.total():,} queries of {self.rows:,} rows,"
            f" {self.changes:,} change events, {self.rounds} rounds"
        )


class Original(RawClient, Protocol):
    """TigerBeetle's client, which takes our accounts and transfers for its own."""

    def create_accounts(self, accounts: Sequence[Account], /) -> Sequence[Any]: ...
    def create_transfers(self, transfers: Sequence[Transfer], /) -> Sequence[Any]: ...
    def lookup_accounts(self, ids: Sequence[int], /) -> Sequence[Any]: ...
    def lookup_transfers(self, ids: Sequence[int], /) -> Sequence[Any]: ...
    def get_account_transfers(self, filter: AccountFilter, /) -> Sequence[Any]: ...
    def get_account_balances(self, filter: AccountFilter, /) -> Sequence[Any]: ...
    def query_accounts(self, query_filter: QueryFilter, /) -> Sequence[Any]: ...
    def query_transfers(self, query_filter: QueryFilter, /) -> Sequence[Any]: ...


class Comparison:
    def __init__(
        self,
        original: Original,
        path: Path,
        random: Random,
        tally: Tally,
        allowed: TransferFlags = EVERY_FLAG,
    ) -> None:
        self.original = original
        self.path = path
        self.random = random
        self.tally = tally
        self.clock = HandClock(1)
        self.ledger = self.open()
        self.traffic = Traffic(allowed=allowed)
        self.past = Past()
        self.asked: list[Transfer] = []
        """Since the last look."""
        self.timed: dict[int, tuple[int, Transfer]] = {}
        """When the timeout of each pending transfer ends, that has one and may still be open."""

    def open(self) -> Ledger:
        return Ledger.open(self.path, clock=self.clock, checkpoint_events=2_000)

    def run(self, events: int) -> None:
        """Until the tally has so many events.

        Raises:
            HeldUp: nothing can be said about what follows.
        """
        try:
            self.ask("create_accounts", [Account(id=id_, ledger=1, code=1) for id_ in EASY])
            requests = 0
            while self.tally.events < events:
                requests += 1
                if requests % REQUESTS_PER_GENERATION == 1:
                    self.traffic.renew()
                    for _ in range(3):
                        self.request_accounts()
                self.request()
                if requests % REQUESTS_PER_LOOK == 0:
                    self.look()
                if requests % REQUESTS_PER_OPENING == 0:
                    self.ledger.close()
                    self.ledger = self.open()
            self.look()
            self.compare_changes()
        finally:
            self.ledger.close()

    # --- requests ---

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

    def ask(self, method: str, request: list[Any]) -> None:
        self.let_timeouts_end()
        expected = [dataclasses.astuple(it) for it in getattr(self.original, method)(request)]
        kind = CreateAccountStatus if method == "create_accounts" else CreateTransferStatus
        self.clock.now = _began(request, expected, int(kind.EXISTS))
        if self.ended_by(self.clock.now + len(request)):
            raise HeldUp
        answers = [attrs.astuple(it) for it in getattr(self.ledger, method)(request)]
        different = [
            (event, wanted, got)
            for event, wanted, got in zip(request, expected, answers, strict=True)
            if wanted != got
        ]
        assert different == [], f"{different[0]} in a batch of {len(request)}"
        for event, (timestamp, status) in zip(request, answers, strict=True):
            self.tally.answers[f"{method} {kind(status).name}"] += 1
            if status == kind.CREATED:
                self.past.note(event, timestamp)
                self.note_timeout(event, timestamp)

    # --- timeouts ---

    def note_timeout(self, event: Account | Transfer, timestamp: int) -> None:
        if isinstance(event, Transfer):
            self.timed.pop(event.pending_id, None)
            if event.timeout:
                self.timed[event.id] = timestamp + event.timeout * SECOND, event

    def ended_by(self, moment: int) -> list[tuple[int, Transfer]]:
        return [(end, transfer) for end, transfer in self.timed.values() if end <= moment]

    def let_timeouts_end(self) -> None:
        """Wait out those that end soon, one after the other, until none does."""
        last = 0
        while ends := [end for end, _ in self.ended_by(time.time_ns() + SOON) if end > last]:
            last = max(ends)
            time.sleep(max(0, last + SOON // 5 - time.time_ns()) / SECOND)
        if not last:
            return
        self.clock.now = max(self.clock.now, last)
        ended = self.ended_by(last)
        accounts = {it.debit_account_id for _, it in ended}
        accounts |= {it.credit_account_id for _, it in ended}
        self.compare_in_the_end("lookup_accounts", sorted(accounts))
        for _, transfer in ended:
            del self.timed[transfer.id]
        self.tally.expired += len(ended)

    def compare_in_the_end(self, method: str, ids: list[int]) -> None:
        """Compare once TigerBeetle is done with what it does of itself, within seconds."""
        mine = [attrs.astuple(it) for it in getattr(self.ledger, method)(ids)]
        for _ in range(100):
            if [dataclasses.astuple(it) for it in getattr(self.original, method)(ids)] == mine:
                break
            time.sleep(0.05)
        self.compare(method, ids)

    # --- looking ---

    def look(self) -> None:
        self.let_timeouts_end()
        ids = [*self.traffic.account_ids, *EASY]
        self.random.shuffle(ids)
        self.compare("lookup_accounts", ids)
        asked = self.random.sample(self.asked, min(len(self.asked), BATCH_EVENTS_MAX))
        self.compare("lookup_transfers", [transfer.id for transfer in asked])
        self.asked = []
        for _ in range(QUERIES_PER_LOOK):
            self.query()

    def query(self) -> None:
        self.let_timeouts_end()
        times = self.past.times[-self.random.choice((100, 1_000, 100_000)) :]
        accounts = [*self.traffic.account_ids, *self.traffic.account_ids, *EASY[:3]]
        for method in ("get_account_transfers", "get_account_balances"):
            self.compare(method, account_filter(self.random, accounts, times))
        for method in ("query_accounts", "query_transfers"):
            self.compare(method, query_filter(self.random, times))

    def compare(self, method: str, asked: list[int] | AccountFilter | QueryFilter) -> None:
        expected = [dataclasses.astuple(it) for it in getattr(self.original, method)(asked)]
        answer = [attrs.astuple(it) for it in getattr(self.ledger, method)(asked)]
        assert answer == expected, f"{method} {asked}"
        self.tally.queries[method] += 1
        self.tally.rows += len(expected)

    def compare_changes(self) -> None:
        """Every posting since the beginning, with both accounts as of that moment."""
        self.let_timeouts_end()
        expected = list(change_events(self.original))
        told = [attrs.astuple(it, recurse=False)[1:] for it in self.ledger.get_change_events()]
        meanwhile = self.timed.keys()  # they may end while TigerBeetle is being asked
        theirs = {it: event for it, event in _expired(expected).items() if it not in meanwhile}
        assert _expired(told) == theirs
        for mine, wanted in zip(_timed(told), _timed(expected), strict=True):
            assert mine == wanted
        self.tally.changes += len(expected)


def _expired(changes: Iterable[tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    return {it[2].id: it[2:] for it in changes if it[1] == ChangeEventType.TWO_PHASE_EXPIRED}


def _timed(changes: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Those whose time does not depend on when timeouts are looked after, in its order."""
    timed = [it for it in changes if it[1] != ChangeEventType.TWO_PHASE_EXPIRED]
    return sorted(timed, key=lambda it: int(it[0]))


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

    def counting(shortcut: Callable[..., Any]) -> Callable[..., Any]:
        def decide(rows: Rows, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passes on
            decided = shortcut(rows, *arguments, **named)
            counts[decided is not None and len(rows) >= ROWS_MIN] += 1
            return decided

        return decide

    for shortcut in (decide_by_rows, decide_by_columns):
        # private: the answers do not show which path decided
        monkeypatch.setattr(
            nostro.projections.pipeline.pipeline, shortcut.__name__, counting(shortcut)
        )
    return counts
