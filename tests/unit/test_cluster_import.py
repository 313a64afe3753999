"""A cluster becomes a journal: the same balances at every moment, however often it is stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from nostro import (
    ACCOUNT,
    TRANSFER,
    Account,
    AccountFlags,
    ChangeEventType,
    Ledger,
    LedgerLocked,
    Reader,
    Transfer,
    TransferCreated,
    TransferFlags,
    audit,
    change_events,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.errors import (
    ClusterUnreachable,
    ImportRefused,
    NotMadeFromCluster,
    SessionClosed,
)
from nostro.projections.tigerbeetle.importing.cluster_import import ClusterImport, ImportReport
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.reconcile.reconcile import reconcile
from nostro.projections.tigerbeetle.rows.change_events import CHANGE_EVENT
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import expiry_id
from tests.canned_cluster import CONFIGURATION, CannedCluster, nothing
from tests.changes import change_rows
from tests.clocks import HandClock
from tests.mixed_ledger import mirrored_accounts, mirrored_transfers, write_mixed

SECOND = 10**9
F = TransferFlags
READING = {
    Operation.LOOKUP_ACCOUNTS, Operation.LOOKUP_TRANSFERS, Operation.QUERY_ACCOUNTS,
    Operation.QUERY_TRANSFERS, Operation.GET_ACCOUNT_TRANSFERS, Operation.GET_CHANGE_EVENTS,
}  # fmt: skip


def as_cluster(path: Path, *, timestamp: int | None = None) -> CannedCluster:
    """What a TigerBeetle would hold that was used as the ledger was, up to a time."""
    until = np.uint64(2**63 if timestamp is None else timestamp)
    with Ledger.open(path, read_only=True) as ledger:
        accounts = (ledger if timestamp is None else ledger.at(timestamp=timestamp)).accounts()
    parts: list[Rows] = []
    for part in Reader(path).parts():
        if part.kind is RecordKind.TRANSFERS:
            rows, statuses = part.rows, part.statuses
            parts.append(rows if statuses is None else rows[statuses == 0xFFFFFFFF])
    changes = change_rows(list(change_events(path)))
    transfers = np.concatenate(parts)
    return CannedCluster(
        accounts, transfers[transfers["timestamp"] <= until],
        changes[changes["timestamp"] <= until],
    )  # fmt: skip


def bring_in(path: Path, cluster: CannedCluster, **options: Any) -> ImportReport:  # noqa: ANN401
    with ClusterImport(
        path, CONFIGURATION, open_ledger=Ledger.open, connect=cluster.connect, **options
    ) as importing:
        return importing.run()


def balances(path: Path, timestamp: int | None = None) -> list[tuple[object, ...]]:
    """All accounts, as they were at a time, but for the imported flag."""
    with Ledger.open(path, read_only=True) as ledger:
        rows = (ledger if timestamp is None else ledger.at(timestamp=timestamp)).accounts()
    rows["flags"] &= np.uint16(~int(AccountFlags.IMPORTED) & 0xFFFF)
    return sorted((tuple(map(str, row)) for row in rows.tolist()), key=str)


def stored(path: Path) -> list[Transfer]:
    with Ledger.open(path, read_only=True) as ledger:
        ids = [
            event.transfer.id
            for record in Reader(path).records()
            for event in record.events()
            if isinstance(event, TransferCreated)
        ]
        return ledger.lookup_transfers(ids)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("import") / "source"
    write_mixed(path, requests=16)
    return path


@pytest.mark.parametrize("page_rows", [3, 100, 8_189])
def test_balances_are_the_clusters_at_every_moment(
    source: Path, tmp_path: Path, page_rows: int
) -> None:
    """With posts, voids, expiries, balancing, chains, accounts created closed and closed later."""
    cluster = as_cluster(source)
    cluster.page_rows = page_rows
    report = bring_in(tmp_path / "books", cluster, span_transfers=50)
    assert report.differences == ()
    assert report.accounts_compared == report.accounts == len(cluster.accounts)
    assert report.transfers == len(cluster.transfers)
    expired = cluster.changes["type"] == ChangeEventType.TWO_PHASE_EXPIRED
    assert report.expiries == expired.sum() > 3
    assert balances(tmp_path / "books") == balances(source)
    times = [*cluster.changes["timestamp"].tolist()[::7], *cluster.changes["timestamp"][expired]]
    for timestamp in map(int, times):
        assert balances(tmp_path / "books", timestamp) == balances(source, timestamp)
    assert audit(tmp_path / "books").passed
    assert {operation for operation, _ in cluster.asked} <= READING


def test_transfers_are_the_clusters_but_for_flag_and_timeout(source: Path, tmp_path: Path) -> None:
    """And pending transfers that expired are voided, at the cluster's time."""
    bring_in(tmp_path / "books", as_cluster(source))
    theirs = {
        it.id: attrs.evolve(it, timeout=0, flags=it.flags | TransferFlags.IMPORTED)
        for it in stored(source)
    }
    mine = {it.id: it for it in stored(tmp_path / "books")}
    expiries = {
        expiry_id(it.transfer.id): it.timestamp
        for it in change_events(source)
        if it.type is ChangeEventType.TWO_PHASE_EXPIRED
    }
    assert {id_: it for id_, it in mine.items() if id_ in theirs} == theirs
    assert {id_: it.timestamp for id_, it in mine.items() if id_ not in theirs} == expiries


def test_an_import_may_be_mirrored(source: Path, tmp_path: Path) -> None:
    """What comes out of the mirror is what went in."""
    bring_in(tmp_path / "books", as_cluster(source))
    mirror = CannedCluster(
        mirrored_accounts(tmp_path / "books"), mirrored_transfers(tmp_path / "books")
    )
    assert reconcile(
        tmp_path / "books", CONFIGURATION, connect=mirror.connect, open_ledger=Ledger.open
    ).equal


def test_a_second_run_adds_nothing(source: Path, tmp_path: Path) -> None:
    """Not one byte of the journal changes."""
    bring_in(tmp_path / "books", as_cluster(source))
    before = Reader(tmp_path / "books").head()
    report = bring_in(tmp_path / "books", as_cluster(source))
    after = Reader(tmp_path / "books").head()
    assert (report.accounts, report.transfers, report.expiries) == (0, 0, 0)
    assert report.differences == ()
    assert (after.position, after.frame_sha256) == (before.position, before.frame_sha256)


def test_it_goes_on_wherever_it_was_stopped(source: Path, tmp_path: Path) -> None:
    """At each request to the cluster in turn, in one ledger: nothing twice, nothing left out."""
    cluster = as_cluster(source)
    cluster.page_rows = 25
    left = 0

    def stop(_operation: Operation, _body: Rows) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise SessionClosed

    stops = 0
    for patience in range(1, 1_000):
        left, cluster.before = patience, stop
        try:
            bring_in(tmp_path / "books", cluster, span_transfers=20)
            break
        except SessionClosed:
            stops += 1
    assert stops > 5
    assert balances(tmp_path / "books") == balances(source)
    assert len(stored(tmp_path / "books")) == bring_in_count(source, tmp_path / "other")


def bring_in_count(source: Path, path: Path) -> int:
    report = bring_in(path, as_cluster(source))
    return report.transfers + report.expiries


def test_it_goes_on_as_the_cluster_grows(source: Path, tmp_path: Path) -> None:
    """A pending transfer that is open at the end of one run may expire in the next."""
    for record in Reader(source).records():
        timestamp = record.timestamp_max
        report = bring_in(tmp_path / "books", as_cluster(source, timestamp=timestamp))
        assert report.differences == ()
        assert balances(tmp_path / "books") == balances(source, timestamp)


def test_without_change_events_time_runs_out_when_it_does(source: Path, tmp_path: Path) -> None:
    """As for what is older than the cluster's change events."""
    source = shutil.copytree(source, tmp_path / "source")
    later = Reader(source).head().timestamp + 60 * SECOND
    with Ledger.open(source, clock=HandClock(later)) as ledger:
        ledger.lookup_accounts([1])
    cluster = as_cluster(source)
    expiries = cluster.changes["type"] == ChangeEventType.TWO_PHASE_EXPIRED
    wanted = set(ids_of(cluster.changes[expiries]))
    cluster.changes = cluster.changes[-1:]
    cluster.changes["id"] = 1, 99
    cluster.changes["timestamp"] += np.uint64(60 * SECOND)  # the clock goes on
    report = bring_in(tmp_path / "books", cluster)
    assert report.expiries == len(wanted)
    assert report.differences == ()
    assert balances(tmp_path / "books") == balances(source)
    pending = {it.id: it for it in stored(source)}
    voids = {it.pending_id: it for it in stored(tmp_path / "books") if it.id not in pending}
    for id_ in wanted:
        due = pending[id_].timestamp + pending[id_].timeout * SECOND
        assert 0 <= voids[id_].timestamp - due < 1_000


def test_a_pending_transfer_that_is_due_and_still_open_stays_open(tmp_path: Path) -> None:
    """Until the cluster says that it expired."""
    cluster = _two_accounts()
    cluster.transfers = np.zeros(1, TRANSFER)
    cluster.transfers["id"][0, 0] = 5
    cluster.transfers["debit_account_id"][0, 0], cluster.transfers["credit_account_id"][0, 0] = 1, 2
    cluster.transfers["ledger"] = cluster.transfers["code"] = cluster.transfers["timeout"] = 1
    cluster.transfers["flags"], cluster.transfers["timestamp"] = TransferFlags.PENDING.value, 10
    changes = np.zeros(2, CHANGE_EVENT)
    changes["id"][:, 0] = 5, 77
    changes["timestamp"] = 10, 100 * SECOND
    changes["type"] = ChangeEventType.TWO_PHASE_PENDING, ChangeEventType.SINGLE_PHASE
    cluster.changes = changes
    assert bring_in(tmp_path / "books", cluster).expiries == 0
    late = changes[:1].copy()
    late["type"], late["timestamp"] = ChangeEventType.TWO_PHASE_EXPIRED, 100 * SECOND + 5
    cluster.changes = np.concatenate([changes, late])
    assert bring_in(tmp_path / "books", cluster).expiries == 1
    assert stored(tmp_path / "books")[-1].timestamp == 100 * SECOND + 5


def _two_accounts() -> CannedCluster:
    rows = np.zeros(2, ACCOUNT)
    rows["id"][:, 0] = 1, 2
    rows["ledger"] = rows["code"] = 1
    rows["timestamp"] = 1, 2
    return CannedCluster(rows)


def test_times_ahead_of_this_machines_clock_are_imported(tmp_path: Path) -> None:
    """The cluster's clock is the one that counts."""
    cluster = _two_accounts()
    cluster.accounts["timestamp"] += np.uint64(2**62)
    report = bring_in(tmp_path / "books", cluster)
    assert (report.accounts, report.accounts_compared) == (2, 2)


def test_an_empty_cluster_is_an_empty_ledger(tmp_path: Path) -> None:
    """Which grows later."""
    assert bring_in(tmp_path / "books", CannedCluster()).position == 0
    assert bring_in(tmp_path / "books", _two_accounts()).position == 2


def test_a_ledger_made_otherwise_is_refused_untouched(source: Path, tmp_path: Path) -> None:
    """Whether all of it, or some of it after an import, was."""
    books = tmp_path / "books"
    cluster = as_cluster(source)
    with Ledger.open(books) as ledger:
        ledger.create_accounts([Account(id=1, ledger=1, code=1)])
    before = _contents(books)
    with pytest.raises(NotMadeFromCluster, match="created in the ledger itself"):
        bring_in(books, cluster)
    assert _contents(books) == before
    for change in (
        [Transfer(7, 3, 4, 1, ledger=1, code=1)],
        [Transfer(8, 3, 999, 1, ledger=1, code=1)],
        [Transfer(9, 3, 999, 1, ledger=1, code=1, flags=F.IMPORTED, timestamp=cluster.now)],
    ):
        imported = tmp_path / str(change[0].id)
        bring_in(imported, cluster)
        with Ledger.open(imported) as ledger:
            ledger.create_transfers(change)
        before = _contents(imported)
        with pytest.raises(NotMadeFromCluster, match=r"in the ledger itself|by the ledger itself"):
            bring_in(imported, cluster)
        assert _contents(imported) == before


def test_another_clusters_import_is_refused_untouched(source: Path, tmp_path: Path) -> None:
    """By accounts, or where these are the same by transfers."""
    bring_in(tmp_path / "books", as_cluster(source))
    before = _contents(tmp_path / "books")
    for field in ("accounts", "transfers"):
        other = as_cluster(source)
        getattr(other, field)["timestamp"] += np.uint64(7)
        with pytest.raises(NotMadeFromCluster, match="has no such"):
            bring_in(tmp_path / "books", other)
        assert _contents(tmp_path / "books") == before


def _contents(path: Path) -> dict[str, bytes]:
    return {str(it): it.read_bytes() for it in sorted(path.rglob("*")) if it.is_file()}


def test_a_silent_cluster_makes_no_directory(tmp_path: Path) -> None:
    """Nothing is begun before it has answered."""
    cluster = _two_accounts()

    def fail(_operation: Operation, _body: Rows) -> None:
        raise ClusterUnreachable(7, "3001", 0.1)

    cluster.before = fail
    with pytest.raises(ClusterUnreachable):
        bring_in(tmp_path / "books", cluster)
    assert not (tmp_path / "books").exists()


def test_a_difference_in_the_end_is_told(source: Path, tmp_path: Path) -> None:
    """Field by field."""
    cluster = as_cluster(source)
    cluster.accounts["credits_posted"][3, 0] += np.uint64(5)
    [difference] = bring_in(tmp_path / "books", cluster).differences
    assert (difference.kind, difference.id, difference.field) == ("account", 4, "credits_posted")


def test_a_cluster_that_does_not_keep_still_is_not_compared(source: Path, tmp_path: Path) -> None:
    """It is said that it was not."""
    cluster = as_cluster(source)

    def go_on(operation: Operation, _body: Rows) -> None:
        if operation is Operation.QUERY_ACCOUNTS:
            latest = cluster.transfers[-1:].copy()
            latest["id"] = len(cluster.transfers), 9
            latest["flags"], latest["timeout"] = 0, 0
            latest["debit_account_id"], latest["credit_account_id"] = (1, 0), (2, 0)
            latest["timestamp"] = cluster.now
            cluster.transfers = np.concatenate([cluster.transfers, latest])

    cluster.before = go_on
    report = bring_in(tmp_path / "books", cluster)
    assert report.accounts_compared is None
    cluster.before = nothing


def test_what_the_rules_do_not_allow_is_named(tmp_path: Path) -> None:
    """A cluster whose history cannot have been."""
    cluster = _two_accounts()
    cluster.transfers = np.zeros(1, TRANSFER)
    cluster.transfers["id"][0, 0] = 5
    cluster.transfers["debit_account_id"][0, 0], cluster.transfers["credit_account_id"][0, 0] = 1, 3
    cluster.transfers["ledger"] = cluster.transfers["code"] = 1
    cluster.transfers["timestamp"] = 10
    with pytest.raises(ImportRefused, match=r"transfer 5 .* credit_account_not_found"):
        bring_in(tmp_path / "books", cluster)


def test_two_imports_into_one_directory_are_one(source: Path, tmp_path: Path) -> None:
    """The second finds it locked."""
    cluster = as_cluster(source)
    with (
        ClusterImport(
            tmp_path / "books", CONFIGURATION, connect=cluster.connect, open_ledger=Ledger.open
        ),
        pytest.raises(LedgerLocked),
    ):
        bring_in(tmp_path / "books", cluster)


def test_chains_are_never_cut(tmp_path: Path) -> None:
    """Of accounts and of transfers, wherever pages and stretches end."""
    linked = TransferFlags.LINKED
    with Ledger.open(tmp_path / "source") as ledger:
        ledger.create_accounts(
            [Account(n, ledger=1, code=1, flags=AccountFlags.LINKED if n % 12 else AccountFlags(0))
             for n in range(1, 25)]
        )  # fmt: skip
        ledger.create_transfers(
            [Transfer(n, 1, 2, n, ledger=1, code=1, flags=linked if n % 12 else TransferFlags(0))
             for n in range(1, 49)]
        )  # fmt: skip
    for page_rows in (1, 4, 7):
        cluster = as_cluster(tmp_path / "source")
        cluster.page_rows = page_rows
        books = tmp_path / str(page_rows)
        assert bring_in(books, cluster, span_transfers=5).differences == ()
        for part in Reader(books).parts():
            assert not part.rows["flags"][-1] & 1


def test_a_chain_of_accounts_may_outlast_a_stretch(tmp_path: Path) -> None:
    """As where a cluster was imported into: then times of accounts and transfers interleave."""
    cluster = _two_accounts()
    chain = np.concatenate([cluster.accounts, cluster.accounts[:1]])
    chain["id"][:, 0] = 3, 4, 5
    chain["timestamp"] = 10, 20, 30
    chain["flags"] = 1, 1, 0
    cluster.accounts = np.concatenate([cluster.accounts, chain])
    cluster.transfers = np.zeros(2, TRANSFER)
    cluster.transfers["id"][:, 0] = 5, 6
    cluster.transfers["debit_account_id"][:, 0] = 1
    cluster.transfers["credit_account_id"][:, 0] = 2
    cluster.transfers["ledger"] = cluster.transfers["code"] = 1
    cluster.transfers["timestamp"] = 15, 25
    for page_rows in (1, 8_189):
        cluster.page_rows = page_rows
        report = bring_in(tmp_path / str(page_rows), cluster, span_transfers=1)
        assert (report.accounts, report.transfers, report.differences) == (5, 2, ())
