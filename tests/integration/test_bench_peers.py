"""The other systems that nostro is measured against; SQLite is one that every machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import Transfer
from nostro.tools.bench.measure import BATCH, QUICK, Scale
from nostro.tools.bench.payments import LEDGER
from tests.bench.peers import Peer, all_peers, measure, run_peers
from tests.bench.stores import PeerFailed, Store, Totals

TINY: Final[Scale] = attrs.evolve(QUICK, transfers=1, singles=25, repeats=2)


def peer_named(name: str) -> Peer:
    [found] = [peer for peer in all_peers() if peer.name == name]
    return found


def test_sqlite_does_both_workloads(tmp_path: Path) -> None:
    """Each gives a rate and says what was done; the folder is left empty."""
    batches, singles = measure(peer_named("SQLite"), tmp_path, TINY)
    assert (batches.name, singles.name) == ("SQLite, batches", "SQLite, one at a time")
    assert batches.value > singles.value > 0
    assert batches.unit == singles.unit == "transfers/s"
    assert batches.workload.startswith(f"{BATCH:,} transfers, {BATCH:,} a request; ")
    assert singles.workload.startswith("5 requests of one transfer; ")
    assert not list(tmp_path.iterdir())


def test_a_wrong_total_is_noticed(tmp_path: Path) -> None:
    """A peer that lost one unit of one credit gives no figure."""
    right = peer_named("SQLite")

    @contextmanager
    def losing(folder: Path) -> Iterator[Store]:
        with right.open(folder) as store:

            def totals() -> Totals:
                found = store.totals()
                return attrs.evolve(found, credits=found.credits - 1)

            yield attrs.evolve(store, totals=totals)

    with pytest.raises(PeerFailed, match="SQLite holds Totals"):
        measure(attrs.evolve(right, open=losing), tmp_path, TINY)


def test_sqlite_refuses_an_account_that_does_not_exist(tmp_path: Path) -> None:
    transfer = Transfer(
        id=1, debit_account_id=1, credit_account_id=10**6, amount=5, ledger=LEDGER, code=1
    )
    with peer_named("SQLite").open(tmp_path) as store, pytest.raises(PeerFailed, match="not exist"):
        store.request([transfer])()


def test_a_peer_that_is_unavailable_is_left_out(tmp_path: Path) -> None:
    """The others are run."""
    sqlite = peer_named("SQLite")
    other = attrs.evolve(sqlite, name="other", unavailable="not today")
    run = [figure.name for figure in run_peers([other, sqlite], tmp_path, TINY)]
    assert run == ["SQLite, batches", "SQLite, one at a time"]


def test_every_peer_is_here_or_says_why_not() -> None:
    """SQLite always is."""
    reasons = {peer.name: peer.unavailable for peer in all_peers()}
    assert reasons.pop("SQLite") is None
    assert all(reason is None or reason for reason in reasons.values())
