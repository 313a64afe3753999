"""Mirror and reconciliation with a real TigerBeetle server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nostro import TRANSFER, Account, Ledger, Transfer
from nostro.journal.format.codec import RecordKind
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.mirror.mirror import Mirror
from nostro.projections.tigerbeetle.reconcile.reconcile import reconcile
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from tests.differential.tigerbeetle_server import find_binary, running
from tests.mixed_ledger import write_mixed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture
def configuration(tmp_path: Path) -> Iterator[ClusterConfiguration]:
    binary = find_binary()
    if binary is None:
        pytest.skip("no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none")
    pytest.importorskip("tigerbeetle")
    (tmp_path / "cluster").mkdir()
    with running(binary, tmp_path / "cluster") as address:
        yield ClusterConfiguration(0, (address,), timeout_seconds=60, batch_events_max=250)


def test_what_was_mirrored_is_equal_and_what_others_write_is_not(
    tmp_path: Path, configuration: ClusterConfiguration
) -> None:
    """Every kind of event; then one transfer that the journal does not have."""
    books = tmp_path / "books"
    write_mixed(books, requests=60)
    with Mirror(books, configuration) as mirror:
        mirror.catch_up()
    report = reconcile(books, configuration, open_ledger=Ledger.open)
    assert report.equal, report.differences
    assert report.position == report.position_head
    assert report.transfers.compared > 1_000
    with Cluster(configuration, native_connect(configuration)) as cluster:
        row = np.zeros(1, TRANSFER)
        row["id"][0] = 5, 5
        row["debit_account_id"][0, 0], row["credit_account_id"][0, 0] = 3, 4
        row["amount"][0, 0], row["ledger"], row["code"] = 7, 1, 1
        cluster.results(cluster.create(RecordKind.TRANSFERS, row))
    report = reconcile(books, configuration, open_ledger=Ledger.open)
    assert {(it.kind, it.id, it.field) for it in report.differences} == {
        ("transfer", 5 | 5 << 64, "presence"),
        ("account", 3, "debits_posted"),
        ("account", 4, "credits_posted"),
    }


def test_a_live_mirror_is_equal_at_any_moment(
    tmp_path: Path, configuration: ClusterConfiguration
) -> None:
    """While the ledger is written and mirrored, whenever one looks."""
    books, stop = tmp_path / "books", threading.Event()
    with Ledger.open(books) as ledger, Mirror(books, configuration) as mirror:
        ledger.create_accounts([Account(id=n, ledger=1, code=1) for n in range(1, 300)])
        ledger.create_transfers([_transfer(1)])
        mirror.catch_up()
        follower = threading.Thread(target=mirror.run, args=(stop,))
        follower.start()

        def write() -> None:
            first = 2
            while not stop.wait(0.05):  # else the three threads are in each other's way
                ledger.create_transfers([_transfer(n) for n in range(first, first + 100)])
                first += 100

        writer = threading.Thread(target=write)
        writer.start()
        try:
            reports = [reconcile(books, configuration, open_ledger=Ledger.open) for _ in range(5)]
        finally:
            stop.set()
            writer.join()
            follower.join()
        mirror.catch_up()
    assert [report.differences for report in reports] == [()] * len(reports)
    assert reports[-1].position > reports[0].position
    assert reconcile(books, configuration, open_ledger=Ledger.open).events_behind == 0


def _transfer(number: int) -> Transfer:
    return Transfer(number, number % 298 + 1, number % 298 + 2, 1, ledger=1, code=1)
