"""The other systems that nostro is measured against; SQLite is one that every machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import Transfer
from nostro.tools.bench import peers
from nostro.tools.bench.measure import BATCH, QUICK, Scale
from nostro.tools.bench.payments import LEDGER
from nostro.tools.bench.peers import Peer, Totals
from nostro.tools.bench.servers import PeerFailed

TINY: Final[Scale] = attrs.evolve(QUICK, transfers=1, singles=25, repeats=2)


def peer_named(name: str) -> Peer:
    [found] = [peer for peer in peers.PEERS if peer.name == name]
    return found


def test_sqlite_does_both_workloads(tmp_path: Path) -> None:
    """Each gives a rate and says what was done; the folder is left empty."""
    batches, singles = peers.measure(peer_named("SQLite"), tmp_path, TINY)
    assert (batches.name, singles.name) == ("SQLite, batches", "SQLite, one at a time")
    assert batches.value > singles.value > 0
    assert batches.unit == singles.unit == "transfers/s"
    assert batches.workload.startswith(f"{BATCH:,} transfers, {BATCH:,} a request; ")
    assert singles.workload.startswith("5 requests of one transfer; ")
    assert not list(tmp_path.iterdir())


def test_a_wrong_total_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that lost one unit of one credit gives no figure."""
    right = peers._SqliteStore.totals

    def wrong(store: peers._SqliteStore) -> Totals:
        totals = right(store)
        return attrs.evolve(totals, credits=totals.credits - 1)

    monkeypatch.setattr(peers._SqliteStore, "totals", wrong)
    with pytest.raises(PeerFailed, match="SQLite holds Totals"):
        peers.measure(peer_named("SQLite"), tmp_path, TINY)


def test_sqlite_refuses_an_account_that_does_not_exist(tmp_path: Path) -> None:
    transfer = Transfer(
        id=1, debit_account_id=1, credit_account_id=10**6, amount=5, ledger=LEDGER, code=1
    )
    with peer_named("SQLite").open(tmp_path) as store, pytest.raises(PeerFailed, match="not exist"):
        store.request([transfer])()


@pytest.mark.parametrize("here", [True, False])
def test_a_peer_is_run_or_left_out_with_a_reason(
    here: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never neither, and never both."""
    sqlite = peer_named("SQLite")
    other = attrs.evolve(sqlite, name="other", missing=lambda: None if here else "not today")
    monkeypatch.setattr(peers, "PEERS", (sqlite, other))
    run = {figure.name.partition(",")[0] for figure in peers.run_peers(tmp_path, TINY)}
    assert run == ({"SQLite", "other"} if here else {"SQLite"})
    assert peers.missing() == ([] if here else [("other", "not today")])


def test_every_peer_is_here_or_says_why_not() -> None:
    reasons = dict(peers.missing())
    assert "SQLite" not in reasons
    assert set(reasons) <= {peer.name for peer in peers.PEERS}
    assert all(reasons.values())
