"""Asking a cluster how far it is: fresh, in part, ahead, behind, or somebody else's."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

import attrs
import pytest

from nostro import Account, Ledger, Transfer, TransferFlags
from nostro.journal.reading.reader import Reader
from nostro.journal.upkeep.restoration import restore
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import (
    ClusterAhead,
    ClusterBehind,
    ClusterUnreachable,
    ForeignData,
    RowsDiffer,
)
from nostro.projections.tigerbeetle.mirror.cursor import MirrorCursor
from nostro.projections.tigerbeetle.mirror.mirrored_position import find_mirrored_position
from nostro.projections.tigerbeetle.rows.translation import mirrored
from nostro.projections.tigerbeetle.session.cluster import Cluster
from tests.clocks import HandClock
from tests.tigerbeetle.journals import ends, feed, write_small
from tests.tigerbeetle.simulated import CONFIGURATION, Network, Session, SimulatedCluster


def located(
    path: Path,
    cluster: SimulatedCluster,
    known: MirrorCursor | None = None,
    configuration: ClusterConfiguration = CONFIGURATION,
) -> MirrorCursor:
    with Cluster(configuration, cluster.connect) as connected:
        return find_mirrored_position(Reader(path), connected, known)


def cursor_at(path: Path, position: int) -> MirrorCursor:
    """The cursor of a mirror that has got that far."""
    cursor = MirrorCursor()
    for record in Reader(path).records():
        if record.position_last > position:
            break
        cursor = cursor.after(record, mirrored(record.parts[0]))
    return cursor


def test_a_fresh_cluster_has_nothing(path: Path, cluster: SimulatedCluster) -> None:
    assert located(path, cluster) == MirrorCursor()


def test_an_empty_journal_and_a_fresh_cluster_agree(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "empty").close()
    assert located(tmp_path / "empty", SimulatedCluster(lambda: 1)) == MirrorCursor()


def test_every_boundary_is_found(path: Path, cluster: SimulatedCluster) -> None:
    """With any number of records mirrored, with a cursor or without, asking little."""
    before, fresh = 0, cluster
    for position in ends(path):
        fresh = SimulatedCluster(cluster.clock)
        feed(fresh, path, position)
        for known in (None, cursor_at(path, before), cursor_at(path, position)):
            found = located(path, fresh, known)
            assert found == cursor_at(path, position)
        asked = len(fresh.requests)
        located(path, fresh)
        assert len(fresh.requests) - asked < 12
        before = position
    assert located(path, fresh).position == before


@pytest.mark.parametrize("rows", [1, 2])
def test_a_record_may_be_there_in_part(path: Path, cluster: SimulatedCluster, rows: int) -> None:
    """What is left of it is sent with the rest of it once more."""
    for position in ends(path)[:-1]:
        fresh = SimulatedCluster(cluster.clock)
        feed(fresh, path, position, rows=rows)
        held = len(fresh.transfers)
        assert located(path, fresh).position == position
        assert len(fresh.transfers) == held


def test_records_without_anything_for_a_cluster_are_passed_over(
    path: Path, cluster: SimulatedCluster, clock: HandClock
) -> None:
    """Refusals after refusals, at the beginning, in the middle and at the end."""
    with closing(Ledger.open(path, clock=clock)) as ledger:
        for id_ in range(1_000, 1_040):
            ledger.create_transfers(
                [Transfer(id=id_, debit_account_id=9, credit_account_id=2, ledger=1, code=1)]
            )
        assert ledger.position > ends(path)[-1] + 30
    for position in ends(path)[-3:]:
        fresh = SimulatedCluster(cluster.clock)
        feed(fresh, path, position)
        assert located(path, fresh).position == position


# --- not this journal's mirror ---


def foreign_account(id_: int = 77) -> Callable[[SimulatedCluster], None]:
    def write(cluster: SimulatedCluster) -> None:
        cluster.rules.create_accounts([Account(id=id_, ledger=1, code=1)], cluster.clock())

    return write


def foreign_transfer(cluster: SimulatedCluster) -> None:
    transfer = Transfer(
        id=77_777, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1
    )
    [answer] = cluster.rules.create_transfers([transfer], cluster.clock())
    assert answer.status == 2**32 - 1


def test_a_cluster_of_somebody_elses_is_refused(path: Path, cluster: SimulatedCluster) -> None:
    """Before anything is written to it."""
    foreign_account()(cluster)
    with pytest.raises(ForeignData, match="holds account 77 ") as caught:
        located(path, cluster)
    assert (caught.value.kind, caught.value.id) == ("account", 77)
    assert len(cluster.accounts) == 1


def test_an_account_under_the_same_id_is_somebody_elses(
    path: Path, cluster: SimulatedCluster
) -> None:
    """Told by its time: it is not ours."""
    foreign_account(2)(cluster)
    with pytest.raises(ForeignData, match="holds account 2 "):
        located(path, cluster)


@pytest.mark.parametrize("write", [foreign_account(), foreign_transfer])
@pytest.mark.parametrize("has_cursor", [False, True])
def test_what_somebody_wrote_besides_is_noticed(
    path: Path, cluster: SimulatedCluster, write: Callable[[SimulatedCluster], None],
    *, has_cursor: bool,
) -> None:  # fmt: skip
    """An account or a transfer that is newer than the mirror's."""
    middle = ends(path)[4]
    feed(cluster, path, middle)
    write(cluster)
    with pytest.raises(ClusterAhead):
        located(path, cluster, cursor_at(path, middle) if has_cursor else None)


def test_a_journal_from_an_older_backup_is_behind(
    path: Path, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    """The cluster holds what it once was: nothing is sent, whatever the journal says now."""
    whole, middle = ends(path)[-1], ends(path)[4]
    feed(cluster, path, whole)
    restore(path, tmp_path / "restored", until_position=middle)
    with pytest.raises(ClusterAhead, match="restored") as caught:
        located(tmp_path / "restored", cluster)
    assert caught.value.position == middle
    write_small(tmp_path / "restored", records=3, clock=HandClock(time.time_ns()))
    with pytest.raises((ClusterAhead, ForeignData)):
        located(tmp_path / "restored", cluster)


def test_a_cluster_put_back_is_noticed(path: Path, cluster: SimulatedCluster) -> None:
    """It had more than it has; with the cursor forgotten the mirror goes on from there."""
    early, late = ends(path)[2], ends(path)[5]
    feed(cluster, path, early)
    with pytest.raises(ClusterBehind, match="--rebuild-cursor") as caught:
        located(path, cluster, cursor_at(path, late))
    assert (caught.value.position, caught.value.position_found) == (late, early)
    assert located(path, cluster).position == early


def test_a_new_cluster_under_the_same_id_is_noticed(path: Path, cluster: SimulatedCluster) -> None:
    with pytest.raises(ClusterBehind) as caught:
        located(path, cluster, cursor_at(path, ends(path)[5]))
    assert caught.value.position_found == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("amount", 99), ("user_data_32", 5), ("debit_account_id", 2), ("flags", 256 | 1)],
)
def test_a_row_with_other_values_is_noticed(
    path: Path, cluster: SimulatedCluster, field: str, value: int
) -> None:
    """Where the boundary is looked for."""
    position = ends(path)[-1]
    feed(cluster, path, position)
    transfers = cluster.rules.transfers
    last = next(reversed(transfers))
    value = TransferFlags(value) if field == "flags" else value
    transfers[last] = attrs.evolve(transfers[last], **{field: value})  # type: ignore[arg-type]
    with pytest.raises(RowsDiffer, match=f"transfer {last}: {field}"):
        located(path, cluster)


class Late(Session):
    """While it asks, what another session had sent arrives: after so many requests of its own."""

    def __init__(
        self, cluster: SimulatedCluster, requests: int, arrive: Callable[[], None]
    ) -> None:
        super().__init__(cluster)
        self._left = requests
        self._arrive = arrive

    def carry_out_next(self) -> bool:
        if self._left == 0:
            self._arrive()
        self._left -= 1
        return super().carry_out_next()


def test_what_arrives_late_while_asking_is_not_somebody_elses(
    path: Path, cluster: SimulatedCluster
) -> None:
    """A message of several records, from a session that is gone."""
    first, after = ends(path)[3], ends(path)[6]
    positions = set()
    for requests in range(12):
        fresh = SimulatedCluster(cluster.clock)
        feed(fresh, path, first)
        session = Late(fresh, requests, partial(feed, fresh, path, after, after=first))
        with Cluster(CONFIGURATION, partial(_same, session)) as connected:
            positions.add(find_mirrored_position(Reader(path), connected).position)
    assert positions == {first, after}


def _same(session: Session) -> Session:
    return session


def test_without_an_answer_nothing_is_known(path: Path, cluster: SimulatedCluster) -> None:
    """The error names what may be wrong: the addresses, or the id."""
    network = Network(cluster, Random(1))
    with Cluster(CONFIGURATION, network.connect) as connected:
        network.restart()
        with pytest.raises(ClusterUnreachable, match="or its id is not 7"):
            find_mirrored_position(Reader(path), connected)
