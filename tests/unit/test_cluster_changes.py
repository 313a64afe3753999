"""Change events of a cluster that loses requests and replies, and balances by way of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from nostro import (
    Account,
    AsyncClusterLedger,
    ClusterLedger,
    CreateTransferStatus,
    InvalidField,
    LedgerClosed,
    OutOfRange,
    Transfer,
)
from nostro.projections.tigerbeetle.errors import (
    BalancesUnknown,
    ConnectionFailed,
    SessionClosed,
)
from nostro.projections.tigerbeetle.operations import Operation
from tests.simulated_cluster import Fault, Impatient, SimulatedCluster, configuration
from tests.waiting import TIMEOUT_SECONDS, until

S: Final = CreateTransferStatus
LOSSES: Final = (Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.EVICT_BEFORE, Fault.EVICT_AFTER)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimulatedCluster]:
    """With two accounts and three transfers; three change events are in a reply."""
    with SimulatedCluster(tmp_path, changes_max=3) as opened:
        opened.ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        opened.ledger.create_transfers([move(id_) for id_ in (11, 12, 13)])
        yield opened


@pytest.fixture
def ledger(cluster: SimulatedCluster) -> Iterator[ClusterLedger]:
    with ClusterLedger.open(
        configuration(timeout_seconds=0.02), connect=cluster.connect, breaker=Impatient
    ) as opened:
        yield opened


def move(id_: int, **fields: Any) -> Transfer:  # noqa: ANN401
    given: dict[str, Any] = {
        "id": id_, "debit_account_id": 1, "credit_account_id": 2, "amount": 1, "ledger": 1,
        "code": 1,
    }  # fmt: skip
    return Transfer(**{**given, **fields})


def asked(cluster: SimulatedCluster) -> int:
    """How many times the cluster was asked for change events."""
    return sum(operation is Operation.GET_CHANGE_EVENTS for operation, _ in cluster.requests)


@pytest.mark.parametrize("fault", LOSSES)
def test_what_was_lost_is_asked_for_again(
    cluster: SimulatedCluster, ledger: ClusterLedger, fault: Fault
) -> None:
    """And told once, in order; a cluster's events have no position."""
    cluster.ledger.create_transfers([move(id_) for id_ in range(14, 18)])
    cluster.faults.extend([fault, Fault.NONE, fault])
    events = list(ledger.get_change_events())
    assert [event.transfer.id for event in events] == list(range(11, 18))
    assert {event.position for event in events} == {0}
    assert not cluster.faults


def test_no_answer_is_an_error_after_which_one_goes_on(
    cluster: SimulatedCluster, ledger: ClusterLedger
) -> None:
    """Behind the last event that was told."""
    following = ledger.get_change_events(follow=True)
    seen = [next(following) for _ in range(3)]
    cluster.ledger.create_transfers([move(14)])
    cluster.faults.extend([Fault.LOSE_REPLY] * 3)
    with pytest.raises(ConnectionFailed):
        next(following)
    following = ledger.get_change_events(timestamp_min=seen[-1].timestamp + 1, follow=True)
    assert next(following).transfer.id == 14


def test_closing_ends_those_who_follow_and_tells_those_who_read(
    cluster: SimulatedCluster, ledger: ClusterLedger
) -> None:
    """Who reads has not been told everything."""
    cluster.ledger.create_transfers([move(14)])
    seen: list[int] = []

    def read(stop: threading.Event | None) -> None:
        following = ledger.get_change_events(follow=True, stop=stop)
        seen.extend(event.transfer.id for event in following)

    readers = [threading.Thread(target=read, args=(stop,)) for stop in (None, threading.Event())]
    for reader in readers:
        reader.start()
    until(lambda: len(seen) == 8)
    reading = ledger.get_change_events()
    next(reading)
    ledger.close()
    for reader in readers:
        reader.join(TIMEOUT_SECONDS)
        assert not reader.is_alive()
    with pytest.raises(LedgerClosed):
        list(reading)
    with pytest.raises(LedgerClosed):
        ledger.get_change_events(follow=True)


def test_balances_are_those_after_the_first_sending(
    cluster: SimulatedCluster, ledger: ClusterLedger
) -> None:
    """Also when its reply was lost, and others have moved the accounts since."""
    cluster.faults.append(Fault.EVICT_AFTER)
    cluster.before_reply = lambda: cluster.ledger.create_transfers([move(99)])
    answers = ledger.create_transfers([move(14), move(15, code=0), move(16)], balances=True)
    told = [(it.status.name, it.debit_balance and it.debit_balance.debits_posted) for it in answers]
    assert told == [("CREATED", 4), ("CODE_MUST_NOT_BE_ZERO", None), ("CREATED", 5)]


def test_balances_that_were_not_told_are_unknown_and_nothing_else(
    cluster: SimulatedCluster, ledger: ClusterLedger
) -> None:
    """Every transfer has its answer."""
    cluster.faults.extend([Fault.NONE] + [Fault.LOSE_REPLY] * 3)
    with pytest.raises(BalancesUnknown, match="3 transfers are answered, but") as caught:
        ledger.create_transfers([move(13), move(15, code=0), move(16)], balances=True)
    unknown = caught.value
    assert (unknown.row, unknown.ids, unknown.kind) == (3, (), "transfers")
    exists, code_is_zero, created = S.EXISTS, S.CODE_MUST_NOT_BE_ZERO, S.CREATED
    assert unknown.results["status"].tolist() == [exists, code_is_zero, created]
    [found] = cluster.ledger.lookup_transfers([16])
    assert unknown.results["timestamp"][2] == found.timestamp


def test_balances_are_unknown_when_the_ledger_is_closed_just_then(
    cluster: SimulatedCluster,
) -> None:
    """What was created is told all the same."""
    waiting = configuration(timeout_seconds=TIMEOUT_SECONDS)
    with ClusterLedger.open(waiting, connect=cluster.connect) as ledger:
        cluster.faults.extend([Fault.NONE, Fault.LOSE_REPLY])

        def close() -> None:
            until(lambda: cluster.has_lost)
            ledger.close()

        closing = threading.Thread(target=close)
        closing.start()
        with pytest.raises(BalancesUnknown) as caught:
            ledger.create_transfers([move(14)], balances=True)
        closing.join(TIMEOUT_SECONDS)
    assert caught.value.results["status"].tolist() == [S.CREATED]
    assert isinstance(caught.value.cause, SessionClosed)


def test_balances_that_the_cluster_does_not_keep_are_none(
    cluster: SimulatedCluster, ledger: ClusterLedger
) -> None:
    """It tells no others in their place."""
    cluster.changes_max = 0
    [answer] = ledger.create_transfers([move(14)], balances=True)
    assert answer.status.name == "CREATED"
    assert answer.debit_balance is answer.credit_balance is None


def test_balances_are_asked_for_once_a_message(
    cluster: SimulatedCluster, ledger: ClusterLedger
) -> None:
    """And not at all when nothing was created."""
    ledger.create_transfers([move(14), move(15), move(16)], balances=True)
    assert asked(cluster) == 1
    ledger.create_transfers([move(14), move(17, code=0)], balances=True)
    ledger.create_transfers([], balances=True)
    assert asked(cluster) == 1


def test_tasks_are_told_the_same(cluster: SimulatedCluster) -> None:
    """Change events and balances; following ends when the ledger is closed."""

    async def use() -> None:
        ledger = await AsyncClusterLedger.open(configuration(), connect=cluster.connect)
        [answer] = await ledger.create_transfers([move(14)], balances=True)
        assert answer.credit_balance is not None
        assert answer.credit_balance.credits_posted == 4
        ids = [event.transfer.id async for event in ledger.get_change_events()]
        assert ids == [11, 12, 13, 14]
        late = ledger.get_change_events(
            timestamp_min=answer.timestamp, follow=True, timeout_seconds=0.05
        )
        assert [event.transfer.id async for event in late] == [14]
        with pytest.raises(OutOfRange):
            await anext(ledger.get_change_events(timestamp_min=-1))
        wrong: Any = "x"
        with pytest.raises(InvalidField):
            await anext(ledger.get_change_events(timeout_seconds=wrong))

        async def follow() -> list[int]:
            return [event.transfer.id async for event in ledger.get_change_events(follow=True)]

        following = asyncio.create_task(follow())
        reads = asked(cluster)
        await asyncio.to_thread(until, lambda: asked(cluster) > reads + 1)
        await ledger.close()
        assert await asyncio.wait_for(following, TIMEOUT_SECONDS) == [11, 12, 13, 14]

    asyncio.run(use())
