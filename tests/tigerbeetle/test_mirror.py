"""The mirror: everything once and in order, as the journal grows."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    CreateTransferStatus,
    Ledger,
    NotALedger,
    Transfer,
    TransferFlags,
    audit,
)
from nostro.projections.tigerbeetle.errors import (
    OutOfOrder,
)
from nostro.projections.tigerbeetle.mirror.health import MirrorState
from tests.clocks import HandClock
from tests.tigerbeetle.journals import SECOND, expected, extend
from tests.tigerbeetle.mirrors import (
    ONE,
    assert_mirrored,
    mirror_of,
    written,
)
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    SimulatedCluster,
)
from tests.waiting import until


def test_a_journal_is_mirrored_whole(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """As many rows in a message as fit; a second time there is nothing to send."""
    with mirror_of(path, cluster) as mirror:
        health = mirror.catch_up()
        assert health.lag_events == 0
        assert health.events_mirrored == len(cluster.accounts) + len(cluster.transfers)
        assert_mirrored(path, cluster, clock)
        assert written(cluster) == [2, len(cluster.transfers)]
        mirror.catch_up()
    with mirror_of(path, cluster) as mirror:
        assert mirror.catch_up().lag_events == 0
    assert len(written(cluster)) == 2


@pytest.mark.parametrize("count_max", [1, 2, 4, 5, 100])
def test_messages_are_as_full_as_order_allows(
    path: Path, cluster: SimulatedCluster, clock: HandClock, count_max: int
) -> None:
    """None is larger than a message may be."""
    cluster.batch_events_max = count_max
    configuration = attrs.evolve(CONFIGURATION, batch_events_max=count_max)
    with mirror_of(path, cluster, configuration=configuration) as mirror:
        mirror.catch_up()
    assert_mirrored(path, cluster, clock)
    assert max(written(cluster)) <= count_max
    if count_max in {1, 5}:
        assert set(written(cluster)[2:-1]) == {min(count_max, 3)}


def test_it_follows_the_journal_as_it_grows(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """Without being asked; and says that it is live."""
    stop = threading.Event()
    with mirror_of(path, cluster) as mirror, closing(Ledger.open(path, clock=clock)) as ledger:
        thread = threading.Thread(target=mirror.run, args=(stop,))
        thread.start()
        try:
            until(lambda: mirror.health().state is MirrorState.LIVE)
            for _ in range(3):
                extend(ledger, clock, 1)
                until(lambda: not mirror.health().lag_events)
            health = mirror.health()
            assert health.is_healthy
            assert health.lag_seconds == 0
        finally:
            stop.set()
            thread.join(60)
        assert mirror.health().state is MirrorState.STOPPED
        assert not mirror.health().connected
    assert_mirrored(path, cluster, clock)


def test_what_a_cluster_has_no_use_for_is_passed_over(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """Refusals at the end count as mirrored, and nothing is sent for them."""
    with mirror_of(path, cluster) as mirror:
        mirror.catch_up()
        sent = len(written(cluster))
        with closing(Ledger.open(path, clock=clock)) as ledger:
            ledger.create_transfers([attrs.evolve(ONE, debit_account_id=77)])
            position = ledger.position
        assert mirror.catch_up().position == position
    assert len(written(cluster)) == sent
    with mirror_of(path, cluster) as mirror:
        assert mirror.catch_up().position == position


def test_edges(path: Path, cluster: SimulatedCluster, clock: HandClock) -> None:
    """Largest ids and amounts, closed accounts, chains longer than a message, expiries."""
    high = 2**128 - 2
    pending = attrs.evolve(ONE, flags=TransferFlags.PENDING)
    with closing(Ledger.open(path, clock=clock)) as ledger:
        ledger.create_accounts(
            [
                Account(id=high, ledger=1, code=1, user_data_128=AMOUNT_MAX),
                Account(id=5, ledger=1, code=1, flags=AccountFlags.CLOSED),
                Account(id=6, ledger=1, code=1, flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS),
            ]
        )
        requests = [
            attrs.evolve(ONE, id=high, amount=2**127, debit_account_id=high),
            attrs.evolve(pending, id=2**100, amount=50, timeout=1, user_data_64=7),
            attrs.evolve(pending, id=2**100 + 1, amount=60),
            Transfer(
                id=2**100 + 2, pending_id=2**100 + 1, amount=AMOUNT_MAX, user_data_128=9, code=1,
                flags=TransferFlags.POST_PENDING_TRANSFER,
            ),
            attrs.evolve(pending, id=2**100 + 3, amount=70),
            Transfer(
                id=2**100 + 4, pending_id=2**100 + 3, user_data_32=8,
                flags=TransferFlags.VOID_PENDING_TRANSFER,
            ),
            attrs.evolve(
                ONE, id=2**100 + 5, debit_account_id=2, credit_account_id=1, amount=AMOUNT_MAX,
                flags=TransferFlags.BALANCING_DEBIT,
            ),
            attrs.evolve(
                pending, id=2**100 + 6, amount=0, timeout=2,
                flags=TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT,
            ),
        ]  # fmt: skip
        answers = ledger.create_transfers(requests)
        assert {it.status for it in answers} == {CreateTransferStatus.CREATED}
        clock.now += 10 * SECOND  # what runs out of time opens account 1 again
        chain = [
            attrs.evolve(ONE, id=id_, amount=1, flags=TransferFlags.LINKED)
            for id_ in range(10_000, 10_020)
        ]
        answers = ledger.create_transfers([*chain, attrs.evolve(ONE, id=10_020)])
        assert {it.status for it in answers} == {CreateTransferStatus.CREATED}
        wanted = expected(ledger, batch_events_max=8)
    assert audit(path).passed
    configuration = attrs.evolve(CONFIGURATION, batch_events_max=8)
    cluster.batch_events_max = 8
    with mirror_of(path, cluster, configuration=configuration) as mirror:
        mirror.catch_up()
    assert cluster.accounts == wanted.accounts
    assert cluster.transfers == wanted.transfers


def test_an_import_from_before_an_expiry_stops_it(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """No cluster takes it. All before it is mirrored, nothing after, and the error says why."""
    with closing(Ledger.open(path, clock=clock)) as ledger:
        pending = attrs.evolve(ONE, timeout=1, flags=TransferFlags.PENDING)
        [answer] = ledger.create_transfers([pending])
        clock.now += 5 * SECOND
        ledger.lookup_accounts([1])
        before = ledger.position
        late = attrs.evolve(
            ONE, id=901, flags=TransferFlags.IMPORTED, timestamp=answer.timestamp + 1
        )
        assert ledger.create_transfers([late])[0].status is CreateTransferStatus.CREATED
        ledger.create_transfers([attrs.evolve(ONE, id=902)])
    for _ in range(2):
        with mirror_of(path, cluster) as mirror:
            with pytest.raises(OutOfOrder, match="transfer 901, imported") as caught:
                mirror.run(threading.Event())
            assert mirror.health().state is MirrorState.DIVERGED
            assert mirror.health().position == caught.value.position == before
    assert [it.pending_id for it in cluster.transfers[-1:]] == [900]


@pytest.mark.parametrize("in_flight_max", [1, 2, 3])
def test_no_message_overtakes_another(
    path: Path, cluster: SimulatedCluster, clock: HandClock, in_flight_max: int
) -> None:
    """The client library puts a small one with the first that waits and has room for it."""
    with closing(Ledger.open(path, clock=clock)) as ledger:
        for first, count in ((1_000, 8), (2_000, 7), (3_000, 8), (4_000, 1), (5_000, 8)):
            ledger.create_transfers(
                [attrs.evolve(ONE, id=id_) for id_ in range(first, first + count)]
            )
    cluster.batch_events_max = 8
    configuration = attrs.evolve(
        CONFIGURATION, batch_events_max=8, batches_in_flight_max=in_flight_max
    )
    with mirror_of(path, cluster, configuration=configuration) as mirror:
        mirror.catch_up()
    assert_mirrored(path, cluster, clock)


def test_a_mirror_needs_a_ledger(tmp_path: Path, cluster: SimulatedCluster) -> None:
    with pytest.raises(NotALedger):
        mirror_of(tmp_path, cluster)
    assert list(tmp_path.glob("mirror")) == []
