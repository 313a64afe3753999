"""Requests to a cluster in rows: look-ups and pages of any size, and no answer in time."""

from __future__ import annotations

from pathlib import Path
from random import Random

import attrs
import numpy as np
import pytest

from nostro import Account
from nostro.journal.format.codec import RecordKind
from nostro.journal.rows import accounts_from_rows, transfers_from_rows
from nostro.projections.tigerbeetle.errors import ClusterUnreachable, RequestRefused
from nostro.projections.tigerbeetle.session.cluster import Cluster
from tests.tigerbeetle.journals import ends, feed
from tests.tigerbeetle.simulated import CONFIGURATION, Network, SimulatedCluster


@pytest.mark.parametrize("count_max", [1, 2, 3, 5, 8_189])
def test_everything_is_found_page_by_page(
    path: Path, cluster: SimulatedCluster, count_max: int
) -> None:
    """In pages no larger than a message of that cluster's, in order, from and to any time."""
    feed(cluster, path, ends(path)[-1])
    cluster.batch_events_max = count_max
    wanted = cluster.transfers
    configuration = attrs.evolve(CONFIGURATION, batch_events_max=count_max)
    with Cluster(configuration, cluster.connect) as connected:
        assert (
            accounts_from_rows(np.concatenate(list(connected.pages(RecordKind.ACCOUNTS))))
            == cluster.accounts
        )
        pages = list(connected.pages(RecordKind.TRANSFERS))
        assert transfers_from_rows(np.concatenate(pages)) == wanted
        assert max(map(len, pages)) == min(count_max, len(wanted))
        low, high = wanted[2].timestamp, wanted[-3].timestamp
        part = list(connected.pages(RecordKind.TRANSFERS, after=low - 1, until=high))
        assert transfers_from_rows(np.concatenate(part)) == wanted[2:-2]
        [newest] = transfers_from_rows(connected.newest(RecordKind.TRANSFERS))
        assert newest == wanted[-1]
        [newest_account] = accounts_from_rows(connected.newest(RecordKind.ACCOUNTS))
        assert newest_account == cluster.accounts[-1]


@pytest.mark.parametrize("count_max", [1, 2, 5, 8_189])
def test_any_number_of_ids_is_looked_up(
    path: Path, cluster: SimulatedCluster, count_max: int
) -> None:
    """Those that are there come back, in the order asked for; ids of 128 bits too."""
    high = Account(id=2**128 - 2, ledger=1, code=1)
    cluster.rules.create_accounts([high], 1)
    feed(cluster, path, ends(path)[-1])
    cluster.batch_events_max = count_max
    configuration = attrs.evolve(CONFIGURATION, batch_events_max=count_max)
    with Cluster(configuration, cluster.connect) as connected:
        ids = [transfer.id for transfer in cluster.transfers]
        found = connected.look_up(RecordKind.TRANSFERS, [*reversed(ids), 5, 7_777])
        assert [it.id for it in transfers_from_rows(found)] == ids[::-1]
        [found_high] = accounts_from_rows(connected.look_up(RecordKind.ACCOUNTS, [99, 2**128 - 2]))
        assert found_high.id == 2**128 - 2
        assert len(connected.look_up(RecordKind.ACCOUNTS, [])) == 0


def test_an_empty_cluster_has_nothing(cluster: SimulatedCluster) -> None:
    with Cluster(CONFIGURATION, cluster.connect) as connected:
        assert (
            list(connected.pages(RecordKind.ACCOUNTS))
            == list(connected.pages(RecordKind.TRANSFERS))
            == []
        )
        assert (
            len(connected.newest(RecordKind.ACCOUNTS))
            == len(connected.newest(RecordKind.TRANSFERS))
            == 0
        )
        connected.now()


def test_what_is_too_large_is_refused(path: Path, cluster: SimulatedCluster) -> None:
    """By the cluster, if the configuration does not know its limit."""
    cluster.batch_events_max = 2
    with (
        Cluster(CONFIGURATION, cluster.connect) as connected,
        pytest.raises(RequestRefused, match="lookup_accounts: too much data"),
    ):
        connected.look_up(RecordKind.ACCOUNTS, [1, 2, 3])


@pytest.mark.parametrize("kind", [RecordKind.ACCOUNTS, RecordKind.TRANSFERS])
def test_no_answer_in_time_names_both_causes(cluster: SimulatedCluster, kind: RecordKind) -> None:
    """A wrong id looks like an unreachable cluster."""
    network = Network(cluster, Random(1))
    with Cluster(CONFIGURATION, network.connect) as connected:
        network.restart()  # no session gets an answer any more
        with pytest.raises(ClusterUnreachable) as caught:
            connected.look_up(kind, [1])
    assert "10.0.0.1:3001" in str(caught.value)
    assert "its id is not 7" in str(caught.value)
