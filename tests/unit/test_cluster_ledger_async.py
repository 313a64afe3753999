"""The ledger in a cluster for asyncio: the same answers, and tasks that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from nostro import (
    Account,
    AccountFilter,
    AsyncClusterLedger,
    LedgerClosed,
    QueryFilter,
    Transfer,
    TransferFailed,
    TransferFlags,
)
from nostro.journal.rows import transfer_rows
from nostro.projections.tigerbeetle.errors import ClusterUnreachable, OutcomeUnknown
from tests.simulated_cluster import Fault, Impatient, SimulatedCluster, configuration
from tests.waiting import TIMEOUT_SECONDS, until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimulatedCluster]:
    """With two accounts."""
    with SimulatedCluster(tmp_path) as opened:
        opened.ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        yield opened


async def connected(cluster: SimulatedCluster, **options: Any) -> AsyncClusterLedger:  # noqa: ANN401
    seconds = options.pop("timeout_seconds", 0.02)
    return await AsyncClusterLedger.open(
        configuration(timeout_seconds=seconds),
        connect=cluster.connect, **{"breaker": Impatient, **options},
    )  # fmt: skip


def move(id_: int) -> Transfer:
    return Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1)


def test_every_method_answers_as_the_ledger_does(cluster: SimulatedCluster) -> None:
    """Objects and rows, look-ups and queries."""

    async def use() -> None:
        async with await connected(cluster) as ledger:
            [created] = await ledger.create_accounts([Account(id=3, ledger=1, code=1)])
            assert created.status.name == "CREATED"
            results = await ledger.create_transfers(transfer_rows([move(11), move(12)]))
            assert np.all(results["status"] == 0xFFFFFFFF)
            assert [it.id for it in await ledger.lookup_accounts([3, 1])] == [3, 1]
            found = await ledger.lookup_transfers([11, 12])
            assert [it.id for it in found] == [11, 12]
            assert await ledger.get_account_transfers(AccountFilter(1)) == found
            assert await ledger.get_account_balances(AccountFilter(1)) == []
            assert await ledger.query_transfers(QueryFilter(code=1)) == found
            assert len(await ledger.query_accounts(QueryFilter(limit=2))) == 2
        assert not ledger.is_open
        with pytest.raises(LedgerClosed):
            await ledger.lookup_accounts([1])

    asyncio.run(use())
    assert cluster.sessions_open == 0


def test_a_request_is_copied_when_it_is_made(cluster: SimulatedCluster) -> None:
    """An array that is filled anew before the request is awaited changes nothing of it."""

    async def use() -> list[int]:
        async with await connected(cluster) as ledger:
            buffer, tasks = transfer_rows([move(0)]).copy(), []
            for id_ in (11, 12):
                buffer["id"][:, 0] = buffer["amount"][:, 0] = id_
                tasks.append(asyncio.create_task(ledger.create_transfers(buffer)))
            buffer["amount"][:, 0] = 999
            await asyncio.gather(*tasks)
            return [it.amount for it in await ledger.lookup_transfers([11, 12])]

    assert asyncio.run(use()) == [11, 12]


def test_a_chain_that_is_sent_again_is_looked_up_in_the_cluster(cluster: SimulatedCluster) -> None:
    """Whether it happened before, the statuses do not say."""
    linked = TransferFlags.LINKED
    chain = [attrs.evolve(move(11), flags=linked), move(12)]
    other = [chain[0], move(13)]

    async def use() -> None:
        async with await connected(cluster) as ledger:
            for _ in range(2):
                results = await ledger.create_transfers(chain)
                await ledger.raise_for_status(results, chain, allow_exists=True)
            results = await ledger.create_transfers(other)
            with pytest.raises(TransferFailed, match="row 0: transfer 11: exists"):
                await ledger.raise_for_status(results, other, allow_exists=True)

    asyncio.run(use())


def test_many_tasks_at_once_lose_nothing(cluster: SimulatedCluster) -> None:
    """Whatever is lost on the way."""
    losses = [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.EVICT_AFTER, Fault.NONE] * 5

    async def use() -> list[str]:
        async with await connected(cluster, sessions=3, attempts_max=30) as ledger:
            cluster.faults.extend(losses)
            answers = await asyncio.gather(
                *(ledger.create_transfers([move(id_)]) for id_ in range(11, 61))
            )
            return [result.status.name for [result] in answers]

    assert asyncio.run(use()) == ["CREATED"] * 50
    [account] = cluster.ledger.lookup_accounts([1])
    assert account.debits_posted == 50
    assert cluster.sessions_open == 0


def test_what_is_never_answered_is_unknown(cluster: SimulatedCluster) -> None:
    """As in a thread; and a cluster that does not answer is not opened."""

    async def use() -> None:
        async with await connected(cluster, attempts_max=2) as ledger:
            cluster.faults.extend([Fault.LOSE_REPLY] * 2)
            with pytest.raises(OutcomeUnknown) as caught:
                await ledger.create_transfers([move(11)])
            assert caught.value.ids == (11,)
            cluster.faults.extend([Fault.LOSE_REQUEST] * 2)
            with pytest.raises(ClusterUnreachable):
                await connected(cluster, attempts_max=2)

    asyncio.run(use())
    assert cluster.sessions_open == 0


def test_a_task_that_is_cancelled_leaves_the_others_their_session(
    cluster: SimulatedCluster,
) -> None:
    """Its request stays under way, and ends with the session, in silence."""

    async def use() -> None:
        async with await connected(cluster, timeout_seconds=TIMEOUT_SECONDS) as ledger:
            cluster.faults.append(Fault.LOSE_REPLY)
            task = asyncio.create_task(ledger.create_transfers([move(11)]))
            await asyncio.to_thread(until, lambda: cluster.has_lost)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not cluster.sessions[0].lost[0].done()
            [result] = await ledger.create_transfers([move(12)])
            assert result.status.name == "CREATED"

    asyncio.run(use())


def test_closing_ends_what_others_wait_for(cluster: SimulatedCluster) -> None:
    """Of writing nothing is known."""

    async def use() -> None:
        ledger = await connected(cluster, timeout_seconds=TIMEOUT_SECONDS)
        cluster.faults.append(Fault.LOSE_REPLY)
        task = asyncio.create_task(ledger.create_transfers([move(11)]))
        await asyncio.to_thread(until, lambda: cluster.has_lost)
        await ledger.close()
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(task, TIMEOUT_SECONDS / 2)

    asyncio.run(use())
