"""A real TigerBeetle, used as it is used, becomes a journal, and that another TigerBeetle."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import attrs
import numpy as np
import pytest

from nostro import (
    AMOUNT_MAX,
    Account,
    AccountFilter,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    JournalError,
    Ledger,
    Reader,
    Transfer,
    TransferFlags,
    audit,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.importing.cluster_import import ClusterImport, ImportReport
from nostro.projections.tigerbeetle.mirror.mirror import Mirror
from nostro.projections.tigerbeetle.reconcile.reconcile import reconcile
from nostro.projections.tigerbeetle.session.cluster import Cluster, native_connect
from tests.differential.tigerbeetle_server import find_binary, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
F, A = TransferFlags, AccountFlags
IMPORTED = np.uint16(int(A.IMPORTED))
LIMITED, CREATED_CLOSED, CLOSED_LATER, REOPENED = 20, 21, 22, 23


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[list[ClusterConfiguration]]:
    """Two, each of one replica."""
    binary = find_binary()
    if binary is None:
        pytest.skip("no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none")
    pytest.importorskip("tigerbeetle")
    with ExitStack() as stack:
        found = []
        for name in ("source", "target"):
            (tmp_path / name).mkdir()
            address = stack.enter_context(running(binary, tmp_path / name))
            found.append(
                ClusterConfiguration(0, (address,), timeout_seconds=60, batch_events_max=250)
            )
        yield found


class Client:
    """TigerBeetle's own, and what it has created."""

    def __init__(self, configuration: ClusterConfiguration) -> None:
        tigerbeetle: Any = pytest.importorskip("tigerbeetle")
        self.raw = tigerbeetle.ClientSync(cluster_id=0, replica_addresses=configuration.replicas[0])
        self.random = Random(7)
        self.next_id = 1_000
        self.pending: list[int] = []

    def close(self) -> None:
        self.raw.close()

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def accounts(self, accounts: Sequence[Account]) -> None:
        results = self.raw.create_accounts(list(accounts))
        assert {int(it.status) for it in results} == {int(CreateAccountStatus.CREATED)}

    def transfers(self, transfers: Sequence[Transfer], *, sure: bool = True) -> None:
        results = self.raw.create_transfers(list(transfers))
        if sure:
            assert {int(it.status) for it in results} == {int(CreateTransferStatus.CREATED)}

    def begin(self) -> None:
        self.accounts([Account(n, ledger=1, code=1, user_data_64=n,
                               flags=A.HISTORY if n % 2 else A.NONE) for n in range(1, 9)]
                      + [Account(LIMITED, ledger=1, code=1,
                                 flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS),
                         Account(CREATED_CLOSED, ledger=1, code=1, flags=A.CLOSED),
                         Account(CLOSED_LATER, ledger=1, code=1),
                         Account(REOPENED, ledger=1, code=1)])  # fmt: skip
        self.transfers([Transfer(self.new_id(), 1, LIMITED, 50, ledger=1, code=1)])
        closing = F.CLOSING_DEBIT | F.PENDING
        self.transfers([
            Transfer(self.new_id(), CLOSED_LATER, 1, 0, ledger=1, code=1, flags=closing),
            Transfer(self.new_id(), REOPENED, 1, 0, timeout=1, ledger=1, code=1, flags=closing),
        ])  # fmt: skip

    def request(self) -> None:
        """Some transfers of every kind, some of them refused."""
        request: list[Transfer] = []
        random = self.random
        for _ in range(random.randrange(1, 100)):
            debit, credit = random.sample(range(1, 9), 2)
            id_, chance = self.new_id(), random.random()
            plain = Transfer(id_, debit, credit, random.randrange(90), ledger=1, code=1)
            if chance < 0.25:
                timeout = random.choice((0, 1, 1, 2, 3600))
                self.pending.append(id_)
                request.append(
                    Transfer(id_, debit, credit, 7, timeout=timeout, ledger=1, code=2,
                             user_data_128=id_, flags=F.PENDING)
                )  # fmt: skip
            elif chance < 0.35 and self.pending:
                pending_id = self.pending.pop(random.randrange(len(self.pending)))
                flags = random.choice((F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER))
                amount = AMOUNT_MAX if flags is F.POST_PENDING_TRANSFER else 0
                request.append(Transfer(id_, amount=amount, pending_id=pending_id, flags=flags))
            elif chance < 0.4:
                flags = F.BALANCING_DEBIT
                request.append(Transfer(id_, LIMITED, debit, 9, ledger=1, code=1, flags=flags))
            elif chance < 0.5:
                linked = Transfer(id_, debit, credit, 3, ledger=1, code=1, flags=F.LINKED)
                last = Transfer(self.new_id(), credit, debit, 1, ledger=1, code=1)
                request += [linked, last]
            elif chance < 0.55:
                request.append(Transfer(id_, LIMITED, debit, 10**9, ledger=1, code=1))
            else:
                request.append(plain)
        self.transfers(request, sure=False)


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Closes the clients of a test when the test ends."""
    with ExitStack() as stack:
        yield stack


def bring_in(path: Path, configuration: ClusterConfiguration) -> ImportReport:
    with ClusterImport(path, configuration, open_ledger=Ledger.open) as importing:
        return importing.run()


def everything(configuration: ClusterConfiguration) -> tuple[Rows, Rows]:
    with Cluster(configuration, native_connect(configuration)) as cluster:
        accounts = np.concatenate(list(cluster.pages(RecordKind.ACCOUNTS)))
        transfers = np.concatenate(list(cluster.pages(RecordKind.TRANSFERS)))
    return accounts, transfers


def test_a_used_cluster_becomes_a_journal_and_that_a_cluster(
    tmp_path: Path, clusters: list[ClusterConfiguration], clients: ExitStack
) -> None:
    """Round trip: balances, histories and transfers are the same on the other side."""
    source, target = clusters
    books = tmp_path / "books"
    assert bring_in(books, source).position == 0  # an empty cluster, first
    client = clients.enter_context(closing(Client(source)))
    client.begin()
    expiries = 0
    for number in range(24):
        client.request()
        if number % 6 == 5:
            time.sleep(0.5)
            report = bring_in(books, source)  # as it comes, with pendings open
            assert report.differences == ()
            expiries += report.expiries
            client.accounts([Account(5_000 + number, ledger=1, code=1)])
    time.sleep(2.5)
    report = bring_in(books, source)
    expiries += report.expiries
    assert report.differences == ()
    assert report.accounts_compared == 16
    assert expiries > 10
    position = Reader(books).head().position
    assert bring_in(books, source).position == position  # again: nothing new
    assert audit(books).passed
    _check_history(client, books)
    changes = _expiries(source)
    with Ledger.open(books, read_only=True) as ledger:
        for id_, timestamp in changes.items():
            [void] = ledger.lookup_transfers([_expiry_id(id_)])
            assert (void.timestamp, void.pending_id) == (timestamp, id_)
        [pending] = ledger.lookup_transfers([client.pending[0]])
        assert pending.timeout == 0
        flags = {it.id: it.flags & A.CLOSED for it in ledger.lookup_accounts([21, 22, 23])}
    assert flags == {CREATED_CLOSED: A.CLOSED, CLOSED_LATER: A.CLOSED, REOPENED: A.NONE}
    with Mirror(books, target) as mirror:
        mirror.catch_up()
    assert reconcile(books, target, open_ledger=Ledger.open).differences == ()
    ours, theirs = everything(source), everything(target)
    ours[0]["flags"] |= IMPORTED
    assert ours[0].tobytes() == theirs[0].tobytes()
    ours[1]["flags"] |= np.uint16(int(F.IMPORTED))
    ours[1]["timeout"] = 0
    voids = {_expiry_id(id_) for id_ in changes}
    kept = [low | high << 64 not in voids for low, high in theirs[1]["id"].tolist()]
    assert theirs[1][kept].tobytes() == ours[1].tobytes()
    # And the other way: what is imported there already comes in as it is.
    assert bring_in(tmp_path / "again", target).differences == ()


def _expiry_id(id_: int) -> int:
    from nostro.projections.tigerbeetle.rows.translation import expiry_id  # noqa: PLC0415

    return expiry_id(id_)


def _expiries(configuration: ClusterConfiguration) -> dict[int, int]:
    """What expired in the cluster, as the tests' own reading of change events says."""
    from tests.differential.change_events import change_events  # noqa: PLC0415

    with closing(Client(configuration)) as client:
        return {
            transfer.id: timestamp
            for timestamp, kind, transfer, _, _ in change_events(client.raw)
            if kind == 4
        }


def _check_history(client: Client, books: Path) -> None:
    """An account with HISTORY had the same balances after each of its transfers."""
    with Ledger.open(books, read_only=True) as ledger:
        for id_ in (1, 3, 5, 7):
            query = AccountFilter(account_id=id_, limit=2_000)
            theirs = {
                it.timestamp: (it.debits_posted, it.credits_posted, it.debits_pending,
                               it.credits_pending)
                for it in client.raw.get_account_balances(query)
            }  # fmt: skip
            mine = {
                it.timestamp: (it.debits_posted, it.credits_posted, it.debits_pending,
                               it.credits_pending)
                for it in ledger.get_account_balances(query)
            }  # fmt: skip
            assert {at: mine[at] for at in theirs} == theirs
            assert len(theirs) > 20


def test_a_cluster_is_followed_while_it_is_used(
    tmp_path: Path, clusters: list[ClusterConfiguration], clients: ExitStack
) -> None:
    """Until it is told to stop; then what there is has been imported and is equal."""
    source, _ = clusters
    stop = threading.Event()
    reports: list[ImportReport] = []
    client = clients.enter_context(closing(Client(source)))
    client.begin()

    def follow() -> None:
        with ClusterImport(tmp_path / "books", source, open_ledger=Ledger.open) as importing:
            reports.append(importing.run(follow=True, stop=stop))

    follower = threading.Thread(target=follow)
    follower.start()
    for _ in range(15):
        client.request()
        time.sleep(0.1)
    time.sleep(2)
    stop.set()
    follower.join()
    [report] = reports
    assert report.differences == ()
    assert report.accounts_compared == 12
    _, transfers = everything(source)
    assert report.transfers == len(transfers)
    assert bring_in(tmp_path / "books", source).transfers == 0


def test_an_import_that_is_killed_goes_on(
    tmp_path: Path, clusters: list[ClusterConfiguration], clients: ExitStack
) -> None:
    """By SIGKILL, at any moment: in the end every transfer is there once."""
    source, _ = clusters
    client = clients.enter_context(closing(Client(source)))
    client.begin()
    plain = Transfer(0, 1, 2, 1, ledger=1, code=1)
    for _ in range(60):
        client.transfers([attrs.evolve(plain, id=client.new_id()) for _ in range(250)])
    books = tmp_path / "books"
    program = (
        "import sys\n"
        "from nostro import Ledger\n"
        "from nostro.projections.tigerbeetle.configuration import ClusterConfiguration\n"
        "from nostro.projections.tigerbeetle.importing.cluster_import import ClusterImport\n"
        "source = ClusterConfiguration.parse('0', sys.argv[2])\n"
        "with ClusterImport(\n"
        "    sys.argv[1], source, open_ledger=Ledger.open, span_transfers=300\n"
        ") as importing:\n"
        "    importing.run()\n"
    )
    command = [sys.executable, "-c", program, str(books), source.replicas[0]]
    positions: list[int] = []
    for _ in range(6):
        before = positions[-1] if positions else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            for _ in range(2_000):
                if process.poll() is not None or _position(books) > before + 500:
                    break
                time.sleep(0.005)
            process.kill()
        positions.append(_position(books))
    report = bring_in(books, source)
    assert report.differences == ()
    accounts, transfers = everything(source)
    assert report.position == len(accounts) + len(transfers) + len(_expiries(source))
    assert positions == sorted(positions)
    assert 0 < positions[0] < report.position


def _position(path: Path) -> int:
    try:
        return Reader(path).head().position
    except JournalError:
        return 0
