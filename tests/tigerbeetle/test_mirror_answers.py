"""The mirror and what a cluster answers: it stops where journal and cluster differ."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nostro import (
    TransferFlags,
)
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.errors import (
    ClusterAhead,
    ClusterBehind,
    ClusterUnreachable,
    RowsDiffer,
)
from nostro.projections.tigerbeetle.mirror.cursor import read_cursor
from tests.clocks import HandClock
from tests.tigerbeetle.journals import SECOND, ends, feed
from tests.tigerbeetle.mirrors import (
    ONE,
    assert_mirrored,
    mirror_of,
    written,
)
from tests.tigerbeetle.simulated import (
    CONFIGURATION,
    CREATING,
    Session,
    SimulatedCluster,
)


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
        if "timestamp" in changes:  # the journal has no such transfer at that time
            with pytest.raises(ClusterAhead, match=f"transfer {id_} of time 5"):
                mirror.catch_up()
        else:
            with pytest.raises(RowsDiffer, match=f"transfer {id_}: {next(iter(changes))}: .* / "):
                mirror.catch_up()
            assert mirror.health().position == ends(path)[4]
    assert cluster.rules.transfers[id_] == changed


def test_an_id_that_is_used_up_in_the_cluster_stops_it(
    path: Path, cluster: SimulatedCluster
) -> None:
    """It is not there, and never will be: the error names the transfer and what was answered."""
    third = ends(path)[2]
    id_ = list(Reader(path).parts())[2].rows["id"][1, 0]
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


@pytest.mark.parametrize("known", [False, True])
def test_a_replaced_cluster_is_not_written_to(
    path: Path, cluster: SimulatedCluster, *, known: bool
) -> None:
    """In the same life and in the next one."""
    fresh = SimulatedCluster(cluster.clock)
    served = [cluster]

    def connect() -> Session:
        return served[-1].connect()

    with mirror_of(path, cluster, connect) as mirror:
        mirror.catch_up()
        if known:
            served.append(fresh)
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
