"""How each peer keeps accounts and transfers; :mod:`tests.bench.peers` measures them."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import attrs

from nostro.journal import Transfer
from nostro.tools.bench.measure import BATCH
from nostro.tools.bench.payments import LEDGER
from tests.differential.tigerbeetle_server import find_binary, running

ACCOUNTS: Final = 10_000
_NUMBERS: Final = range(1, ACCOUNTS + 1)
_START_SECONDS: Final = 60.0


class PeerFailed(RuntimeError):
    """A peer that did not start, or did not do its work."""


@attrs.frozen
class Totals:
    """The contents of a store: count and amounts of its transfers, sums of both balances."""

    transfers: int
    amounts: int
    debits: int
    credits: int


@attrs.frozen
class Store:
    """Accounts 1 to ``ACCOUNTS`` of a peer, and the transfers between them."""

    request: Callable[[list[Transfer]], Callable[[], object]]
    """Returns the call that posts these transfers in one durable commit."""
    totals: Callable[[], Totals]
    """Reads them back from the store."""


OpenStore = Callable[[Path], AbstractContextManager[Store]]
_Row = tuple[Any, int, int, int]
"""Id in the peer's form, debit account, credit account, amount."""


@contextmanager
def sqlite(folder: Path) -> Iterator[Store]:
    """One writer, as in nostro: exclusive locking, a log of 16 MB that is reused, not grown."""
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as connection:
        run, run_many = connection.execute, connection.executemany
        schema = _SCHEMA.format(id="BLOB", n="INTEGER") + " WITHOUT ROWID;"
        connection.executescript(_SQLITE_SETTINGS + schema + _SQLITE_FILL_LOG)
        run("BEGIN")
        run_many(f"INSERT INTO accounts VALUES (?, 0, 0, {LEDGER}, 1)", zip(_NUMBERS))  # noqa: S608
        run("COMMIT")

        def post(rows: list[_Row], debits: list[_Side], credits: list[_Side]) -> None:
            run("BEGIN IMMEDIATE")
            run_many(f"INSERT INTO transfers VALUES (?, ?, ?, ?, {LEDGER}, 1)", rows)  # noqa: S608
            for side, changes in (("debits", debits), ("credits", credits)):
                done = run_many(
                    f"UPDATE accounts SET {side}_posted = {side}_posted + ? WHERE id = ?",  # noqa: S608
                    changes,
                )
                if done.rowcount != len(rows):
                    raise PeerFailed("SQLite: a transfer names an account that does not exist")
            run("COMMIT")

        def request(transfers: list[Transfer]) -> Callable[[], object]:
            rows = _rows(transfers, lambda id_: id_.to_bytes(16))
            debits = [(amount, debit) for _, debit, _, amount in rows]
            credits = [(amount, credit) for _, _, credit, amount in rows]
            return partial(post, rows, debits, credits)

        yield Store(request, partial(_sql_totals, run))


@contextmanager
def eventsourcing(folder: Path) -> Iterator[Store]:
    """Each transfer is the first event of a stream that has its id; balances are in memory."""
    event = importlib.import_module("eventsourcing.persistence").StoredEvent
    package = importlib.import_module("eventsourcing.sqlite")
    state = struct.Struct("<QQQIH")  # debit and credit account, amount, ledger, code
    pack = state.pack
    debits, credits = [0] * (ACCOUNTS + 1), [0] * (ACCOUNTS + 1)
    with closing(package.SQLiteFactory({"SQLITE_DBNAME": str(folder / "events")})) as factory:
        recorder = factory.application_recorder()

        def post(rows: list[_Row]) -> None:
            recorder.insert_events(
                [
                    event(id_, 1, "ledger:Transferred", pack(debit, credit, amount, LEDGER, 1))
                    for id_, debit, credit, amount in rows
                ]
            )
            for _, debit, credit, amount in rows:
                debits[debit] += amount
                credits[credit] += amount

        def totals() -> Totals:
            transfers = amounts = start = 0
            while recorded := recorder.select_notifications(start, BATCH):
                transfers += len(recorded)
                amounts += sum(state.unpack(one.state)[2] for one in recorded)
                start = recorded[-1].id + 1
            return Totals(transfers, amounts, sum(debits), sum(credits))

        yield Store(lambda transfers: partial(post, _uuid_rows(transfers)), totals)


@contextmanager
def tigerbeetle(folder: Path) -> Iterator[Store]:
    """A cluster of one on this machine: rules, statuses and timestamps are the server's."""
    package = importlib.import_module("tigerbeetle")
    shares = [_NUMBERS[start : start + BATCH] for start in range(0, ACCOUNTS, BATCH)]
    with (
        replica(folder) as address,
        package.ClientSync(0, address) as client,
    ):
        for numbers in shares:
            client.create_accounts(
                [package.Account(id=number, ledger=LEDGER, code=1) for number in numbers]
            )

        def request(transfers: list[Transfer]) -> Callable[[], object]:
            names = ("id", "debit_account_id", "credit_account_id", "amount", "ledger", "code")
            theirs = [
                package.Transfer(**{name: getattr(one, name) for name in names})
                for one in transfers
            ]
            return partial(client.create_transfers, theirs)

        def totals() -> Totals:
            accounts = [one for share in shares for one in client.lookup_accounts(list(share))]
            amounts: list[int] = []
            everything = package.QueryFilter(
                user_data_128=0, user_data_64=0, user_data_32=0, ledger=LEDGER, code=0,
                timestamp_min=0, timestamp_max=0, limit=BATCH, flags=package.QueryFilterFlags.NONE,
            )  # fmt: skip
            while found := client.query_transfers(everything):
                amounts += (one.amount for one in found)
                everything.timestamp_min = found[-1].timestamp + 1
            debits = sum(account.debits_posted for account in accounts)
            credits = sum(account.credits_posted for account in accounts)
            return Totals(len(amounts), sum(amounts), debits, credits)

        yield Store(request, totals)


@contextmanager
def postgresql(folder: Path) -> Iterator[Store]:
    """A batch is copied to a staging table, then inserted and added up from there.

    One transfer is one statement that inserts it and updates both accounts.
    """
    with _postgresql_connection(folder) as connection:
        for statement in (*_SCHEMA.format(id="uuid", n="bigint").split(";"), *_POSTGRESQL_SETUP):
            connection.execute(statement)

        def post(rows: list[_Row]) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy("COPY batch FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["uuid", "int8", "int8", "int8"])
                    for row in rows:
                        copy.write_row(row)
                cursor.execute(f"INSERT INTO transfers SELECT *, {LEDGER}, 1 FROM batch")  # noqa: S608
                cursor.execute(_POSTGRESQL_UPDATE)

        def post_one(row: _Row) -> None:
            if connection.execute(_POSTGRESQL_ONE, row, prepare=True).rowcount != 2:
                raise PeerFailed("PostgreSQL: a transfer names an account that does not exist")

        def request(transfers: list[Transfer]) -> Callable[[], object]:
            rows = _uuid_rows(transfers)
            return partial(post_one, rows[0]) if len(rows) == 1 else partial(post, rows)

        yield Store(request, partial(_sql_totals, connection.execute))


def replica(folder: Path) -> AbstractContextManager[str]:
    """Start a cluster of one, id 0, with full batches; the context is its address."""
    binary = find_binary()
    assert binary is not None, "the caller has asked whether it is available"
    return running(binary, folder, development=False)


def not_importable(name: str) -> str | None:
    """Return why a package cannot be imported; None when it can."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return f"the package {name} cannot be imported ({error})"
    return None


def tigerbeetle_unavailable() -> str | None:
    """Return why there is no TigerBeetle to measure; None when there is."""
    if find_binary() is None:
        return "no server: tigerbeetle is not on PATH, and TIGERBEETLE_BINARY is not set"
    return not_importable("tigerbeetle")


def postgresql_unavailable() -> str | None:
    """Return why there is no PostgreSQL to measure; None when there is."""
    if _postgresql_programs() is None:
        return "no server: initdb and postgres are neither on PATH nor in /usr/lib/postgresql"
    if os.geteuid() == 0:
        return "the server does not run as root"
    return not_importable("psycopg")


_Side = tuple[int, int]
_SCHEMA: Final = """
    CREATE TABLE accounts (
        id {n} PRIMARY KEY, debits_posted {n} NOT NULL, credits_posted {n} NOT NULL,
        ledger INTEGER NOT NULL, code INTEGER NOT NULL
    );
    CREATE TABLE transfers (
        id {id} PRIMARY KEY, debit_account_id {n} NOT NULL, credit_account_id {n} NOT NULL,
        amount {n} NOT NULL, ledger INTEGER NOT NULL, code INTEGER NOT NULL
    )"""
_SQLITE_SETTINGS: Final = """
    PRAGMA page_size = 4096;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -262144; -- KiB
    PRAGMA wal_autocheckpoint = 4000; -- pages
    PRAGMA secure_delete = OFF;"""
_SQLITE_FILL_LOG: Final = """
    CREATE TABLE filling AS SELECT zeroblob(4096 * 4000);
    DROP TABLE filling;
    PRAGMA wal_checkpoint(RESTART);"""
_POSTGRESQL_SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
_POSTGRESQL_SETUP: Final = (
    "ALTER TABLE accounts SET (fillfactor = 40)",
    f"INSERT INTO accounts SELECT id, 0, 0, {LEDGER}, 1 FROM generate_series(1, {ACCOUNTS}) AS id",  # noqa: S608
    "VACUUM ANALYZE accounts",
    """
    CREATE TEMPORARY TABLE batch (
        id uuid, debit_account_id bigint, credit_account_id bigint, amount bigint
    ) ON COMMIT DELETE ROWS
    """,
)
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


def _rows(transfers: list[Transfer], id_form: Callable[[int], object]) -> list[_Row]:
    return [
        (id_form(one.id), one.debit_account_id, one.credit_account_id, one.amount)
        for one in transfers
    ]


def _uuid_rows(transfers: list[Transfer]) -> list[_Row]:
    return _rows(transfers, lambda id_: UUID(int=id_))


def _sql_totals(execute: Callable[[str], Any]) -> Totals:
    stored = execute("SELECT count(*), sum(amount) FROM transfers").fetchone()
    balances = execute("SELECT sum(debits_posted), sum(credits_posted) FROM accounts").fetchone()
    return Totals(*map(int, (*stored, *balances)))


@contextmanager
def _postgresql_connection(folder: Path) -> Iterator[Any]:
    """Start a server in the folder, and stop that very process at the end."""
    programs = _postgresql_programs()
    assert programs is not None, "the caller has asked whether it is available"
    data, log = folder / "data", folder / "log"
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "ledger", "-A", "trust"]
    subprocess.run([*initdb, "-E", "UTF8"], check=True, capture_output=True)
    settings = {**_POSTGRESQL_SETTINGS, "unix_socket_directories": folder}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=output, stderr=output
        )
    connect = partial(
        importlib.import_module("psycopg").connect,
        host=str(folder), user="ledger", dbname="postgres", autocommit=True,
    )  # fmt: skip
    try:
        with _first_answer(connect, server, log) as connection:
            yield connection
    finally:
        server.terminate()
        server.wait()


def _first_answer(connect: Callable[[], Any], server: subprocess.Popen[bytes], log: Path) -> Any:  # noqa: ANN401
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return connect()
        except importlib.import_module("psycopg").OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise PeerFailed(f"PostgreSQL does not answer: {log.read_text()}") from None
            time.sleep(0.02)


def _postgresql_programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: that of the PATH, or else the newest of Debian."""
    found = shutil.which("initdb")
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    newest = sorted(debian, key=lambda path: int(path.parent.name), reverse=True)
    for folder in [*([Path(found).parent] if found else []), *newest]:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    return None
