"""The ledger against a naive model, through every order of requests, restarts and crashes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFilter,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    Ledger,
    QueryFilter,
    Transfer,
    audit,
)
from tests.clocks import HandClock
from tests.filters import account_filter, query_filter
from tests.ledgers import copy_while_open
from tests.property import model_queries
from tests.property.model import Model
from tests.property.model_books import Balances
from tests.traffic import TIMEOUT, Past, Traffic

ACCOUNT_IDS: Final = range(1, 9)
FORGOTTEN: Final = (
    "", "", "*/*.checkpoint", "*/*.ids", "*/*.postings", "*/*.reservations", "indexes/*",
    "MANIFEST",
)  # fmt: skip
TRANSFER_IDS: Final = range(1, 41)
SECOND: Final = 10**9
SEEDS: Final = st.integers(0, 2**32)
SOME_IDS: Final = st.lists(
    st.one_of(st.sampled_from(TRANSFER_IDS), st.sampled_from([0, 99, AMOUNT_MAX]))
)


class LedgerMachine(RuleBasedStateMachine):
    """Whatever is done to the ledger, it answers as the model does and remembers what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = Path(tempfile.mkdtemp(prefix="nostro-machine-"))
        self.path = self.parent / "0"
        self.clock = HandClock(1_000)
        self.model = Model()
        self.traffic, self.past = Traffic(), Past()
        self.ledger = self.open()

    def open(self) -> Ledger:
        return Ledger.open(
            self.path, clock=self.clock, segment_bytes_max=4096, checkpoint_events=10
        )

    # --- requests ---

    @initialize(seed=SEEDS)
    def begin_with_accounts(self, seed: int) -> None:
        random = Random(seed)
        for count in (0, 12, 12):
            self.create_accounts(random, count)
            self.create_transfers(random, count)

    @rule(seed=SEEDS, requests=st.integers(1, 4))
    def ask(self, seed: int, requests: int) -> None:
        random = Random(seed)
        for _ in range(requests):
            if random.random() < 0.2:
                self.create_accounts(random, random.randrange(8))
            else:
                self.create_transfers(random, random.randrange(16))
            self.clock.now += random.randrange(100) if random.random() < 0.8 else TIMEOUT * SECOND

    def create_accounts(self, random: Random, count: int) -> None:
        request = self.traffic.accounts(random, count, self.past, self.clock.now)
        note(f"accounts: {request}")
        answers = self.ledger.create_accounts(request)
        self.let_the_model_expire(request)
        assert answers == self.model.create_accounts(request, self.clock.now)
        for account, answer in zip(request, answers, strict=True):
            if answer.status is CreateAccountStatus.CREATED:
                self.past.note(account, answer.timestamp)

    def create_transfers(self, random: Random, count: int) -> None:
        request = self.traffic.transfers(random, count, self.past, self.clock.now)
        seen = random.random() < 0.3
        note(f"transfers: {request}")
        carried = self.ledger.create_transfers(request, balances=True) if seen else None
        answers = self.ledger.create_transfers(request) if carried is None else [
            CreateTransferResult(answer.timestamp, answer.status) for answer in carried
        ]  # fmt: skip
        self.let_the_model_expire(request)
        assert answers == self.model.create_transfers(request, self.clock.now)
        if carried is not None:
            balances = [(answer.debit_balance, answer.credit_balance) for answer in carried]
            assert balances == model_queries.balances_after(self.model.books, request, answers)
        for transfer, answer in zip(request, answers, strict=True):
            if answer.status is CreateTransferStatus.CREATED:
                self.past.note(transfer, answer.timestamp)

    def let_the_model_expire(self, request: Sequence[object]) -> None:
        """As a request does before it is decided; one without events asks nothing."""
        if request:
            self.model.expire(self.clock.now)

    @rule(nanoseconds=st.one_of(st.integers(0, 900), st.sampled_from([-5_000, 10_000])))
    def let_time_pass(self, nanoseconds: int) -> None:
        self.clock.now = max(1_000, self.clock.now + nanoseconds)

    @rule(share=st.sampled_from([0.5, 1.0, 1.0, 2.0]), nanoseconds=st.integers(-20, 20))
    def let_timeouts_end(self, share: float, nanoseconds: int) -> None:
        self.clock.now += round(share * TIMEOUT * SECOND) + nanoseconds

    # --- looking ---

    @rule(ids=SOME_IDS)
    def look_up(self, ids: list[int]) -> None:
        books = self.model.books
        assert self.ledger.lookup_accounts(ids) == model_queries.lookup_accounts(books, ids)
        assert self.ledger.lookup_transfers(ids) == model_queries.lookup_transfers(books, ids)

    @rule(seed=SEEDS, queries=st.integers(1, 8))
    def query(self, seed: int, queries: int) -> None:
        random, times = Random(seed), self.past.times
        for _ in range(queries):
            self.query_account(account_filter(random, ACCOUNT_IDS, times))
            self.query_all(query_filter(random, times))

    def query_account(self, filter: AccountFilter) -> None:
        note(f"{filter}")
        transfers = self.ledger.get_account_transfers(filter)
        assert transfers == model_queries.get_account_transfers(self.model.books, filter)
        balances = self.ledger.get_account_balances(filter)
        assert balances == model_queries.get_account_balances(self.model.books, filter)

    def query_all(self, filter: QueryFilter) -> None:
        note(f"{filter}")
        accounts = self.ledger.query_accounts(filter)
        assert accounts == model_queries.query_accounts(self.model.books, filter)
        transfers = self.ledger.query_transfers(filter)
        assert transfers == model_queries.query_transfers(self.model.books, filter)

    @rule(share=st.floats(0, 1))
    def go_through_the_changes(self, share: float) -> None:
        first = round(share * (len(self.model.history) + 1))
        expected = model_queries.change_events(self.model.history)
        assert [
            (event.position, event.timestamp, event.type.name, event.transfer,
             event.debit_account, event.credit_account)
            for event in self.ledger.get_change_events(position_min=first)
        ] == [event for event in expected if event[0] >= first]  # fmt: skip

    @rule(share=st.floats(0, 1))
    def look_back_to_a_position(self, share: float) -> None:
        position = round(share * len(self.model.history))
        past = self.ledger.at(position=position)
        expected = self.model.at_position(position)
        assert past.lookup_accounts(ACCOUNT_IDS) == _those(expected, ACCOUNT_IDS)
        assert past.position == position  # replays it, and what is looked up from here on
        assert past.lookup_accounts(ACCOUNT_IDS) == _those(expected, ACCOUNT_IDS)
        took_effect = [
            event for _, event in self.model.history[:position] if isinstance(event, Transfer)
        ]
        assert past.transfer_count == len(took_effect)
        ids = [transfer.id for transfer in self.model.transfers.values()]
        assert past.lookup_transfers(ids) == took_effect

    @rule(share=st.floats(-0.1, 1.1))
    def look_back_to_a_time(self, share: float) -> None:
        last = max((timestamp for timestamp, _ in self.model.history), default=0)
        timestamp = max(0, round(share * last))
        past = self.ledger.at(timestamp=timestamp)
        expected = self.model.at_timestamp(timestamp)
        assert past.lookup_accounts(ACCOUNT_IDS) == _those(expected, ACCOUNT_IDS)
        assert past.timestamp <= timestamp
        assert past.lookup_accounts(ACCOUNT_IDS) == _those(expected, ACCOUNT_IDS)
        took_effect = [t for t in self.model.transfers.values() if t.timestamp <= timestamp]
        assert past.lookup_transfers(self.model.transfers) == took_effect

    # --- restarts ---

    @rule()
    def checkpoint(self) -> None:
        assert self.ledger.checkpoint().position == len(self.model.history)

    @rule(forget=st.sampled_from(FORGOTTEN))
    def close_and_reopen(self, forget: str) -> None:
        self.ledger.close()
        for derived in self.path.glob(forget) if forget else ():
            derived.unlink()
        self.reopen()

    @rule()
    def be_killed_and_reopen(self) -> None:
        """The files as they lie, without a close: what a kill would leave behind."""
        copy = self.path.with_name(str(int(self.path.name) + 1))
        copy_while_open(self.path, copy)
        self.ledger.close()
        shutil.rmtree(self.path)
        self.path = copy
        self.reopen()

    def reopen(self) -> None:
        self.ledger = self.open()
        self.model.reopen()

    # --- what always holds ---

    @invariant()
    def the_balances_are_the_models(self) -> None:
        accounts = self.ledger.lookup_accounts(ACCOUNT_IDS)  # first: it lets the ledger expire
        self.model.expire(self.clock.now)
        assert accounts == _those(self.model.accounts, ACCOUNT_IDS)
        assert self.ledger.position == len(self.model.history)
        assert self.ledger.transfer_count == len(self.model.transfers)
        debits = sum(account.debits_posted for account in accounts)
        assert debits == sum(account.credits_posted for account in accounts)
        debits = sum(account.debits_pending for account in accounts)
        assert debits == sum(account.credits_pending for account in accounts)

    @rule()
    def replay_from_the_first_event(self) -> None:
        report = audit(self.path)
        note(str(report.comparisons))
        assert report.passed
        assert report.state_sha256 == self.ledger.state_sha256()
        assert report.events == report.position == len(self.model.history)

    def teardown(self) -> None:
        try:
            self.replay_from_the_first_event()
        finally:
            self.ledger.close()
            shutil.rmtree(self.parent)


def _those(accounts: Balances, ids: Iterable[int]) -> list[Account]:
    return [accounts[id_] for id_ in ids if id_ in accounts]


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=40)
