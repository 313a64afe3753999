"""The mirror and TigerBeetle's own server, of one replica and of three, which are killed.

Skipped in one line where there is no server. With one:

    TIGERBEETLE_BINARY=… python -m pytest tests/tigerbeetle/test_real_cluster.py
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Final

import attrs
import numpy as np
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    CreateTransferStatus,
    Ledger,
    Transfer,
    TransferFlags,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ACCOUNT, TRANSFER
from nostro.journal.rows import account_rows, accounts_from_rows, transfers_from_rows
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ClusterClockBehind,
    ClusterUnreachable,
    ForeignData,
)
from nostro.projections.tigerbeetle.mirror.health import MirrorState
from nostro.projections.tigerbeetle.mirror.mirror import Mirror
from nostro.projections.tigerbeetle.session.cluster import Cluster
from nostro.projections.tigerbeetle.session.session import Session
from tests.clocks import HandClock
from tests.differential.tigerbeetle_server import find_binary
from tests.tigerbeetle.journals import SECOND, Scene, expected, extend, write_small
from tests.tigerbeetle.servers import BATCH_EVENTS_MAX, Servers, serving
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLUSTER_ID: Final = 2**127 + 5
SECONDS_MAX: Final = 60.0
"""For one answer: the machine may be busy."""
REQUESTS: Final = 150

Serve = Callable[[int], Servers]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a fresh cluster of so many replicas."""
    binary = find_binary()
    if binary is None:
        pytest.skip("no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none")
    pytest.importorskip("tigerbeetle")
    with ExitStack() as stack:

        def start(replicas: int = 1) -> Servers:
            folder = tmp_path / "servers"
            folder.mkdir()
            return stack.enter_context(
                serving(binary, folder, cluster_id=CLUSTER_ID, replicas=replicas)
            )

        yield start


def configured(servers: Servers, *, seconds: float = SECONDS_MAX) -> ClusterConfiguration:
    return ClusterConfiguration(
        CLUSTER_ID, servers.addresses, timeout_seconds=seconds, batch_events_max=BATCH_EVENTS_MAX
    )


def connect_to(configuration: ClusterConfiguration) -> Callable[[], Session]:
    from nostro.projections.tigerbeetle.session.native import NativeSession  # noqa: PLC0415  # an extra

    return lambda: NativeSession(configuration)


def assert_mirrored(ledger: Ledger, servers: Servers) -> None:
    """All that the cluster holds, asked for row by row, is what the journal says."""
    wanted = expected(ledger, batch_events_max=BATCH_EVENTS_MAX)
    configuration = configured(servers)
    with Mirror(ledger.path, configuration) as mirror:
        mirror.catch_up()  # what expired just now
    with Cluster(configuration, connect_to(configuration)) as cluster:
        accounts = np.concatenate([np.zeros(0, ACCOUNT), *cluster.pages(RecordKind.ACCOUNTS)])
        transfers = np.concatenate([np.zeros(0, TRANSFER), *cluster.pages(RecordKind.TRANSFERS)])
    assert accounts_from_rows(accounts) == wanted.accounts
    assert transfers_from_rows(transfers) == wanted.transfers


@contextmanager
def mirroring(mirror: Mirror) -> Iterator[None]:
    """In a thread, until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=mirror.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SECONDS_MAX)
    assert mirror.health().state is MirrorState.STOPPED


@contextmanager
def scene(path: Path, seed: int) -> Iterator[Scene]:
    """A ledger that is written at random, without imports that no cluster takes."""
    found = Scene(path, Random(seed), kind="no imports")
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("replicas", [1, 3])
def test_random_traffic_is_mirrored(serve: Serve, tmp_path: Path, replicas: int) -> None:
    """Two phases, balancing, closing, chains, expiries and refusals, while the ledger grows."""
    servers = serve(replicas)
    with scene(tmp_path / "ledger", replicas) as writing:
        for _ in range(REQUESTS):
            writing.request()
        with Mirror(writing.path, configured(servers)) as mirror, mirroring(mirror):
            for _ in range(REQUESTS):
                writing.request()
            until(lambda: not mirror.health().lag_events)
            assert mirror.health().events_mirrored > 300
        assert_mirrored(writing.ledger, servers)


def test_imports_are_mirrored(serve: Serve, tmp_path: Path) -> None:
    """With the times they were given, in a ledger where nothing expires."""
    servers = serve(1)
    writing = Scene(tmp_path / "ledger", Random(7), kind="no expiries")
    with closing(writing):
        for _ in range(REQUESTS):
            writing.request()
        assert_mirrored(writing.ledger, servers)


def test_edges(serve: Serve, tmp_path: Path) -> None:
    """Largest ids and amounts, closed accounts, data of one's own, a chain of several messages."""
    servers = serve(1)
    high, clock = 2**128 - 2, HandClock(10**18)
    one = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=5, ledger=1, code=1)
    pending = attrs.evolve(one, flags=TransferFlags.PENDING, user_data_64=3)
    with closing(Ledger.open(tmp_path / "ledger", clock=clock)) as ledger:
        ledger.create_accounts(
            [
                Account(id=1, ledger=1, code=1),
                Account(id=2, ledger=1, code=1, flags=AccountFlags.HISTORY),
                Account(id=high, ledger=1, code=1, user_data_128=AMOUNT_MAX),
                Account(id=5, ledger=1, code=1, flags=AccountFlags.CLOSED),
                Account(id=6, ledger=1, code=1, flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS),
            ]
        )
        requests = [
            attrs.evolve(one, id=high, amount=2**127, debit_account_id=high),
            attrs.evolve(pending, id=10, amount=50, timeout=1, user_data_128=2**100),
            attrs.evolve(pending, id=11, amount=60),
            Transfer(
                id=12, pending_id=11, amount=AMOUNT_MAX, user_data_128=9,
                flags=TransferFlags.POST_PENDING_TRANSFER,
            ),
            attrs.evolve(pending, id=13, amount=70),
            Transfer(
                id=14, pending_id=13, user_data_32=8, code=1,
                flags=TransferFlags.VOID_PENDING_TRANSFER,
            ),
            attrs.evolve(pending, id=15, amount=80),
            Transfer(
                id=16, pending_id=15, amount=30, flags=TransferFlags.POST_PENDING_TRANSFER
            ),
            attrs.evolve(
                one, id=17, debit_account_id=2, credit_account_id=1, amount=AMOUNT_MAX,
                flags=TransferFlags.BALANCING_DEBIT,
            ),
            attrs.evolve(pending, id=18, amount=0),
            attrs.evolve(
                pending, id=19, amount=0, timeout=2,
                flags=TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT,
            ),
        ]  # fmt: skip
        answers = ledger.create_transfers(requests)
        assert {it.status for it in answers} == {CreateTransferStatus.CREATED}
        clock.now += 10 * SECOND  # what runs out of time opens account 1 again
        chain = [
            attrs.evolve(one, id=id_, amount=1, flags=TransferFlags.LINKED)
            for id_ in range(10_000, 10_600)
        ]
        answers = ledger.create_transfers([*chain, attrs.evolve(one, id=10_600)])
        assert {it.status for it in answers} == {CreateTransferStatus.CREATED}
        assert_mirrored(ledger, servers)


# --- what is killed ---


def test_a_server_killed_in_the_middle_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    """Three times, while it has requests to answer; the mirror goes on when it is back."""
    servers = serve(1)
    with scene(tmp_path / "ledger", 11) as writing:
        writing.request()
        with Mirror(writing.path, configured(servers, seconds=1.0)) as mirror, mirroring(mirror):
            until(lambda: mirror.health().position)
            for _ in range(3):
                position = mirror.health().position
                for _ in range(REQUESTS):
                    writing.request()
                until(lambda before=position: mirror.health().position > before)  # type: ignore[misc]
                servers.kill(0)
                for _ in range(5):
                    writing.request()
                until(lambda: not mirror.health().connected)
                servers.start(0)
                until(lambda: mirror.health().connected)
            until(lambda: not mirror.health().lag_events)
            assert mirror.health().failures >= 3
        assert_mirrored(writing.ledger, servers)


def test_two_of_three_replicas_are_enough(serve: Serve, tmp_path: Path) -> None:
    """Whichever is killed, and though the others get no word of it."""
    servers = serve(3)
    with scene(tmp_path / "ledger", 12) as writing:
        writing.request()
        with Mirror(writing.path, configured(servers)) as mirror, mirroring(mirror):
            until(lambda: mirror.health().position)
            for replica in range(3):
                for _ in range(REQUESTS // 3):
                    writing.request()
                servers.kill(replica)
                for _ in range(REQUESTS // 3):
                    writing.request()
                until(lambda: not mirror.health().lag_events)
                servers.start(replica)
        assert_mirrored(writing.ledger, servers)


MIRROR: Final = """
import sys, threading
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.mirror.mirror import Mirror

path, cluster_id, replicas = sys.argv[1:]
configuration = ClusterConfiguration(
    int(cluster_id), tuple(replicas.split(",")), timeout_seconds=60.0, batch_events_max=7
)
with Mirror(path, configuration) as mirror:
    print("mirroring", flush=True)
    mirror.run(threading.Event())
"""


def test_a_killed_mirror_goes_on_where_it_was(serve: Serve, tmp_path: Path) -> None:
    """Ten processes, one after the other; with the cursor of the one before, and without."""
    servers, random = serve(1), Random(13)
    with scene(tmp_path / "ledger", 13) as writing:
        for life in range(10):
            for _ in range(REQUESTS // 5):
                writing.request()
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    MIRROR,
                    writing.path,
                    str(CLUSTER_ID),
                    ",".join(servers.addresses),
                ],
                stdout=subprocess.PIPE,
            )
            with process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"mirroring\n"
                for _ in range(random.randrange(60)):
                    writing.request()
                process.send_signal(signal.SIGKILL)
            if life % 3 == 2:
                for file in (writing.path / "checkpoints").glob("tigerbeetle_*"):
                    file.unlink()
        configuration = attrs.evolve(configured(servers), batch_events_max=7)
        with Mirror(writing.path, configuration) as mirror:
            mirror.catch_up()
        wanted = expected(writing.ledger, batch_events_max=7)
        with Mirror(writing.path, configuration) as mirror:
            mirror.catch_up()
        with Cluster(configuration, connect_to(configuration)) as cluster:
            transfers = np.concatenate(list(cluster.pages(RecordKind.TRANSFERS)))
            accounts = np.concatenate(list(cluster.pages(RecordKind.ACCOUNTS)))
        assert transfers_from_rows(transfers) == wanted.transfers
        assert accounts_from_rows(accounts) == wanted.accounts


# --- what is refused ---


def test_a_wrong_cluster_id_is_told_within_seconds(serve: Serve, tmp_path: Path) -> None:
    """And so is a server that is not there; the ledger is as it was."""
    servers = serve(1)
    write_small(tmp_path / "ledger")
    configuration = attrs.evolve(configured(servers), cluster_id=1, timeout_seconds=4.0)
    with Mirror(tmp_path / "ledger", configuration) as mirror:
        began = time.monotonic()
        with pytest.raises(ClusterUnreachable, match="or its id is not 1"):
            mirror.catch_up()
        assert time.monotonic() - began < 30  # 4.5 s on a machine that is not busy
        assert mirror.health().position == 0
    servers.kill(0)
    with Mirror(tmp_path / "ledger", configured(servers, seconds=0.5)) as mirror:
        with pytest.raises(ClusterUnreachable):
            mirror.catch_up()
        assert mirror.health().position == 0


def test_a_cluster_of_somebody_elses_is_not_written_to(serve: Serve, tmp_path: Path) -> None:
    servers = serve(1)
    write_small(tmp_path / "ledger")
    configuration = configured(servers)
    with Cluster(configuration, connect_to(configuration)) as cluster:
        foreign = account_rows([Account(id=77, ledger=1, code=1)])
        results, _ = cluster.results(cluster.create(RecordKind.ACCOUNTS, foreign))
        assert results["status"].tolist() == [2**32 - 1]
        with (
            Mirror(tmp_path / "ledger", configuration) as mirror,
            pytest.raises(ForeignData, match="account 77 "),
        ):
            mirror.catch_up()
        assert [len(page) for page in cluster.pages(RecordKind.ACCOUNTS)] == [1]
        assert list(cluster.pages(RecordKind.TRANSFERS)) == []


def test_the_clusters_clock_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    """Events from its future are refused by it, and sent again until they are not."""
    servers = serve(1)
    configuration = configured(servers)
    with Cluster(configuration, connect_to(configuration)) as cluster:
        assert abs(cluster.now() - time.time_ns()) < 60 * SECOND
    clock = HandClock(time.time_ns() + 6 * SECOND)
    with closing(Ledger.open(tmp_path / "ledger", clock=clock)) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        extend(ledger, clock, 3)
        with Mirror(ledger.path, configuration) as mirror:
            with pytest.raises(ClusterClockBehind):
                mirror.catch_up()
            with mirroring(mirror):
                until(lambda: not mirror.health().lag_events)
        assert_mirrored(ledger, servers)
