"""The same work done by other systems, each as quick as its public API lets it be and as durable.

Every peer keeps 10,000 accounts with debits and credits, stores each transfer under its unique
128-bit id, refuses an id it has, and returns only once the disk has what it was given. Except for
TigerBeetle none checks more than that both accounts exist, and none stores a timestamp: where the
work differs from nostro's, the difference is in the peer's favour.

What is posted is made before the clock starts, in the form that the peer takes. Batches and one
transfer at a time take turns in one store, which so is warm after the first.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Final, Protocol
from uuid import UUID

import attrs
import numpy as np

from nostro.journal import Transfer
from nostro.tools.bench.measure import BATCH, Figure, Scale
from nostro.tools.bench.payments import LEDGER, transfer_objects
from nostro.tools.bench.servers import (
    PeerFailed,
    not_importable,
    run,
    server,
    tigerbeetle_missing,
    tigerbeetle_replica,
)

ACCOUNTS: Final = 10_000
_SHARE: Final = 5  # A peer gets a fifth of the transfers that nostro gets.


@attrs.frozen
class Totals:
    """What a store holds: number of transfers and their amounts, and the sums of both balances."""

    transfers: int
    amounts: int
    debits: int
    credits: int


class Store(Protocol):
    """Accounts 1 to ``ACCOUNTS`` of a peer, and what was transferred between them."""

    def request(self, transfers: list[Transfer]) -> Callable[[], object]:
        """The call that posts ``transfers`` in one durable commit; only the call is timed."""

    def totals(self) -> Totals:
        """Read back from the store itself, not from what it was sent."""


@attrs.frozen
class Peer:
    """One system: how its store is opened in a folder, and why it cannot be here, if so."""

    name: str
    batches: str
    singles: str
    open: Callable[[Path], AbstractContextManager[Store]]
    missing: Callable[[], str | None]


def run_peers(folder: Path, scale: Scale) -> Iterator[Figure]:
    """Both workloads of every peer that is here, each store in a folder of its own in ``folder``.

    Raises:
        PeerFailed: a peer did not start, or its totals are not those of what it was sent.
    """
    for peer in PEERS:
        if peer.missing() is None:
            yield from measure(peer, folder, scale)


def missing() -> list[tuple[str, str]]:
    """The peers that are left out here, each with the reason."""
    reasons = ((peer.name, peer.missing()) for peer in PEERS)
    return [(name, reason) for name, reason in reasons if reason is not None]


def measure(peer: Peer, folder: Path, scale: Scale) -> list[Figure]:
    """Transfers a second in batches and one at a time, each the median of the repeats.

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


@contextmanager
def _sqlite(folder: Path) -> Iterator[Store]:
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as connection:
        yield _SqliteStore(connection)


class _SqliteStore:
    """One writer, as in nostro: exclusive locking, a log of 16 MB that is reused, not grown."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        for setting in (
            "page_size = 4096",
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            "cache_size = -262144",  # KiB
            "wal_autocheckpoint = 4000",  # pages
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {setting}")
        connection.executescript("""
            CREATE TABLE accounts (
                id INTEGER PRIMARY KEY,
                debits_posted INTEGER NOT NULL,
                credits_posted INTEGER NOT NULL,
                ledger INTEGER NOT NULL,
                code INTEGER NOT NULL
            );
            CREATE TABLE transfers (
                id BLOB PRIMARY KEY,
                debit_account_id INTEGER NOT NULL,
                credit_account_id INTEGER NOT NULL,
                amount INTEGER NOT NULL,
                ledger INTEGER NOT NULL,
                code INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE filling AS SELECT zeroblob(4096 * 4000);
            DROP TABLE filling;
            PRAGMA wal_checkpoint(RESTART);
            BEGIN;
        """)
        rows = [(number, LEDGER) for number in _account_numbers()]
        connection.executemany("INSERT INTO accounts VALUES (?, 0, 0, ?, 1)", rows)
        connection.execute("COMMIT")

    def request(self, transfers: list[Transfer]) -> Callable[[], object]:
        rows = [
            (one.id.to_bytes(16), one.debit_account_id, one.credit_account_id, one.amount)
            for one in transfers
        ]
        debits = [(one.amount, one.debit_account_id) for one in transfers]
        credits = [(one.amount, one.credit_account_id) for one in transfers]
        return partial(self._post, rows, debits, credits)

    def totals(self) -> Totals:
        [stored] = self._connection.execute("SELECT count(*), sum(amount) FROM transfers")
        [balances] = self._connection.execute(
            "SELECT sum(debits_posted), sum(credits_posted) FROM accounts"
        )
        return Totals(*stored, *balances)

    def _post(
        self,
        rows: list[tuple[bytes, int, int, int]],
        debits: list[tuple[int, int]],
        credits: list[tuple[int, int]],
    ) -> None:
        run, run_many = self._connection.execute, self._connection.executemany
        run("BEGIN IMMEDIATE")
        run_many(f"INSERT INTO transfers VALUES (?, ?, ?, ?, {LEDGER}, 1)", rows)  # noqa: S608
        debited = run_many(
            "UPDATE accounts SET debits_posted = debits_posted + ? WHERE id = ?", debits
        )
        credited = run_many(
            "UPDATE accounts SET credits_posted = credits_posted + ? WHERE id = ?", credits
        )
        if debited.rowcount != len(rows) or credited.rowcount != len(rows):
            raise PeerFailed("SQLite: a transfer names an account that does not exist")
        run("COMMIT")


@contextmanager
def _eventsourcing(folder: Path) -> Iterator[Store]:
    sqlite = importlib.import_module("eventsourcing.sqlite")
    factory = sqlite.SQLiteFactory({"SQLITE_DBNAME": str(folder / "events.sqlite")})
    with closing(factory):
        yield _EventsourcingStore(factory.application_recorder())


class _EventRecorder(Protocol):
    def insert_events(self, stored_events: Sequence[object]) -> object: ...

    def select_notifications(self, start: int, limit: int) -> Sequence[_Recorded]: ...


class _Recorded(Protocol):
    id: int
    state: bytes


class _EventsourcingStore:
    """Each transfer is the first event of a stream that has its id; balances are in memory."""

    _STATE: Final = struct.Struct("<QQQIH")  # debit and credit account, amount, ledger, code

    def __init__(self, recorder: _EventRecorder) -> None:
        persistence = importlib.import_module("eventsourcing.persistence")
        self._event: Callable[[UUID, int, str, bytes], object] = persistence.StoredEvent
        self._recorder = recorder
        self._debits = [0] * (ACCOUNTS + 1)
        self._credits = [0] * (ACCOUNTS + 1)

    def request(self, transfers: list[Transfer]) -> Callable[[], object]:
        rows = [
            (UUID(int=one.id), one.debit_account_id, one.credit_account_id, one.amount)
            for one in transfers
        ]
        return partial(self._post, rows)

    def totals(self) -> Totals:
        transfers = amounts = start = 0
        while recorded := self._recorder.select_notifications(start, BATCH):
            transfers += len(recorded)
            amounts += sum(self._STATE.unpack(one.state)[2] for one in recorded)
            start = recorded[-1].id + 1
        return Totals(transfers, amounts, sum(self._debits), sum(self._credits))

    def _post(self, rows: list[tuple[UUID, int, int, int]]) -> None:
        pack, event = self._STATE.pack, self._event
        self._recorder.insert_events(
            [
                event(id_, 1, "ledger:Transferred", pack(debit, credit, amount, LEDGER, 1))
                for id_, debit, credit, amount in rows
            ]
        )
        for _, debit, credit, amount in rows:
            self._debits[debit] += amount
            self._credits[credit] += amount


@contextmanager
def _tigerbeetle(folder: Path) -> Iterator[Store]:
    package = importlib.import_module("tigerbeetle")
    with tigerbeetle_replica(folder) as address, package.ClientSync(0, address) as client:
        yield _TigerbeetleStore(client, package)


class _TigerbeetleClient(Protocol):
    def create_accounts(self, accounts: list[object]) -> object: ...

    def create_transfers(self, transfers: list[object]) -> object: ...

    def lookup_accounts(self, accounts: list[int]) -> Sequence[_TigerbeetleAccount]: ...

    def query_transfers(self, query_filter: object) -> Sequence[_TigerbeetleTransfer]: ...


class _TigerbeetleAccount(Protocol):
    debits_posted: int
    credits_posted: int


class _TigerbeetleTransfer(Protocol):
    amount: int
    timestamp: int


class _TigerbeetleStore:
    """Nothing of its own: the rules, the statuses and the timestamps are the server's."""

    def __init__(self, client: _TigerbeetleClient, package: ModuleType) -> None:
        self._client = client
        self._package = package
        for numbers in _shares(_account_numbers()):
            client.create_accounts(
                [package.Account(id=number, ledger=LEDGER, code=1) for number in numbers]
            )

    def request(self, transfers: list[Transfer]) -> Callable[[], object]:
        theirs = [
            self._package.Transfer(
                id=one.id,
                debit_account_id=one.debit_account_id,
                credit_account_id=one.credit_account_id,
                amount=one.amount,
                ledger=LEDGER,
                code=1,
            )
            for one in transfers
        ]
        return partial(self._client.create_transfers, theirs)

    def totals(self) -> Totals:
        debits = credits = transfers = amounts = 0
        for numbers in _shares(_account_numbers()):
            accounts = self._client.lookup_accounts(list(numbers))
            debits += sum(account.debits_posted for account in accounts)
            credits += sum(account.credits_posted for account in accounts)
        everything = self._package.QueryFilter(
            user_data_128=0,
            user_data_64=0,
            user_data_32=0,
            ledger=LEDGER,
            code=0,
            timestamp_min=0,
            timestamp_max=0,
            limit=BATCH,
            flags=self._package.QueryFilterFlags.NONE,
        )
        while found := self._client.query_transfers(everything):
            transfers += len(found)
            amounts += sum(one.amount for one in found)
            everything.timestamp_min = found[-1].timestamp + 1
        return Totals(transfers, amounts, debits, credits)


@contextmanager
def _postgresql(folder: Path) -> Iterator[Store]:
    programs = _postgresql_programs()
    assert programs is not None, "the caller has asked whether it is missing"
    data = folder / "data"
    run([str(programs / "initdb"), "-D", str(data), "-U", "ledger", "-A", "trust", "-E", "UTF8"])
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "shared_buffers": "512MB",
        "max_wal_size": "4GB",
    }
    command = [str(programs / "postgres"), "-D", str(data)]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    psycopg = importlib.import_module("psycopg")
    with server(command, folder / "log") as postgres:
        place = {"host": str(folder), "user": "ledger", "dbname": "postgres"}
        connect = partial(psycopg.connect, **place, autocommit=True)
        with postgres.answer(connect, psycopg.OperationalError) as connection:
            yield _PostgresqlStore(connection)


class _PostgresqlStore:
    """A batch is copied to a staging table, and inserted and added up from there.

    One transfer is one statement that inserts it and updates both accounts.
    """

    def __init__(self, connection: _PostgresqlConnection) -> None:
        self._connection = connection
        for statement in _POSTGRESQL_SCHEMA:
            connection.execute(statement)

    def request(self, transfers: list[Transfer]) -> Callable[[], object]:
        rows = [
            (UUID(int=one.id), one.debit_account_id, one.credit_account_id, one.amount)
            for one in transfers
        ]
        return partial(self._post_one, rows[0]) if len(rows) == 1 else partial(self._post, rows)

    def totals(self) -> Totals:
        select = self._connection.execute
        stored = select("SELECT count(*), sum(amount)::bigint FROM transfers").fetchone()
        balances = select(
            "SELECT sum(debits_posted)::bigint, sum(credits_posted)::bigint FROM accounts"
        ).fetchone()
        return Totals(*stored, *balances)

    def _post(self, rows: list[tuple[UUID, int, int, int]]) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy("COPY batch FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["uuid", "int8", "int8", "int8"])
                for row in rows:
                    copy.write_row(row)
            cursor.execute(_POSTGRESQL_INSERT)
            cursor.execute(_POSTGRESQL_UPDATE)

    def _post_one(self, row: tuple[UUID, int, int, int]) -> None:
        if self._connection.execute(_POSTGRESQL_ONE, row, prepare=True).rowcount != 2:
            raise PeerFailed("PostgreSQL: a transfer names an account that does not exist")


class _PostgresqlCursor(Protocol):
    rowcount: int

    def copy(self, statement: str) -> AbstractContextManager[_PostgresqlCopy]: ...

    def execute(self, query: str) -> object: ...

    def fetchone(self) -> tuple[int, int]: ...


class _PostgresqlCopy(Protocol):
    def set_types(self, types: Sequence[str]) -> None: ...

    def write_row(self, row: Sequence[object]) -> None: ...


class _PostgresqlConnection(Protocol):
    def cursor(self) -> AbstractContextManager[_PostgresqlCursor]: ...

    def transaction(self) -> AbstractContextManager[object]: ...

    def execute(
        self, query: str, params: Sequence[object] = ..., *, prepare: bool = ...
    ) -> _PostgresqlCursor: ...


_POSTGRESQL_SCHEMA: Final = (
    """
    CREATE TABLE accounts (
        id bigint PRIMARY KEY,
        debits_posted bigint NOT NULL,
        credits_posted bigint NOT NULL,
        ledger integer NOT NULL,
        code integer NOT NULL
    ) WITH (fillfactor = 40)
    """,
    """
    CREATE TABLE transfers (
        id uuid PRIMARY KEY,
        debit_account_id bigint NOT NULL,
        credit_account_id bigint NOT NULL,
        amount bigint NOT NULL,
        ledger integer NOT NULL,
        code integer NOT NULL
    )
    """,
    f"INSERT INTO accounts SELECT id, 0, 0, {LEDGER}, 1 FROM generate_series(1, {ACCOUNTS}) AS id",  # noqa: S608
    "VACUUM ANALYZE accounts",
    """
    CREATE TEMPORARY TABLE batch (
        id uuid, debit_account_id bigint, credit_account_id bigint, amount bigint
    ) ON COMMIT DELETE ROWS
    """,
)
_POSTGRESQL_INSERT: Final = f"""
    INSERT INTO transfers
    SELECT id, debit_account_id, credit_account_id, amount, {LEDGER}, 1 FROM batch
"""  # noqa: S608
_POSTGRESQL_UPDATE: Final = """
    UPDATE accounts
    SET debits_posted = debits_posted + debits, credits_posted = credits_posted + credits
    FROM (
        SELECT account_id, sum(debit)::bigint AS debits, sum(credit)::bigint AS credits
        FROM (
            SELECT debit_account_id AS account_id, amount AS debit, 0 AS credit FROM batch
            UNION ALL
            SELECT credit_account_id, 0, amount FROM batch
        ) AS sides
        GROUP BY account_id
    ) AS changes
    WHERE accounts.id = account_id
"""
_POSTGRESQL_ONE: Final = f"""
    WITH posted AS (
        INSERT INTO transfers VALUES (%b, %b, %b, %b, {LEDGER}, 1)
        RETURNING debit_account_id, credit_account_id, amount
    )
    UPDATE accounts
    SET
        debits_posted = debits_posted
            + CASE WHEN accounts.id = debit_account_id THEN amount ELSE 0 END,
        credits_posted = credits_posted
            + CASE WHEN accounts.id = credit_account_id THEN amount ELSE 0 END
    FROM posted
    WHERE accounts.id IN (debit_account_id, credit_account_id)
"""  # noqa: S608


def _account_numbers() -> range:
    return range(1, ACCOUNTS + 1)


def _shares(numbers: range) -> Iterator[range]:
    return (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH))


def _postgresql_programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: that of the PATH, or else the newest of Debian."""
    found = shutil.which("initdb")
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    newest = sorted(debian, key=lambda path: int(path.parent.name), reverse=True)
    for folder in [*([Path(found).parent] if found else []), *newest]:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    return None


def _postgresql_missing() -> str | None:
    if _postgresql_programs() is None:
        return "no server: initdb and postgres are neither on PATH nor in /usr/lib/postgresql"
    if os.geteuid() == 0:
        return "the server does not run as root"
    return not_importable("psycopg")


PEERS: Final = (
    Peer(
        "SQLite",
        batches="one transaction of executemany each, WAL, synchronous = FULL",
        singles="one transaction each, WAL, synchronous = FULL",
        open=_sqlite,
        missing=lambda: None,
    ),
    Peer(
        "eventsourcing",
        batches="one insert_events of its SQLite recorder each, WAL, synchronous = FULL;"
        " no aggregates, balances in memory",
        singles="one insert_events each, as before",
        open=_eventsourcing,
        missing=lambda: not_importable("eventsourcing"),
    ),
    Peer(
        "tigerbeetle package",
        batches="Transfer objects to a cluster of one on this machine, direct I/O",
        singles="one Transfer object each, as before",
        open=_tigerbeetle,
        missing=tigerbeetle_missing,
    ),
    Peer(
        "PostgreSQL",
        batches="one transaction of COPY, INSERT and UPDATE each, synchronous_commit = on",
        singles="one prepared statement each, synchronous_commit = on",
        open=_postgresql,
        missing=_postgresql_missing,
    ),
)
