"""The mirror: everything once and in order, nothing sent too early, and a stop where it must."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

import attrs
import pytest

from journal import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    CreateTransferStatus,
    NotALedger,
    Transfer,
    TransferFlags,
)
from journal.codec import Rows
from journal.reader import Reader
from journal.storage import Storage
from projections import Ledger, audit
from projections.tigerbeetle import mirror as module
from projections.tigerbeetle.breaker import Breaker
from projections.tigerbeetle.configuration import ClusterConfiguration
from projections.tigerbeetle.cursor import read_cursor
from projections.tigerbeetle.errors import (
    AlreadyMirrored,
    ClientFailed,
    ClusterAhead,
    ClusterBehind,
    ClusterClockBehind,
    ClusterUnreachable,
    ConnectionFailed,
    ForeignData,
    HostUnknown,
    OutOfOrder,
    ReleaseMismatch,
    RowsDiffer,
    SessionEvicted,
)
from projections.tigerbeetle.health import MirrorState
from projections.tigerbeetle.mirror import Mirror
from projections.tigerbeetle.session import Operation, Reply
from tests.clocks import HandClock
from tests.disks import FullDisk
from tests.tigerbeetle.journals import SECOND, ends, expected, extend, feed
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    CREATING,
    Network,
    Session,
    SimulatedCluster,
)
from tests.waiting import until

ONE: Final = Transfer(id=900, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1)


class Quick(Breaker):
    """Waits next to nothing."""

    def failed(self) -> float:
        super().failed()
        return 0.001


def mirror_of(
    path: Path,
    cluster: SimulatedCluster,
    connect: Callable[[], Session] | None = None,
    configuration: ClusterConfiguration = CONFIGURATION,
) -> Mirror:
    return Mirror(path, configuration, connect=connect or cluster.connect, breaker=Quick())


def assert_mirrored(path: Path, cluster: SimulatedCluster, clock: HandClock) -> None:
    with closing(Ledger.open(path, clock=clock)) as ledger:
        wanted = expected(ledger)
    assert cluster.accounts == wanted.accounts
    assert cluster.transfers == wanted.transfers


def written(cluster: SimulatedCluster) -> list[int]:
    """How many rows each request held that creates."""
    return [count for operation, count in cluster.requests if operation in CREATING]


# --- everything, once, in order ---


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


# --- the cluster's clock ---


class Watchful(Session):
    """Notes how far the cluster's clock was known to be when what was sent was sent."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        super().__init__(cluster)
        self.known = 0
        self.early = 0
        """So many requests that follow others unanswered might have been refused by the clock."""
        self.followed = 0
        self._newest = 0

    def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
        if operation in CREATING:
            newest = int(body["timestamp"].max())
            if any(request.operation in CREATING for request in self.waiting):
                self.followed += 1
                self.early += max(newest, self._newest) >= self.known
            self._newest = newest
        future = super().submit(operation, body)
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Future[Reply]) -> None:
        if future.exception() is None:
            self.known = max(self.known, future.result().timestamp)


@pytest.mark.parametrize("ahead", [SECOND, 1, -SECOND // 2, -3 * SECOND])
@pytest.mark.parametrize("in_flight_max", [1, 2, 3])
def test_nothing_is_sent_ahead_of_the_clock(
    path: Path, cluster: SimulatedCluster, clock: HandClock, ahead: int, in_flight_max: int
) -> None:
    """A message follows others unanswered only if the clock cannot refuse any of them."""
    cluster.clock = lambda: clock.now + ahead
    session = Watchful(cluster)
    configuration = attrs.evolve(
        CONFIGURATION, batch_events_max=3, batches_in_flight_max=in_flight_max
    )
    with mirror_of(path, cluster, lambda: session, configuration) as mirror:
        if ahead < 0:
            with pytest.raises(ClusterClockBehind):
                mirror.catch_up()
        else:
            mirror.catch_up()
    assert session.early == 0
    assert session.in_flight_max <= in_flight_max
    assert (session.followed > 0) == (in_flight_max > 1)


def test_a_clock_that_is_behind_is_waited_for(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """What it refused is sent again until it is there; a message may have been taken in part."""
    behind = [15 * SECOND]
    cluster.clock = lambda: clock.now - behind[0]
    with mirror_of(path, cluster) as mirror:
        held = set()
        while behind[0] > -SECOND:
            with pytest.raises(ClusterClockBehind, match="set the clocks"):
                mirror.catch_up()
            held.add(len(cluster.transfers))
            behind[0] -= SECOND // 2 if behind[0] > 0 else 2 * SECOND
        mirror.catch_up()
    assert len(held) > 5
    assert_mirrored(path, cluster, clock)


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


# --- answers ---


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": 99},
        {"user_data_128": 2**100},
        {"code": 7},
        {"timestamp": 5},
        {"flags": TransferFlags.IMPORTED | TransferFlags.LINKED},
    ],
)
def test_what_is_there_already_is_not_taken_on_trust(
    path: Path, cluster: SimulatedCluster, clock: HandClock, changes: dict[str, int]
) -> None:
    """``exists`` counts if what exists says the same; else nothing more is sent."""
    feed(cluster, path, ends(path)[4], rows=2)
    id_ = cluster.transfers[-1].id
    changed = attrs.evolve(cluster.transfers[-1], **changes)  # type: ignore[arg-type]
    cluster.rules.transfers[id_] = changed
    with mirror_of(path, cluster) as mirror:
        if not changes:
            mirror.catch_up()
            assert_mirrored(path, cluster, clock)
            return
        with pytest.raises(RowsDiffer, match=f"transfer {id_}: {next(iter(changes))}: .* / "):
            mirror.catch_up()
        assert mirror.health().position == ends(path)[4]
    assert cluster.rules.transfers[id_] == changed


def test_an_id_that_is_used_up_in_the_cluster_stops_it(
    path: Path, cluster: SimulatedCluster
) -> None:
    """It is not there, and never will be: the error names the transfer and what was answered."""
    third = ends(path)[2]
    id_ = list(Reader(path).records())[2].rows["id"][1, 0]
    cluster.rules.used_up.add(int(id_))
    with mirror_of(path, cluster) as mirror:
        with pytest.raises(RowsDiffer, match=f"transfer {id_}: status: created / id_already_fail"):
            mirror.catch_up()
        assert mirror.health().position < third


class Losing(Session):
    """Carries out so many requests that create; the next one is lost, and so is all after it."""

    def __init__(self, cluster: SimulatedCluster, carried_out: int) -> None:
        super().__init__(cluster)
        self._left = carried_out

    def carry_out_next(self) -> bool:
        if self.waiting[0].operation in CREATING:
            self._left -= 1
        return self._left >= 0 and super().carry_out_next()


def test_the_cursor_moves_after_the_answer(path: Path, cluster: SimulatedCluster) -> None:
    """Whichever request is lost, it has got no further than what the cluster holds."""
    configuration = attrs.evolve(CONFIGURATION, batch_events_max=3)
    messages = ends(path)
    for carried_out in range(len(messages)):
        fresh = SimulatedCluster(cluster.clock)
        losing = Losing(fresh, carried_out)
        with mirror_of(path, fresh, lambda it=losing: it, configuration) as mirror:  # type: ignore[misc]
            with pytest.raises(ClusterUnreachable):
                mirror.catch_up()
            position = mirror.health().position
        assert len(fresh.transfers) == 3 * max(0, carried_out - 1)
        assert sum(end <= position for end in messages) == carried_out
        cursor = read_cursor(Storage(), Reader(path), 7)
        assert (cursor.position if cursor is not None else 0) == position
        for file in (path / "checkpoints").glob("tigerbeetle_*"):
            file.unlink()


# --- connections ---


class Scripted:
    """Opens sessions one after the other: an error, a session that gets stuck, or a sound one."""

    def __init__(self, cluster: SimulatedCluster, *script: Exception | str) -> None:
        self.network = Network(cluster, Random(1))
        self.script = list(script)
        self.opened = 0

    def __call__(self) -> Session:
        self.opened += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        session = self.network.connect()
        session.is_stuck = step == "stuck"
        return session


def run_until(mirror: Mirror, condition: Callable[[], object]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=mirror.run, args=(stop,))
    thread.start()
    try:
        until(condition)
    finally:
        stop.set()
        thread.join(60)


def test_it_tries_again_until_there_is_an_answer(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """And tells of it meanwhile; after a success nothing of it is left but the last error."""
    connect = Scripted(cluster, *["stuck"] * 3, SessionEvicted())
    waited: list[int] = []
    states: list[MirrorState] = []

    class Noting(Quick):
        def failed(self) -> float:
            states.append(mirror.health().state)
            assert not mirror.health().connected
            wait = super().failed()
            waited.append(self.failures)
            return wait

    breaker = Noting()
    with Mirror(path, CONFIGURATION, connect=connect, breaker=breaker, clock=clock) as mirror:
        run_until(mirror, lambda: mirror.health().state is MirrorState.LIVE)
        assert waited == [1, 2, 3, 4]
        assert states == [MirrorState.RETRYING] * 4
        assert not breaker.is_open
        health = mirror.health()
        assert health.failures == 4
        assert health.last_error is not None
        assert "at most 64" in health.last_error
        assert health.last_error_at == clock.now
    assert_mirrored(path, cluster, clock)


def test_it_can_be_stopped_while_it_waits_for_the_next_attempt(
    path: Path, cluster: SimulatedCluster
) -> None:
    """However long that wait is."""

    class Slow(Breaker):
        def failed(self) -> float:
            return super().failed() + 3_600

    connect = Scripted(cluster, *["stuck"] * 100)
    with Mirror(path, CONFIGURATION, connect=connect, breaker=Slow()) as mirror:
        run_until(mirror, lambda: mirror.health().state is MirrorState.RETRYING)
        assert mirror.health().state is MirrorState.STOPPED
    assert connect.opened == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ReleaseMismatch("old"), MirrorState.FAILED),
        (ClientFailed("no room"), MirrorState.FAILED),
        (ForeignData("account", 1, 2), MirrorState.DIVERGED),
    ],
)
def test_what_no_further_attempt_helps_ends_it(
    path: Path, cluster: SimulatedCluster, error: Exception, state: MirrorState
) -> None:
    connect = Scripted(cluster, error)
    with mirror_of(path, cluster, connect) as mirror:
        with pytest.raises(type(error)):
            mirror.run(threading.Event())
        assert mirror.health().state is state
        assert mirror.health().last_error == str(error)
        assert not mirror.health().is_healthy
    assert connect.opened == 1


@pytest.mark.parametrize("known", [False, True])
def test_a_replaced_cluster_is_not_written_to(
    path: Path, cluster: SimulatedCluster, *, known: bool
) -> None:
    """In the same life and in the next one."""
    with mirror_of(path, cluster) as mirror:
        mirror.catch_up()
        fresh = SimulatedCluster(cluster.clock)
        if known:
            mirror._connect = fresh.connect
            with pytest.raises(ClusterBehind):
                mirror.catch_up()
    if not known:
        with mirror_of(path, fresh) as mirror, pytest.raises(ClusterBehind):
            mirror.catch_up()
    assert written(fresh) == []


def test_another_client_that_writes_is_noticed(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """Nothing of it is overwritten."""
    with mirror_of(path, cluster) as mirror:
        mirror.catch_up()
        cluster.rules.create_transfers([ONE], clock.now + SECOND)
        with pytest.raises(ClusterAhead, match="transfer 900"):
            mirror.catch_up()
    assert cluster.transfers[-1].id == 900


def test_nobody_knows_the_host(path: Path, clock: HandClock) -> None:
    """Which may pass, so it is tried again."""

    def connect() -> Session:
        raise HostUnknown("nowhere.invalid", "Name or service not known")

    with Mirror(path, CONFIGURATION, connect=connect, breaker=Quick()) as mirror:
        with pytest.raises(ConnectionFailed, match="not known"):
            mirror.catch_up()
        run_until(mirror, lambda: mirror.health().failures > 3)
        assert mirror.health().state is MirrorState.STOPPED


# --- beside the ledger ---


def test_one_mirror_at_a_time(path: Path, cluster: SimulatedCluster) -> None:
    """Of one ledger in one cluster; the next begins when it is closed."""
    with mirror_of(path, cluster):
        with pytest.raises(AlreadyMirrored, match=r"tigerbeetle-7\.lock"):
            mirror_of(path, cluster)
        other = attrs.evolve(CONFIGURATION, cluster_id=8)
        mirror_of(path, cluster, configuration=other).close()
    mirror_of(path, cluster).close()


def test_a_full_disk_costs_the_cursor_and_nothing_else(
    path: Path, cluster: SimulatedCluster, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on, and says so; the next mirror asks the cluster how far it is."""
    disk = FullDisk()
    mirror = Mirror(path, CONFIGURATION, connect=cluster.connect, storage=disk)
    with mirror, caplog.at_level(logging.WARNING, "nostro"):
        disk.full = True
        assert mirror.catch_up().lag_events == 0
        assert "could not be written" in caplog.text
        assert read_cursor(disk, Reader(path), 7) is None
        extend_in(path, clock)
        disk.full = False
        assert mirror.catch_up().lag_events == 0
        assert read_cursor(disk, Reader(path), 7) is not None
    assert_mirrored(path, cluster, clock)


def test_a_full_disk_leaves_the_cursor_before(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    disk = FullDisk()
    with Mirror(path, CONFIGURATION, connect=cluster.connect, storage=disk) as mirror:
        mirror.catch_up()
        before = read_cursor(disk, Reader(path), 7)
        extend_in(path, clock)
        disk.full = True
        mirror.catch_up()
        assert read_cursor(disk, Reader(path), 7) == before
        disk.full = False
    with mirror_of(path, cluster) as mirror:
        mirror.catch_up()
    assert_mirrored(path, cluster, clock)


def test_its_health_is_in_a_file(
    path: Path, cluster: SimulatedCluster, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of itself, from the beginning to the end; nobody else may read it."""
    monkeypatch.setattr(module, "HEALTH_SECONDS", 0.0)
    said: list[tuple[str, int]] = []
    file = path / "mirror" / "tigerbeetle-7.health"

    def connect() -> Session:
        said.append(("", 0))
        return cluster.connect()

    configuration = attrs.evolve(CONFIGURATION, batch_events_max=3)
    with Mirror(path, configuration, connect=connect, clock=clock) as mirror:
        assert mirror.health().state is MirrorState.STARTING
        assert mirror.health().lag_events == ends(path)[-1]
        clock.now += 3 * SECOND
        assert mirror.health().lag_seconds == 3
        run_until(mirror, lambda: mirror.health().state is MirrorState.LIVE)
        found = json.loads(file.read_bytes())
        assert found == mirror.health().as_json()
        assert found["state"] == "stopped"
        assert found["position"] == found["position_head"] == ends(path)[-1]
        assert (found["lag_events"], found["lag_seconds"], found["healthy"]) == (0, 0, False)
        assert (found["replicas"], found["cluster_id"]) == ("10.0.0.1:3001", 7)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_mirror_needs_a_ledger(tmp_path: Path, cluster: SimulatedCluster) -> None:
    with pytest.raises(NotALedger):
        mirror_of(tmp_path, cluster)
    assert list(tmp_path.glob("mirror")) == []


def extend_in(path: Path, clock: HandClock) -> None:
    with closing(Ledger.open(path, clock=clock)) as ledger:
        extend(ledger, clock, 1)


def test_a_clock_that_is_behind_costs_no_session(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """What the clock has not reached is sent again by the same one."""
    sessions: list[Session] = []
    behind = [15 * SECOND]
    cluster.clock = lambda: clock.now - behind[0]

    def connect() -> Session:
        sessions.append(cluster.connect())
        return sessions[-1]

    def catches_up() -> bool:
        health = mirror.health()
        if behind[0] and health.failures > 2:
            assert health.last_error is not None
            assert "set the clocks" in health.last_error
            behind[0] = 0
        return health.state is MirrorState.LIVE

    with mirror_of(path, cluster, connect) as mirror:
        run_until(mirror, catches_up)
    assert len(sessions) == 1
    assert_mirrored(path, cluster, clock)


def test_an_idle_mirror_notices_that_the_cluster_is_gone(
    path: Path, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the journal does not grow."""
    monkeypatch.setattr("projections.tigerbeetle.mirror.PROBE_SECONDS", 0.01)
    gone = threading.Event()

    class Going(Session):
        def submit(self, operation: Operation, body: Rows) -> Future[Reply]:
            if not gone.is_set():
                return super().submit(operation, body)
            lost: Future[Reply] = Future()
            lost.set_exception(SessionEvicted())
            return lost

    def notices() -> bool:
        health = mirror.health()
        if health.state is MirrorState.LIVE:
            gone.set()
        return gone.is_set() and health.state is MirrorState.RETRYING and not health.connected

    with mirror_of(path, cluster, lambda: Going(cluster)) as mirror:
        run_until(mirror, notices)
