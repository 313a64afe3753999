"""The same work done by other systems, each as quick as its public API lets it be and as durable.

Every peer keeps 10,000 accounts with debits and credits, stores each transfer under its unique
128-bit id, refuses an id that it has, and returns only when the disk has the transfers. Only
TigerBeetle checks more than that both accounts exist, and only TigerBeetle stores a timestamp:
where the work differs from nostro's, the difference is in the peer's favour.

Transfers are made before the clock starts, in the form that the peer takes. Batches and single
transfers take turns in one store, so it is warm after the first turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import numpy as np

from nostro.journal import Transfer
from nostro.tools.bench.measure import BATCH, Figure, Scale
from nostro.tools.bench.payments import transfer_objects
from tests.bench import stores
from tests.bench.stores import ACCOUNTS, OpenStore, PeerFailed, Store, Totals

_SHARE: Final = 5  # A peer gets a fifth of the transfers that nostro gets.


@attrs.frozen
class Peer:
    """One system: how to open its store, and how its figures describe the work."""

    name: str
    batches: str
    singles: str
    open: OpenStore
    unavailable: str | None = None
    """Why this machine cannot run it; None when it can."""


def all_peers() -> list[Peer]:
    """Return every peer, also those that this machine cannot run."""
    return [
        Peer(
            "SQLite",
            "one transaction of executemany each, WAL, synchronous = FULL",
            "one transaction each, WAL, synchronous = FULL",
            stores.sqlite,
        ),
        Peer(
            "eventsourcing",
            "one insert_events of its SQLite recorder each, WAL, synchronous = FULL;"
            " no aggregates, balances in memory",
            "one insert_events each, as before",
            stores.eventsourcing,
            stores.not_importable("eventsourcing"),
        ),
        Peer(
            "tigerbeetle package",
            "Transfer objects to a cluster of one on this machine, direct I/O",
            "one Transfer object each, as before",
            stores.tigerbeetle,
            stores.tigerbeetle_unavailable(),
        ),
        Peer(
            "PostgreSQL",
            "one transaction of COPY, INSERT and UPDATE each, synchronous_commit = on",
            "one prepared statement each, synchronous_commit = on",
            stores.postgresql,
            stores.postgresql_unavailable(),
        ),
    ]


def run_peers(peers: Sequence[Peer], folder: Path, scale: Scale) -> Iterator[Figure]:
    """Yield the figures of every peer that is available; each store gets its own folder.

    Raises:
        PeerFailed: a peer did not start, or its totals differ from what it was sent.
    """
    for peer in peers:
        if peer.unavailable is None:
            yield from measure(peer, folder, scale)


def measure(peer: Peer, folder: Path, scale: Scale) -> list[Figure]:
    """Return transfers a second in batches and one at a time, each the median of the repeats.

    Raises:
        PeerFailed: as :func:`run_peers`.
    """
    random = np.random.default_rng(1)
    count = max(1, scale.transfers // _SHARE // BATCH)
    workloads = [BATCH] * count, [1] * max(1, scale.singles // _SHARE)
    rates: tuple[list[float], list[float]] = [], []
    posted = amount = 0
    with TemporaryDirectory(prefix="peer-", dir=folder) as path, peer.open(Path(path)) as store:
        for _ in range(scale.repeats):
            for sizes, results in zip(workloads, rates, strict=True):
                transfers = transfer_objects(random, sum(sizes), accounts=ACCOUNTS)
                seconds = _seconds(store, transfers, sizes[0])
                posted += len(transfers)
                amount += sum(transfer.amount for transfer in transfers)
                results.append(len(transfers) / seconds)
        expected = Totals(transfers=posted, amounts=amount, debits=amount, credits=amount)
        found = store.totals()
    if found != expected:
        raise PeerFailed(f"{peer.name} holds {found}, and was sent {expected}")
    batches = f"{count * BATCH:,} transfers, {BATCH:,} a request; {peer.batches}"
    singles = f"{len(workloads[1]):,} requests of one transfer; {peer.singles}"
    return [
        Figure(f"{peer.name}, batches", float(np.median(rates[0])), "transfers/s", batches),
        Figure(f"{peer.name}, one at a time", float(np.median(rates[1])), "transfers/s", singles),
    ]


def _seconds(store: Store, transfers: list[Transfer], size: int) -> float:
    starts = range(0, len(transfers), size)
    calls = [store.request(transfers[start : start + size]) for start in starts]
    began = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - began
