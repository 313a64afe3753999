"""Queries: each answers as a scan of everything does, wherever the transfers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nostro.projections.checkpoints.index_set
import nostro.projections.indexes.groups
import nostro.projections.indexes.posting_index
from nostro import (
    TIMESTAMP_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    CreateTransferStatus,
    Ledger,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
)
from tests.clocks import HandClock

FOLDS_TO_3: Final = 1 << 64 | 0x9E3779B97F4A7C15 ^ 3
"""An account that shares its groups in the index with account 3."""
IDS: Final = (1, 2, 3, FOLDS_TO_3, 2**100)
WITH_HISTORY: Final = (1, 3)
BOTH: Final = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS
USER_DATA: Final[dict[str, tuple[int, ...]]] = {
    "user_data_128": (0, 0, 5, FOLDS_TO_3, 2**127),
    "user_data_64": (0, 0, 5, 2**63),
    "user_data_32": (0, 0, 5, 2**31),
}


@attrs.define
class World:
    """A ledger, and in plain lists what it must hold."""

    path: Path
    clock: HandClock = attrs.field(factory=HandClock)
    accounts: list[Account] = attrs.field(factory=list)
    transfers: list[Transfer] = attrs.field(factory=list)
    balances: dict[int, list[AccountBalance]] = attrs.field(factory=dict)
    ledger: Ledger = attrs.field(init=False)
    next_id: int = 1

    def __attrs_post_init__(self) -> None:
        self.open()
        asked = [
            Account(
                id=id_,
                ledger=1 + number % 2,
                code=1 + number % 3,
                user_data_32=number % 2,
                user_data_64=number % 3,
                user_data_128=number % 2 * 2**127,
                flags=AccountFlags.HISTORY if id_ in WITH_HISTORY else AccountFlags.NONE,
            )
            for number, id_ in enumerate((*IDS, *range(10, 15)))
        ]
        asked = [attrs.evolve(account, ledger=1) for account in asked[:5]] + asked[5:]
        results = self.ledger.create_accounts(asked)
        self.accounts = [
            attrs.evolve(account, timestamp=result.timestamp)
            for account, result in zip(asked, results, strict=True)
        ]
        self.balances = {id_: [] for id_ in IDS}

    def open(self) -> None:
        self.ledger = Ledger.open(
            self.path, clock=self.clock, checkpoint_events=10**6, segment_bytes_max=4096
        )

    def reopen(self) -> None:
        self.ledger.close()
        self.open()

    def post(self, drawn: list[Transfer]) -> None:
        batch = []
        for transfer in drawn:
            batch.append(attrs.evolve(transfer, id=self.next_id))
            self.next_id += 1
        self.clock.now += 7
        for transfer, result in zip(batch, self.ledger.create_transfers(batch), strict=True):
            if result.status is CreateTransferStatus.CREATED:
                self.take(attrs.evolve(transfer, timestamp=result.timestamp))

    def take(self, transfer: Transfer) -> None:
        self.transfers.append(transfer)
        for number, before in enumerate(self.accounts):
            if before.id == transfer.debit_account_id:
                account = attrs.evolve(before, debits_posted=before.debits_posted + transfer.amount)
            elif before.id == transfer.credit_account_id:
                account = attrs.evolve(
                    before, credits_posted=before.credits_posted + transfer.amount
                )
            else:
                continue
            self.accounts[number] = account
            self.balances[account.id].append(
                AccountBalance(
                    0, account.debits_posted, 0, account.credits_posted, transfer.timestamp
                )
            )

    # the scan

    def scan(self, filter: AccountFilter | QueryFilter, events: list[Any]) -> list[Any]:
        fields = ("user_data_128", "user_data_64", "user_data_32", "ledger", "code")
        found = [
            event
            for event in events
            if all(getattr(filter, f, 0) in (0, getattr(event, f)) for f in fields)
            and (filter.timestamp_min or 1) <= event.timestamp
            and event.timestamp <= (filter.timestamp_max or TIMESTAMP_MAX)
        ]
        if filter.timestamp_max and filter.timestamp_min > filter.timestamp_max:
            found = []
        if filter.flags & type(filter.flags).REVERSED:
            found.reverse()
        return found[: filter.limit]

    def scan_account(self, filter: AccountFilter) -> list[Transfer]:
        return self.scan(
            filter,
            [
                transfer
                for transfer in self.transfers
                if (
                    AccountFilterFlags.DEBITS in filter.flags
                    and transfer.debit_account_id == filter.account_id
                )
                or (
                    AccountFilterFlags.CREDITS in filter.flags
                    and transfer.credit_account_id == filter.account_id
                )
            ],
        )

    def check(self, filter: AccountFilter | QueryFilter) -> None:
        ledger = self.ledger
        if isinstance(filter, QueryFilter):
            assert ledger.query_transfers(filter) == self.scan(filter, self.transfers)
            assert ledger.query_accounts(filter) == self.scan(filter, self.accounts)
            return
        transfers = self.scan_account(filter)
        assert ledger.get_account_transfers(filter) == transfers
        times = {transfer.timestamp: number for number, transfer in enumerate(transfers)}
        balances = [b for b in self.balances.get(filter.account_id, []) if b.timestamp in times]
        balances.sort(key=lambda balance: times[balance.timestamp])
        expected = balances if filter.account_id in WITH_HISTORY else []
        assert ledger.get_account_balances(filter) == expected


def drawn_transfers(*, large: bool) -> st.SearchStrategy[list[Transfer]]:
    one = st.builds(
        lambda accounts, amount, code, fails, **data: Transfer(
            debit_account_id=accounts[0],
            credit_account_id=404 if fails else accounts[1],
            amount=amount,
            ledger=1,
            code=code,
            **data,
        ),
        accounts=st.permutations(IDS),
        amount=st.sampled_from([0, 1, 7, 2**70]),
        code=st.sampled_from([1, 1, 1, 2, 3]),
        fails=st.sampled_from([False] * 5 + [True]),
        **{name: st.sampled_from(values) for name, values in USER_DATA.items()},
    )
    if large:  # by columns: the rules of plain batches
        return st.lists(one, min_size=3, max_size=6).map(lambda drawn: drawn * 25)
    return st.lists(one, min_size=1, max_size=4)


@st.composite
def filters(draw: st.DrawFn, world: World) -> AccountFilter | QueryFilter:
    """Filters of which most find something."""
    events: list[Account | Transfer] = [*world.transfers, *world.accounts]
    times = [event.timestamp for event in events]
    time = st.one_of(
        st.just(0), st.sampled_from(times), st.sampled_from(times).map(lambda t: t + 1)
    )
    first, last = draw(time), draw(time)
    if draw(st.integers(0, 9)) and first > last > 0:
        first, last = last, first
    some: dict[str, Any] = {
        name: draw(st.sampled_from((0, 0, 0, *values))) for name, values in USER_DATA.items()
    }
    some |= {
        "code": draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4])),
        "limit": draw(st.sampled_from([1, 2, 5, 50, 65_536])),
        "timestamp_min": first,
        "timestamp_max": last,
    }
    is_reversed = draw(st.booleans())
    if draw(st.booleans()):
        flags = draw(st.sampled_from([BOTH, BOTH, *AccountFilterFlags][:4]))
        flags |= AccountFilterFlags.REVERSED if is_reversed else AccountFilterFlags.NONE
        return AccountFilter(account_id=draw(st.sampled_from((*IDS, 99))), flags=flags, **some)
    return QueryFilter(
        ledger=draw(st.sampled_from([0, 0, 1, 2])),
        flags=QueryFilterFlags.REVERSED if is_reversed else QueryFilterFlags.NONE,
        **some,
    )


SMALL_PARTS: Final[tuple[tuple[ModuleType, dict[str, int]], ...]] = (
    (
        nostro.projections.indexes.posting_index,
        {"_CHUNK_ROWS": 6, "_CHUNK_ROWS_MAX": 13, "_SEARCHES_PAY": 2, "RANGE_POSITIONS": 8},
    ),
    (nostro.projections.checkpoints.index_set, {"RUN_ROWS": 20}),
    (nostro.projections.indexes.groups, {"PIECE": 5}),
    (
        nostro.projections.queries.index_search,
        {"_STEP_MIN": 2, "_STEP_MAX": 16, "RANGE_POSITIONS": 8},
    ),
)


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Parts, pieces and stretches as small as they come, so that little data has all of them."""
    with pytest.MonkeyPatch.context() as patch:
        for module, sizes in SMALL_PARTS:
            for name, size in sizes.items():
                # private: the real sizes need millions of transfers
                patch.setattr(module, name, size)
        yield


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_query_equals_a_scan(data: st.DataObject) -> None:
    """Whatever was written, frozen, merged, lost or opened again, and whatever is asked."""
    with TemporaryDirectory() as folder:
        world = World(Path(folder) / "ledger")
        try:
            for _ in range(data.draw(st.integers(1, 8), "steps")):
                take_a_step(world, data)
                for _ in range(3):
                    world.check(data.draw(filters(world)))
        finally:
            world.ledger.close()


def take_a_step(world: World, data: st.DataObject) -> None:
    step = data.draw(st.sampled_from(["small", "small", "large", "keep", "open", "lose"]))
    if step in {"small", "large"}:
        world.post(data.draw(drawn_transfers(large=step == "large")))
    elif step == "keep":
        world.ledger.checkpoint()
    elif step == "open":
        world.reopen()
    else:
        world.ledger.close()
        files = [*(world.path / "indexes").iterdir(), *(world.path / "checkpoints").iterdir()]
        for file in data.draw(st.sets(st.sampled_from(sorted(files)))):
            file.unlink()
        world.open()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "ledger")
    yield world
    world.ledger.close()


def moving(debit: int, credit: int, amount: int = 7) -> Transfer:
    return Transfer(
        debit_account_id=debit, credit_account_id=credit, amount=amount, ledger=1, code=1
    )


def test_accounts_that_share_a_group_are_told_apart(world: World) -> None:
    """A transfer between the two of them stands twice in the group, and once in the answer."""
    world.post([moving(3, FOLDS_TO_3), moving(FOLDS_TO_3, 3), moving(3, 1), moving(1, FOLDS_TO_3)])
    world.ledger.checkpoint()
    for account_id in (3, FOLDS_TO_3):
        for flags in (BOTH, AccountFilterFlags.DEBITS, AccountFilterFlags.CREDITS):
            for more in (AccountFilterFlags.NONE, AccountFilterFlags.REVERSED):
                world.check(AccountFilter(account_id, limit=50, flags=flags | more))


def test_balances_come_from_every_part_of_the_history(world: World) -> None:
    """From runs and from what is newer, for just those transfers that are asked for."""
    for _ in range(3):
        world.post([moving(1, 2), moving(2, 1), moving(2, 1), moving(3, 1), moving(1, 3)])
        world.ledger.checkpoint()
        world.post([moving(1, 2, amount=1), moving(2, 1, amount=2**70)])
    for flags in (BOTH, AccountFilterFlags.DEBITS, AccountFilterFlags.CREDITS):
        for more in (AccountFilterFlags.NONE, AccountFilterFlags.REVERSED):
            for limit in (1, 4, 5, 50):
                world.check(AccountFilter(1, limit=limit, flags=flags | more))
                world.check(AccountFilter(3, limit=limit, code=1, flags=flags | more))
