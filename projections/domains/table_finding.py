"""How a table is kept in SQLite, and how entities are found in it by index.

Each table of a domain is two tables of SQLite: ``live_N`` holds the newest version of each entity,
``past_N`` every version that was replaced or removed. So what is true now is found as fast after a
million changes as before them. A version holds from ``position_from`` until before
``position_to``. ``key`` and the columns ``f_…`` are of :mod:`sort_keys`; every index ends with the
key and the positions, so what an index finds it need not look up in the table.
"""

from __future__ import annotations

import base64
import operator
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import cbor2

from nostro.journal.errors import InvalidField
from nostro.projections.domains.model import Table
from nostro.projections.domains.sort_keys import sort_key, sort_keys
from nostro.projections.domains.table_zones import NEVER, IndexPlace, Zones

LIMIT_MAX: Final = 1_000
_FEW: Final = 2_000
"""So many entities are sorted rather than searched for in order."""

_PLACE: Final = operator.itemgetter(0, 1)

Row = tuple[bytes, bytes, Any]
"""The sort key of the order, the key, and the entity or its encoding."""


@attrs.frozen
class Query:
    """A query of a table, with checked arguments."""

    table: Table
    where: dict[str, bytes]
    order: str | None
    """None: by key."""
    descending: bool
    limit: int
    after: tuple[bytes, bytes] | None
    """The sort key of the order and the key of the last entity of the page before."""

    def cursor(self, order: bytes, key: bytes) -> str:
        """What continues behind that entity."""
        data = cbor2.dumps([self._sum(), order, key])
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def _sum(self) -> int:
        named = sorted(self.where.items())
        return zlib.crc32(cbor2.dumps([self.table.name, named, self.order, self.descending]))

    def matches(self, entity: object) -> bool:
        """Whether an entity is among what is asked for."""
        return all(sort_key(getattr(entity, name)) == value for name, value in self.where.items())

    def place(self, entity: object) -> tuple[bytes, bytes]:
        """Where an entity stands in the order."""
        key = sort_keys(getattr(entity, name) for name in self.table.key_fields)
        if self.order is None:
            return key, key
        return sort_key(getattr(entity, self.order)), key

    def behind(self, place: tuple[bytes, bytes]) -> Query:
        """The same query, from behind that place on."""
        return attrs.evolve(self, after=place)

    def prefix(self, fields: tuple[str, ...]) -> list[bytes]:
        """The sort keys of the first of these fields, as far as they are given."""
        values = [self.where.get(name) for name in fields]
        end = values.index(None) if None in values else len(values)
        return [value for value in values[:end] if value is not None]

    def is_ordered_by(self, fields: tuple[str, ...], lead: int) -> bool:
        """Whether an index of these fields has the answers in order, the first ``lead`` given."""
        if self.order is None or self.order in self.where or (self.order,) == self.table.key_fields:
            return fields[lead:] in {(), self.table.key_fields}
        return fields[lead:] == (self.order,)

    def is_after(self, place: tuple[bytes, bytes]) -> bool:
        """Whether a place comes after the page before."""
        if self.after is None:
            return True
        return place < self.after if self.descending else place > self.after


def checked_query(
    table: Table,
    where: Mapping[str, object] | None,
    order: str | None,
    descending: bool,
    limit: int,
    after: str | None,
) -> Query:
    """The query with these arguments.

    Raises:
        InvalidField: a field that no index has, a value that no index holds, or a cursor of
            another query.
    """
    columns = {*field_columns(table)}
    for name in where or ():
        if name not in columns:
            raise InvalidField("where", name, f"is in no index of table {table.name!r}")
    given = {*(where or ())}
    if order is not None and not any(
        order in fields and {*fields[: fields.index(order)]} <= given
        for _, fields in index_paths(table)
    ):
        raise InvalidField(
            "order",
            order,
            f"does not begin an index of table {table.name!r}, nor follow fields of where in one",
        )
    if type(limit) is not int or not 1 <= limit <= LIMIT_MAX:
        raise InvalidField("limit", limit, f"must be 1 to {LIMIT_MAX:,}")
    values = {name: sort_key(value) for name, value in (where or {}).items()}
    query = Query(table, values, order, bool(descending), limit, None)
    return query if after is None else attrs.evolve(query, after=_read_cursor(query, after))


def _read_cursor(query: Query, cursor: str) -> tuple[bytes, bytes]:
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        _, order, key = cbor2.loads(data)
        if query.cursor(order, key) == cursor and type(order) is type(key) is bytes:
            return order, key
    except (ValueError, TypeError, cbor2.CBORError):
        pass
    raise InvalidField("after", cursor, "is not a cursor that this query has returned")


# --- the schema ---


def field_columns(table: Table) -> dict[str, str]:
    """The column of each field that can be filtered by."""
    names = dict.fromkeys(name for fields in table.index_fields for name in fields)
    columns = {name: f"f_{number}" for number, name in enumerate(names)}
    if len(table.key_fields) == 1:
        columns[table.key_fields[0]] = "key"
    return columns


def own_columns(table: Table) -> list[str]:
    """The fields that have a column of their own, in its order."""
    return [name for name, column in field_columns(table).items() if column != "key"]


def index_paths(table: Table) -> list[tuple[int | None, tuple[str, ...]]]:
    """Each index and the fields that it sorts by; None is the key's, if that is of one field."""
    key = [(None, table.key_fields)] if len(table.key_fields) == 1 else []
    return [*key, *enumerate(table.index_fields)]


def schema(number: int, table: Table) -> Iterator[str]:
    """The statements that make a table's tables and indexes."""
    columns = field_columns(table)
    own = "".join(f", {columns[name]} BLOB NOT NULL" for name in own_columns(table))
    yield (
        f"CREATE TABLE live_{number} (key BLOB PRIMARY KEY, position_from INTEGER NOT NULL{own},"
        " data BLOB NOT NULL) WITHOUT ROWID"
    )
    yield (
        f"CREATE TABLE past_{number} (key BLOB NOT NULL, position_from INTEGER NOT NULL,"
        f" position_to INTEGER NOT NULL{own}, data BLOB NOT NULL)"
    )
    yield f"CREATE INDEX past_{number}_key ON past_{number} (key, position_from, position_to)"
    for index, fields in enumerate(table.index_fields):
        named = "".join(f"{columns[name]}, " for name in fields if columns[name] != "key")
        yield f"CREATE INDEX live_{number}_{index} ON live_{number} ({named}key, position_from)"
        yield (
            f"CREATE INDEX past_{number}_{index} ON past_{number}"
            f" ({named}key, position_from, position_to)"
        )


# --- finding ---


ZonesOf = Callable[[int | None, str], Zones | None]
"""The zones of an index of a table, given its number and the statement that reads it."""


def find_rows(connection: sqlite3.Connection, number: int, query: Query) -> list[Row]:
    """At most ``limit + 1`` rows of now, in order."""
    index = _best_index(connection, number, query, ("live",))
    return _select(connection, "live", number, query, index)


def find_past_rows(
    connection: sqlite3.Connection, number: int, query: Query, position: int, zones_of: ZonesOf
) -> list[Row]:
    """At most ``limit + 1`` rows of a past moment, in order."""
    index = _best_index(connection, number, query, ("live", "past"))
    columns, prefix, is_in_order = _columns(query, index)
    zones = zones_of(index, _entries(number, index, columns)) if is_in_order else None
    if zones is None:
        return _select_past(connection, number, query, index, position, "", ())
    place: tuple[bytes, ...] = prefix
    if query.after is not None:
        place += query.after[1:] if len(columns) - len(prefix) == 1 else query.after
    first, last = (prefix, place) if query.descending else (place, prefix)
    rows: list[Row] = []
    for low, high in zones.ranges(position, first, last, descending=query.descending):
        term, values = _between(columns, prefix, low, high)
        rows += _select_past(connection, number, query, index, position, term, values)
        if len(rows) > query.limit:
            break
    return rows[: query.limit + 1]


def _columns(query: Query, index: int | None) -> tuple[list[str], tuple[bytes, ...], bool]:
    """The columns of an index, the values of the first ones, and whether it gives the order."""
    fields = () if index is None else query.table.index_fields[index]
    columns = field_columns(query.table)
    named = [columns[name] for name in fields if columns[name] != "key"]
    prefix = query.prefix(tuple(name for name in fields if columns[name] != "key"))
    is_in_order = query.is_ordered_by(fields, len(query.prefix(fields)))
    return [*named, "key"], tuple(prefix), is_in_order


def _entries(number: int, index: int | None, columns: list[str]) -> str:
    """The statement that reads an index whole, in its order."""
    named = ", ".join(columns)
    return (
        f"SELECT {named}, position_from, {NEVER} FROM {_indexed('live', number, index)}"  # noqa: S608 - no word of it is a user's
        f" UNION ALL SELECT {named}, position_from, position_to FROM"
        f" {_indexed('past', number, index)} ORDER BY {named}"
    )


def _between(
    columns: list[str], prefix: tuple[bytes, ...], low: IndexPlace, high: IndexPlace
) -> tuple[str, tuple[bytes, ...]]:
    """The condition that an entry whose first columns equal ``prefix`` is in that range."""
    count = len(prefix)
    rest = ", ".join(columns[count:])
    marks = ", ".join("?" * (len(columns) - count))
    term = ""
    values: tuple[bytes, ...] = ()
    if low[:count] == prefix:
        term, values = f" AND ({rest}) >= ({marks})", low[count:]
    if high[:count] == prefix:
        term, values = f"{term} AND ({rest}) <= ({marks})", values + high[count:]
    return term, values


def _select_past(
    connection: sqlite3.Connection, number: int, query: Query, index: int | None, position: int,
    term: str, values: tuple[bytes, ...],
) -> list[Row]:  # fmt: skip
    since, until = f" AND position_from <= ?{term}", f" AND position_to > ?{term}"
    rows = _select(connection, "live", number, query, index, since, (position, *values))
    rows += _select(
        connection, "past", number, query, index, f" AND position_from <= ?{until}",
        (position, position, *values),
    )  # fmt: skip
    rows.sort(key=_PLACE, reverse=query.descending)
    return rows[: query.limit + 1]


def _best_index(
    connection: sqlite3.Connection, number: int, query: Query, kinds: tuple[str, ...]
) -> int | None:
    """The index to go through; None for the key's.

    It is the one that has what is asked for side by side and in order, if there is one. Otherwise
    it is one that leaves few entities to sort, or else one that has them in order.
    """
    best, best_lead = None, 0 if query.is_ordered_by((), 0) else -1
    filters: list[tuple[int | None, tuple[str, ...]]] = []
    for index, fields in index_paths(query.table):
        lead = len(query.prefix(fields))
        if query.is_ordered_by(fields, lead) and lead > best_lead:
            best, best_lead = index, lead
        if lead:
            filters.append((index, fields[:lead]))
    if best_lead == len(query.where):
        return best
    counts = [
        sum(_count(connection, kind, number, index, fields, query) for kind in kinds)
        for index, fields in filters
    ]
    if counts and (min(counts) <= _FEW or best_lead < 0):
        return filters[counts.index(min(counts))][0]
    return best


def _count(
    connection: sqlite3.Connection,
    kind: str,
    number: int,
    index: int | None,
    fields: tuple[str, ...],
    query: Query,
) -> int:
    columns = field_columns(query.table)
    terms = " AND ".join(f"{columns[name]} = ?" for name in fields)
    [count] = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {_indexed(kind, number, index)} WHERE {terms}"  # noqa: S608 - no word of it is a user's
        f" LIMIT {_FEW + 1})",
        [query.where[name] for name in fields],
    ).fetchone()
    return int(count)


def _indexed(kind: str, number: int, index: int | None) -> str:
    if index is not None:
        return f"{kind}_{number} INDEXED BY {kind}_{number}_{index}"
    return f"{kind}_{number}" + (f" INDEXED BY past_{number}_key" if kind == "past" else "")


def _select(
    connection: sqlite3.Connection,
    kind: str,
    number: int,
    query: Query,
    index: int | None,
    term: str = "",
    more: tuple[Any, ...] = (),
) -> list[Row]:
    columns = field_columns(query.table)
    order = "key" if query.order is None else columns[query.order]
    terms = [f"{columns[name]} = ?" for name in query.where]
    values: list[Any] = [*query.where.values()]
    comparison, direction = ("<", " DESC") if query.descending else (">", "")
    if query.after is not None and order == "key":
        terms.append(f"key {comparison} ?")
        values.append(query.after[1])
    elif query.after is not None:
        terms.append(f"({order}, key) {comparison} (?, ?)")
        values += query.after
    where = f" WHERE {' AND '.join(terms)}{term}" if terms else f" WHERE 1{term}"
    by = f"key{direction}" if order == "key" else f"{order}{direction}, key{direction}"
    identity = "rowid" if kind == "past" else "key"
    # The inner query reads the index alone; only what it chooses is looked up in the table.
    found = connection.execute(
        f"SELECT o, chosen.k, data FROM (SELECT {order} AS o, key AS k, {identity} AS i FROM"  # noqa: S608 - as above
        f" {_indexed(kind, number, index)}{where} ORDER BY {by} LIMIT {query.limit + 1})"
        f" AS chosen CROSS JOIN {kind}_{number} AS t ON t.{identity} = chosen.i",
        [*values, *more],
    ).fetchall()
    found.sort(key=_PLACE, reverse=query.descending)
    return found
