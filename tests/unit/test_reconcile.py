"""Reconciling: what differs between journal and cluster is named exactly, and nothing else is."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import ACCOUNT, TRANSFER, Ledger, Reader, TransferFlags
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import (
    ClusterUnreachable,
    Difference,
    ForeignData,
    SessionClosed,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.reconcile.comparison import Comparison
from nostro.projections.tigerbeetle.reconcile.reconcile import ReconcileReport, reconcile
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import expiry_id
from nostro.projections.tigerbeetle.session.session import Reply
from tests.canned_cluster import CONFIGURATION, CannedCluster, nothing, without
from tests.mixed_ledger import (
    CLOSED_ACCOUNT,
    CLOSING_ACCOUNT,
    mirrored_accounts,
    mirrored_transfers,
    write_mixed,
)

READING: Final = {
    Operation.LOOKUP_ACCOUNTS,
    Operation.LOOKUP_TRANSFERS,
    Operation.QUERY_ACCOUNTS,
    Operation.QUERY_TRANSFERS,
}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reconcile") / "books"
    write_mixed(path)
    return path


@pytest.fixture
def cluster(books: Path) -> CannedCluster:
    """What a mirror that is done has made."""
    return CannedCluster(mirrored_accounts(books), mirrored_transfers(books))


def compare(books: Path, cluster: CannedCluster, **options: Any) -> ReconcileReport:  # noqa: ANN401
    return reconcile(
        books, CONFIGURATION, open_ledger=Ledger.open, connect=cluster.connect, **options
    )


def head(path: Path) -> int:
    return Reader(path).head().position


def expiry_rows(rows: Rows) -> list[int]:
    return [
        at for at, (id_, pending) in enumerate(
            zip(ids_of(rows), ids_of(rows, "pending_id"), strict=True)
        ) if id_ == expiry_id(pending)
    ]  # fmt: skip


@pytest.mark.parametrize("page_rows", [1, 7, 100, 8_189])
def test_a_mirror_that_is_done_is_equal(
    books: Path, cluster: CannedCluster, page_rows: int
) -> None:
    """Every account and transfer is compared, however the pages fall, and nothing is written."""
    cluster.page_rows = page_rows
    report = compare(books, cluster)
    assert report.equal
    assert report.differences == ()
    assert report.transfers.compared == len(cluster.transfers)
    assert report.accounts.compared == len(cluster.accounts)
    assert report.position == report.position_head == head(books)
    assert {operation for operation, _ in cluster.asked} <= READING
    assert len(expiry_rows(cluster.transfers)) > 5


def _transfer_fields() -> list[str]:
    return [name for name in TRANSFER.names or () if name not in {"id", "timestamp"}]


@pytest.mark.parametrize("field", _transfer_fields())
@pytest.mark.parametrize("kind", ["plain", "expiry"])
def test_each_field_of_a_transfer_counts(
    books: Path, cluster: CannedCluster, field: str, kind: str
) -> None:
    """One wrong field is one difference, with both values; what the cluster filled in, too."""
    at = expiry_rows(cluster.transfers)[2] if kind == "expiry" else 3
    rows = cluster.transfers
    before = _plain(rows[field][at])
    rows[field][at] = _changed(rows[field][at])
    report = compare(books, cluster)
    [id_] = ids_of(rows[at : at + 1])
    wanted = Difference("transfer", id_, field, before, _plain(rows[field][at]))
    assert report.differences == (wanted,)
    assert report.transfers.different == 1


def _changed(value: np.generic) -> object:
    return value ^ np.array([1, 0], np.uint64) if np.ndim(value) else value ^ value.dtype.type(1)  # type: ignore[operator]


def _plain(value: np.generic) -> int:
    if np.ndim(value):
        low, high = value.tolist()
        return int(low) | int(high) << 64
    return int(value)


@pytest.mark.parametrize(
    "field", [name for name in ACCOUNT.names or () if name not in {"id", "timestamp"}]
)
def test_each_field_of_an_account_counts(books: Path, cluster: CannedCluster, field: str) -> None:
    """The four balances too, and the bit that says it is closed."""
    rows = cluster.accounts
    before = _plain(rows[field][4])
    rows[field][4] = _changed(rows[field][4])
    report = compare(books, cluster)
    assert report.differences == (
        Difference("account", ids_of(rows[4:5])[0], field, before, _plain(rows[field][4])),
    )
    assert report.accounts.different == 1


@pytest.mark.parametrize("id_", [CLOSED_ACCOUNT, CLOSING_ACCOUNT])
def test_an_account_that_is_open_and_should_not_be_differs(
    books: Path, cluster: CannedCluster, id_: int
) -> None:
    """Whether it was closed by a transfer or created closed."""
    at = ids_of(cluster.accounts).index(id_)
    cluster.accounts["flags"][at] &= ~np.uint16(1 << 5)
    [difference] = compare(books, cluster).differences
    assert (difference.id, difference.field) == (id_, "flags")


def test_what_is_missing_or_extra_is_named(books: Path, cluster: CannedCluster) -> None:
    """On either side, of either kind, in the middle and at the ends."""
    missing = [ids_of(cluster.transfers)[at] for at in (0, 100, 101)]
    extra = cluster.transfers[[200, 300]].copy()
    extra["id"][:, 0] ^= np.uint64(1 << 50)
    extra["timestamp"] += np.uint64(10**5)
    latest = cluster.transfers[-1:].copy()
    latest["id"][0] = 77, 0
    latest["timestamp"] += np.uint64(10**12)
    transfers = np.concatenate([without(cluster.transfers, *missing), extra, latest])
    cluster.transfers = transfers[np.argsort(transfers["timestamp"])]
    account = cluster.accounts[-1:].copy()
    account["id"][0] = 88, 0
    account["timestamp"] += np.uint64(1)
    cluster.accounts = np.concatenate([without(cluster.accounts, 3), account])
    report = compare(books, cluster)
    found = {(it.kind, it.id, it.journal) for it in report.differences}
    assert found == {
        *[("transfer", id_, "there") for id_ in missing],
        *[("transfer", id_, "missing") for id_ in (*ids_of(extra), 77)],
        ("account", 3, "there"),
        ("account", 88, "missing"),
    }
    assert (report.transfers.missing, report.transfers.extra) == (3, 3)
    assert (report.accounts.missing, report.accounts.extra) == (1, 1)


def test_another_time_is_a_difference_and_neither_missing_nor_extra(
    books: Path, cluster: CannedCluster
) -> None:
    """An account or a transfer is recognised by its id."""
    for rows, kind in ((cluster.transfers, "transfer"), (cluster.accounts, "account")):
        changed = rows.copy()
        changed["timestamp"][3] += np.uint64(50_000)
        changed = changed[np.argsort(changed["timestamp"])]
        parts = {"accounts": cluster.accounts, "transfers": cluster.transfers, f"{kind}s": changed}
        report = compare(books, CannedCluster(parts["accounts"], parts["transfers"]))
        [difference] = report.differences
        assert (difference.kind, difference.field) == (kind, "timestamp")
        assert difference.id == ids_of(rows)[3]


def test_another_id_at_the_same_time_is_another_transfer(
    books: Path, cluster: CannedCluster
) -> None:
    """It is missing, and the other one is extra."""
    [before] = ids_of(cluster.transfers[5:6])
    cluster.transfers["id"][5] = 123, 9
    report = compare(books, cluster)
    assert {(it.id, it.field, it.journal) for it in report.differences} == {
        (before, "presence", "there"),
        (123 | 9 << 64, "presence", "missing"),
    }


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.5, 0.77, 0.999])
def test_a_cluster_that_is_behind_lacks_nothing(books: Path, share: float) -> None:
    """It is compared as far as it goes, in the middle of a request too, and said to be behind."""
    position = int(head(books) * share)
    cluster = CannedCluster(
        mirrored_accounts(books, position=position), mirrored_transfers(books, position=position)
    )
    report = compare(books, cluster)
    assert report.equal, report.differences
    assert report.transfers.compared == len(cluster.transfers)
    assert report.accounts.compared == len(cluster.accounts)
    assert report.position >= position
    assert report.events_behind == head(books) - report.position
    wrong = cluster.accounts
    if len(wrong):
        wrong["debits_posted"][0, 0] += np.uint64(1)
        assert not compare(books, cluster).equal


def test_every_position_is_one_a_cluster_may_be_at(tmp_path: Path) -> None:
    """Refusals, expiries, accounts, parts of requests: what the cluster holds is always equal."""
    write_mixed(tmp_path / "books", requests=3, seed=3)
    for position in range(1, head(tmp_path / "books") + 1):
        cluster = CannedCluster(
            mirrored_accounts(tmp_path / "books", position=position),
            mirrored_transfers(tmp_path / "books", position=position),
        )
        report = compare(tmp_path / "books", cluster)
        assert report.equal, (position, report.differences)
        assert report.transfers.compared == len(cluster.transfers)


class _Live:
    """A mirror at work: the cluster is one position further at each request."""

    def __init__(self, books: Path, position: int, step: int) -> None:
        self.books, self.position, self.step = books, position, step
        self.cluster = CannedCluster(page_rows=2, before=self.advance)
        self._show()

    def advance(self, _operation: Operation, _body: Rows) -> None:
        self.position = min(self.position + self.step, head(self.books))
        self._show()

    def _show(self) -> None:
        self.cluster.accounts = mirrored_accounts(self.books, position=self.position)
        self.cluster.transfers = self.cluster_transfers()

    def cluster_transfers(self) -> Rows:
        return mirrored_transfers(self.books, position=self.position)


@pytest.mark.parametrize("step", [1, 3])
def test_a_live_mirror_makes_no_differences(tmp_path: Path, step: int) -> None:
    """Balances that are read at many moments are each held against their own."""
    write_mixed(tmp_path / "books", requests=5, seed=5)
    live = _Live(tmp_path / "books", head(tmp_path / "books") // 3, step)
    report = compare(tmp_path / "books", live.cluster)
    assert report.equal, report.differences
    assert report.position > head(tmp_path / "books") // 3


def test_a_wrong_balance_is_found_beside_a_live_mirror(tmp_path: Path) -> None:
    """What no moment explains differs."""
    write_mixed(tmp_path / "books", requests=5, seed=5)
    live = _Live(tmp_path / "books", head(tmp_path / "books") // 3, 1)

    def spoil(operation: Operation, body: Rows) -> None:
        live.advance(operation, body)
        live.cluster.accounts["credits_posted"][2, 1] = 5

    live.cluster.before = spoil
    found = compare(tmp_path / "books", live.cluster).differences
    assert {(difference.kind, difference.id) for difference in found} == {("account", 3)}
    assert "credits_posted" in {difference.field for difference in found}


def test_another_ledgers_cluster_is_refused(books: Path, tmp_path: Path) -> None:
    """Nothing is compared where nothing is in common."""
    write_mixed(tmp_path / "other", requests=2, seed=9)
    rows = mirrored_accounts(tmp_path / "other"), mirrored_transfers(tmp_path / "other")
    for part in rows:
        part["timestamp"] += np.uint64(12_345)
    with pytest.raises(ForeignData):
        compare(books, CannedCluster(*rows))


def test_what_a_cluster_has_that_the_journal_lost_is_extra(
    books: Path, cluster: CannedCluster
) -> None:
    """As after a restore from an older backup: however much it is."""
    more = np.concatenate([cluster.transfers[-1:]] * 300)
    more["id"] = [(number, 9) for number in range(300)]
    more["timestamp"] += np.arange(1, 301, dtype=np.uint64)
    cluster.transfers = np.concatenate([cluster.transfers, more])
    cluster.page_rows = 64
    report = compare(books, cluster, differences_max=10)
    assert report.transfers.extra == report.differences_found == 300
    assert len(report.differences) == 10
    assert report.transfers.compared == len(cluster.transfers) - 300


def test_a_run_that_was_stopped_goes_on(books: Path, cluster: CannedCluster) -> None:
    """With what it had found, and without reading again what it had compared."""
    cluster.transfers["amount"][10, 0] += np.uint64(1)
    cluster.transfers["amount"][-10, 0] += np.uint64(1)
    cluster.page_rows = 40
    middle = int(cluster.transfers["timestamp"][400])

    def stop(operation: Operation, body: Rows) -> None:
        paged = operation is Operation.QUERY_TRANSFERS and not body["flags"][0]
        if paged and int(body["timestamp_min"][0]) > middle:
            raise SessionClosed

    cluster.before = stop
    with pytest.raises(SessionClosed):
        compare(books, cluster, page_events=50, save_seconds=0.0)
    cluster.before = nothing
    cluster.asked.clear()
    report = compare(books, cluster, resume=True)
    assert report.position_resumed > 0
    assert report.transfers.compared == len(cluster.transfers)
    assert [it.field for it in report.differences] == ["amount", "amount"]
    assert report.transfers.different == 2
    firsts = [
        int(body["timestamp_min"][0]) for operation, body in cluster.asked
        if operation is Operation.QUERY_TRANSFERS and not body["flags"][0]
    ]  # fmt: skip
    assert min(firsts) > int(cluster.transfers["timestamp"][300])
    assert compare(books, cluster, resume=True).position_resumed == 0  # it came to its end


def test_progress_of_another_cluster_or_history_does_not_count(
    books: Path, cluster: CannedCluster
) -> None:
    """A cluster that lost what had been compared is compared from the beginning."""

    def stop(operation: Operation, body: Rows) -> None:
        if operation is Operation.QUERY_ACCOUNTS and not body["flags"][0]:
            raise SessionClosed

    cluster.before = stop
    with pytest.raises(SessionClosed):
        compare(books, cluster, page_events=50, save_seconds=0.0)
    other = attrs.evolve(CONFIGURATION, cluster_id=8)
    cluster.before = nothing
    assert (
        reconcile(
            books, other, open_ledger=Ledger.open, resume=True, connect=cluster.connect
        ).position_resumed
        == 0
    )
    position = head(books) // 3
    behind = CannedCluster(
        mirrored_accounts(books, position=position), mirrored_transfers(books, position=position)
    )
    report = compare(books, behind, resume=True)
    assert report.position_resumed == 0
    assert report.equal


def test_silence_is_told_in_time(books: Path, cluster: CannedCluster) -> None:
    """No answer is an error that names both causes."""

    class Silent(CannedCluster):
        def submit(self, _operation: Operation, _body: Rows) -> Future[Reply]:
            return Future()

    with pytest.raises(ClusterUnreachable, match=r"cannot be reached, or its id is not 7"):
        compare(books, Silent())


def test_an_empty_journal_equals_an_empty_cluster(tmp_path: Path, cluster: CannedCluster) -> None:
    """And no other."""
    Ledger.open(tmp_path / "new").close()
    report = compare(tmp_path / "new", CannedCluster())
    assert report.equal
    assert report.events_behind == 0
    with pytest.raises(ForeignData):
        compare(tmp_path / "new", cluster)


def test_the_mixed_ledger_is_mixed(cluster: CannedCluster) -> None:
    """The tests above mean something only if it holds every kind of transfer."""
    flags = int(np.bitwise_or.reduce(cluster.transfers["flags"]))
    F = TransferFlags  # noqa: N806  # as everywhere
    for flag in (F.LINKED, F.PENDING, F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER,
                 F.BALANCING_DEBIT, F.CLOSING_DEBIT):  # fmt: skip
        assert flags & flag


def test_rows_that_turned_out_equal_take_no_room(cluster: CannedCluster) -> None:
    """The limit is for differences."""
    comparison = Comparison(differences_max=1)
    other = cluster.accounts.copy()
    other["code"][5] += 1
    comparison.note_different(RecordKind.ACCOUNTS, cluster.accounts, other)
    assert [it.field for it in comparison.differences] == ["code"]
    assert (comparison.accounts.different, comparison.differences_found) == (1, 1)
