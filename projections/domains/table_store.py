"""A domain's tables at every moment, in a file of SQLite.

The file is derived: it may be deleted at any time. It holds what the domain's ``fold`` made of the
journal up to a position, and that position, both written in one transaction. One that is missing,
damaged, of another ledger or of another version of the domain is replaced by an empty one.

SQLite opens its files itself, so they do not go through :mod:`nostro.journal.storage.files`. Only
the writer's lock on the ledger admits a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import operator
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import attrs
import cbor2

from nostro.journal.errors import (
    DecodeError,
    InvalidField,
    LedgerClosed,
    OutOfRange,
    TablesDamaged,
    TablesUnavailable,
)
from nostro.journal.storage.files import Storage, reading
from nostro.projections.domains.model import Domain, Key, Page, Table
from nostro.projections.domains.sort_keys import sort_key, sort_keys
from nostro.projections.domains.table_finding import (
    Query,
    Row,
    checked_query,
    field_columns,
    find_past_rows,
    find_rows,
    own_columns,
    schema,
)
from nostro.projections.domains.table_seal import (
    Seal,
    file_sum,
    is_whole,
    read_seal,
    renewed_sums,
    seal_path,
    touched_chunks,
    wal_path,
    write_seal,
)
from nostro.projections.domains.table_zones import ZONE_ENTRIES, Zones
from nostro.projections.domains.values import decode, encode

WRITER_CACHE_BYTES: Final = 64 << 20
READER_CACHE_BYTES: Final = 8 << 20
PAGE_BYTES: Final = 8192
"""Batches are written a third faster than with SQLite's 4096."""
WAL_BYTES_MAX: Final = 64 << 20
ZONES_FROM: Final = 20_000
_GROWTH: Final = 1.25
"""An index gets new zones once the tables have reached 1.25 times the position of the old ones."""
_FORMAT: Final = 1
_STATEMENTS: Final = 256
"""So many prepared statements are kept."""
_MACHINE_CODES: Final = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
}  # fmt: skip
"""What SQLite reports if the machine fails. Anything else is damage."""


@attrs.frozen
class Change:
    """A new version of an entity; None removes it."""

    table: str
    key: Key
    entity: Any
    position: int
    """Of the event that changed it."""
    data: bytes | None = attrs.field(default=None, eq=False, repr=False)
    """The entity, encoded, if that was done already."""


@attrs.frozen
class Version:
    """An entity as it was from a position until before another."""

    position_from: int
    position_to: int | None
    """None: it is so now."""
    entity: Any


class TableStore:
    """The tables of one domain. One thread writes; any thread reads.

    Every method raises LedgerClosed after :meth:`close`, and TablesDamaged if SQLite finds the file
    damaged. Then close the store, and open it with ``discard=True``.
    """

    def __init__(
        self,
        path: Path,
        domain: Domain,
        ledger_id: bytes,
        *,
        storage: Storage,
        discard: bool,
        wal_bytes_max: int,
        zones_from: int,
        zone_entries: int,
    ) -> None:
        self.path = path
        self._zones_from = zones_from
        self._zone_entries = zone_entries
        self._zones: dict[tuple[int, int | None], Zones] = {}
        self._zones_lock = threading.Lock()
        self._wal_bytes_max = wal_bytes_max
        self._storage = storage
        self._numbers = {table.name: number for number, table in enumerate(domain.tables)}
        self._tables = {table.name: table for table in domain.tables}
        self._identity = _identity(domain, ledger_id)
        self._pool: list[sqlite3.Connection] = []
        self._pool_lock = threading.Lock()
        self._is_closed = False
        self._sums = b""
        self._touched: set[int] = set()
        """The chunks that were written since ``_sums``."""
        self._is_moved = False
        """Whether nothing is written ahead."""
        self.position = 0
        """Of the last event whose changes are in the tables."""
        self.frame_sha256 = bytes(32)
        """Of the frame that ends there."""
        self.was_made = discard or not self._open_existing()
        """Whether there was no file that could be used."""
        if self.was_made:
            self._make()

    @classmethod
    def open(
        cls,
        path: Path,
        domain: Domain,
        ledger_id: bytes,
        *,
        storage: Storage | None = None,
        discard: bool = False,
        wal_bytes_max: int = WAL_BYTES_MAX,
        zones_from: int = ZONES_FROM,
        zone_entries: int = ZONE_ENTRIES,
    ) -> TableStore:
        """The tables in the file ``path``, or empty ones at position 0.

        Args:
            discard: replace what is there.
            wal_bytes_max: when more was written ahead, it is moved into the database.
            zones_from: from this position on, past moments are found with ``table_zones.py``.

        Raises:
            TablesUnavailable: the file cannot be made.
        """
        return cls(
            path,
            domain,
            ledger_id,
            storage=storage or Storage(),
            discard=discard,
            wal_bytes_max=wal_bytes_max,
            zones_from=zones_from,
            zone_entries=zone_entries,
        )

    # opening

    def _open_existing(self) -> bool:
        seal = read_seal(self._storage, self.path)
        if seal is None or seal.identity != self._identity:
            return False
        if not is_whole(self._storage, self.path, seal):
            return False
        self._sums = seal.sums
        try:
            self._writer = self._connect(WRITER_CACHE_BYTES)
        except sqlite3.Error:
            return False
        try:
            self.position, self.frame_sha256, identity = self._writer.execute(
                "SELECT position, frame_sha256, identity FROM progress"
            ).fetchone()
            if identity == self._identity:
                return True
        except (sqlite3.Error, TypeError):
            pass
        self._writer.close()
        self.position, self.frame_sha256 = 0, bytes(32)
        return False

    def _make(self) -> None:
        """An empty file in place of what is there."""
        with self._writing():
            if not self._storage.exists(self.path.parent):
                self._storage.make_directory(self.path.parent)
            for path in (
                seal_path(self.path),
                self.path,
                wal_path(self.path),
                self.path.with_name(self.path.name + "-shm"),
            ):
                if self._storage.exists(path):
                    self._storage.unlink(path)
            self._storage.close(self._storage.create_new(self.path))
            self._writer = self._connect(WRITER_CACHE_BYTES)
            try:
                self._writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute("BEGIN IMMEDIATE")
                self._writer.execute(
                    "CREATE TABLE progress (position INTEGER, frame_sha256 BLOB, identity BLOB)"
                )
                self._writer.execute(
                    "INSERT INTO progress VALUES (0, ?, ?)", (bytes(32), self._identity)
                )
                for name, number in self._numbers.items():
                    for statement in schema(number, self._tables[name]):
                        self._writer.execute(statement)
                self._writer.execute("COMMIT")
                self._move(everything=True)
            except BaseException:
                self._writer.close()
                raise

    def _connect(self, cache_bytes: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )
        for pragma in (
            f"cache_size = {-cache_bytes // 1024}",
            "synchronous = NORMAL",
            "wal_autocheckpoint = 0",
            "cell_size_check = ON",
            "journal_size_limit = 0",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    # reading

    def get(self, table: str, key: Key, *, position: int | None = None) -> Any:
        """The entity with that key, now or after the event at ``position``; None if there is none.

        Raises:
            InvalidField: a table or key of a kind that there is not.
            OutOfRange: a position that the tables have not reached.
        """
        found = self._table(table)
        sorted_key = encoded_key(found, key)
        self._check_position(position)
        number = self._numbers[table]
        live = f"SELECT data, position_from FROM live_{number} WHERE key = ?"  # noqa: S608 - a number
        with self._reading() as connection:
            row = connection.execute(live, (sorted_key,)).fetchone()
            if position is not None and (row is None or row[1] > position):
                # A version that was live before is in the past by now, and nothing leaves it.
                row = connection.execute(
                    f"SELECT data, position_to FROM past_{number}"  # noqa: S608 - a number
                    " WHERE key = ? AND position_from <= ? ORDER BY position_from DESC LIMIT 1",
                    (sorted_key, position),
                ).fetchone()
                row = row if row is not None and row[1] > position else None
        return None if row is None else self._decode(found, row[0])

    def find(
        self,
        table: str,
        *,
        where: Mapping[str, object] | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = 50,
        after: str | None = None,
        position: int | None = None,
    ) -> Page[Any]:
        """The entities whose fields equal ``where``, in order, then by key.

        Args:
            order: a field that begins an index, or follows fields of ``where`` in one; by key
                without it.
            after: the cursor of the page before. It stays valid while entities change.

        Raises:
            InvalidField: an argument that no index can answer.
            OutOfRange: a position that the tables have not reached.
        """
        found = self._table(table)
        query = checked_query(found, where, order, descending, limit, after)
        rows = self.find_rows(query, position=position)
        entities = [self._decode(found, data) for _, _, data in rows[:limit]]
        cursor = query.cursor(*rows[limit - 1][:2]) if len(rows) > limit else None
        return Page(tuple(entities), cursor)

    def find_rows(self, query: Query, *, position: int | None = None) -> list[Row]:
        """The stored rows that match a query: its limit and one more, if there are so many."""
        self._check_position(position)
        number = self._numbers[query.table.name]
        with self._reading() as connection:
            if position is None:
                return find_rows(connection, number, query)
            with _one_moment(connection):
                return find_past_rows(
                    connection, number, query, position,
                    partial(self._zones_of, connection, number, position),
                )  # fmt: skip

    def _zones_of(
        self,
        connection: sqlite3.Connection,
        number: int,
        position: int,
        index: int | None,
        statement: str,
    ) -> Zones | None:
        """The zones of an index; None if it goes without them."""
        with self._zones_lock:
            zones = self._zones.get((number, index))
            if zones is not None and position <= zones.position:
                return zones
            known = self._zones_from if zones is None else zones.position * _GROWTH
            if self.position < known:
                return None
            [made_at] = connection.execute("SELECT position FROM progress").fetchone()
            zones = Zones(connection, statement, made_at, zone_entries=self._zone_entries)
            self._zones[number, index] = zones
            return zones if position <= made_at else None

    def history(self, table: str, key: Key) -> tuple[Version, ...]:
        """The versions of an entity, oldest first; between two it may have been removed."""
        found = self._table(table)
        number, sorted_key = self._numbers[table], encoded_key(found, key)
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT position_from, position_to, data FROM past_{number} WHERE key = ?1"  # noqa: S608 - a number
                f" UNION ALL SELECT position_from, NULL, data FROM live_{number} WHERE key = ?1"
                " ORDER BY position_from",
                (sorted_key,),
            ).fetchall()
        return tuple([Version(since, to, self._decode(found, data)) for since, to, data in rows])

    def digest(self) -> bytes:
        """A SHA-256 of every version of every entity: equal wherever the same was folded."""
        digest = hashlib.sha256(cbor2.dumps(_FORMAT))
        with self._reading() as connection, _one_moment(connection):
            for name in sorted(self._numbers):
                number = self._numbers[name]
                digest.update(cbor2.dumps(name))
                for row in connection.execute(
                    f"SELECT key, position_from, position_to, data FROM past_{number}"  # noqa: S608 - a number
                    f" UNION ALL SELECT key, position_from, NULL, data FROM live_{number}"
                    " ORDER BY key, position_from"
                ):
                    digest.update(cbor2.dumps(row))
        return digest.digest()

    # writing

    def write(self, changes: Sequence[Change], *, position: int, frame_sha256: bytes) -> None:
        """Put changes into the tables, with the position of the last event folded: all or nothing.

        Of several versions of an entity at one position the last one counts.

        Args:
            changes: in the order of their positions, all above :attr:`position`.

        Raises:
            TablesUnavailable: the disk is full or failed. Nothing changed; try again.
            InvalidField: an entity that cannot be stored. Nothing changed.
        """
        batches = self._batches(changes)
        with self._writing():
            self._writer.execute("BEGIN IMMEDIATE")
            self._is_moved = False
            try:
                for number, batch in batches:
                    batch.write(self._writer, number)
                self._writer.execute(
                    "UPDATE progress SET position = ?, frame_sha256 = ?", (position, frame_sha256)
                )
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._writer.execute("ROLLBACK")
                raise
        self.position, self.frame_sha256 = position, frame_sha256
        with contextlib.suppress(TablesUnavailable):  # then it is moved later
            self._move()

    def _batches(self, changes: Sequence[Change]) -> list[tuple[int, _Batch]]:
        if self._is_closed:
            raise LedgerClosed(path=self.path)
        versions: dict[str, dict[bytes, dict[int, Change]]] = {}
        last = self.position
        for change in changes:
            assert last <= change.position != self.position, "changes come in order, each once"
            last = change.position
            table = self._table(change.table)
            of_key = versions.setdefault(change.table, {})
            of_key.setdefault(encoded_key(table, change.key), {})[change.position] = change
        return [
            (self._numbers[name], _Batch(self._tables[name], of_key))
            for name, of_key in versions.items()
        ]

    def _move(self, *, everything: bool = False) -> None:
        """Move what was written ahead into the database, and renew its seal."""
        wal = wal_path(self.path)
        if self._is_moved:
            return
        with self._writing():
            with reading(self._storage, wal) as fd:
                size = self._storage.size(fd)
            if size <= (0 if everything else self._wal_bytes_max):
                return
            self._touched |= touched_chunks(self._storage, self.path)
            total = file_sum(self._storage, wal, size)
            write_seal(self._storage, self.path, Seal(self._identity, self._sums, size, total))
            busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            if busy:
                return  # a reader is at an older moment: later
            self._is_moved = True
            self._sums = renewed_sums(self._storage, self.path, self._sums, self._touched)
            self._touched.clear()
            write_seal(self._storage, self.path, Seal(self._identity, self._sums))

    def close(self) -> None:
        """May be repeated. Nothing is written that was not."""
        with self._pool_lock:
            if self._is_closed:
                return
            self._is_closed = True
            idle, self._pool = self._pool, []
        for connection in idle:
            connection.close()
        try:
            with contextlib.suppress(TablesUnavailable, TablesDamaged):
                self._move(everything=True)
        finally:
            self._writer.close()

    # inside

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            raise InvalidField("table", name, f"is none of {', '.join(self._tables) or 'none'}")
        return table

    def _check_position(self, position: int | None) -> None:
        if position is not None and (
            type(position) is not int or not 0 <= position <= self.position
        ):
            raise OutOfRange("position", position, self.position)

    def _decode(self, table: Table, data: bytes) -> Any:
        try:
            return decode(table.cls, data)
        except DecodeError as bad:
            raise TablesDamaged(self.path, str(bad)) from None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for as long as this thread reads."""
        with self._pool_lock:
            if self._is_closed:
                raise LedgerClosed(path=self.path)
            connection = self._pool.pop() if self._pool else None
        try:
            if connection is None:
                connection = self._connect(READER_CACHE_BYTES)
            yield connection
        except sqlite3.Error as error:
            raise self._failure(error) from error
        finally:
            if connection is not None:
                with self._pool_lock:
                    is_kept = not self._is_closed
                    if is_kept:
                        self._pool.append(connection)
                if not is_kept:
                    connection.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TablesUnavailable(self.path, str(error)) from error
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> TablesUnavailable | TablesDamaged:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _MACHINE_CODES:
            return TablesUnavailable(self.path, str(error))
        return TablesDamaged(self.path, str(error))


@contextlib.contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """What is read meanwhile is of one transaction."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def encoded_key(table: Table, key: Key) -> bytes:
    """A key as it is stored.

    Raises:
        InvalidField: it is not a key of this table.
    """
    if isinstance(table.key, str):
        return sort_key(key)
    if type(key) is not tuple or len(key) != len(table.key):
        raise InvalidField("key", key, f"must be a tuple of {', '.join(table.key)}")
    return sort_keys(key)


def _identity(domain: Domain, ledger_id: bytes) -> bytes:
    """What must be equal for a file to be used."""
    tables = [
        [
            table.name,
            [*table.key_fields],
            [[*one] for one in table.index_fields],
            [[field.name, str(field.type)] for field in attrs.fields(table.cls)],
        ]
        for table in domain.tables
    ]
    described = cbor2.dumps([_FORMAT, ledger_id, domain.name, domain.version, tables])
    return hashlib.sha256(described).digest()


class _Batch:
    """The changes of one table, sorted by key, as the rows of statements."""

    def __init__(self, table: Table, versions: Mapping[bytes, Mapping[int, Change]]) -> None:
        columns = field_columns(table)
        self._fields = own_columns(table)
        self._own = "".join(f", {columns[name]}" for name in self._fields)
        self._closed: list[tuple[int, bytes]] = []
        self._past: list[tuple[Any, ...]] = []
        self._live: list[tuple[Any, ...]] = []
        self._removed: list[tuple[bytes]] = []
        for key in sorted(versions):
            of_key = [*versions[key].items()]
            self._closed.append((of_key[0][0], key))
            for (since, change), (until, _) in pairwise(of_key):
                if change.entity is not None:
                    self._past.append(self._row(key, since, until, change))
            since, change = of_key[-1]
            if change.entity is None:
                self._removed.append((key,))
            else:
                self._live.append(self._row(key, since, None, change))

    def _row(self, key: bytes, since: int, until: int | None, change: Change) -> tuple[Any, ...]:
        entity = change.entity
        own = [sort_key(getattr(entity, name)) for name in self._fields]
        data = encode(entity) if change.data is None else change.data
        return (key, since, *own, data) if until is None else (key, since, until, *own, data)

    def write(self, connection: sqlite3.Connection, number: int) -> None:
        own, marks = self._own, ", ?" * len(self._fields)
        many = connection.executemany
        [newest] = connection.execute(f"SELECT max(key) FROM live_{number}").fetchone()  # noqa: S608 - a number
        # Keys above all others, as those that rise with time, replace nothing.
        closed = bisect_right(self._closed, newest or b"", key=operator.itemgetter(1))
        added = bisect_right(self._live, newest or b"", key=operator.itemgetter(0))
        many(
            f"INSERT INTO past_{number} SELECT key, position_from, ?{own}, data FROM live_{number}"  # noqa: S608 - numbers
            " WHERE key = ?",
            self._closed[:closed],
        )
        many(f"INSERT INTO past_{number} VALUES (?, ?, ?{marks}, ?)", self._past)  # noqa: S608 - numbers
        many(f"REPLACE INTO live_{number} VALUES (?, ?{marks}, ?)", self._live[:added])  # noqa: S608 - numbers
        many(f"INSERT INTO live_{number} VALUES (?, ?{marks}, ?)", self._live[added:])  # noqa: S608 - numbers
        many(f"DELETE FROM live_{number} WHERE key = ?", self._removed)  # noqa: S608 - numbers
