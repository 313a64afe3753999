"""Changes to tables that are not yet in their file, laid over what is below.

A layer lies on a :class:`TableStore` or on another layer. What a command's events change is in a
layer of its own until the record is durable; then :meth:`Layer.absorb` moves it into the layer of
what is durable and not yet written. A layer that is dropped never was.

Nothing here takes a lock: the owner of the layers lets one thread in at a time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from nostro.journal.errors import InvalidField
from nostro.projections.domains.model import Key, Page, Table
from nostro.projections.domains.sort_keys import AFTER_ALL, sort_keys
from nostro.projections.domains.table_finding import Query, Row, checked_query, index_paths
from nostro.projections.domains.table_store import Change, encoded_key
from nostro.projections.domains.values import decode, encode, normal

_FEW_CHANGED: Final = 8
"""A sorted list is sorted anew if more than one in this many of its entries changed."""

Place = tuple[bytes, bytes]


class Below(Protocol):
    """What a layer lies on."""

    def get(self, table: str, key: Key) -> Any: ...

    def find_rows(self, query: Query) -> list[Row]: ...


class Layer:
    """Tables as they are with the changes made here. It is what ``fold`` and ``decide`` get."""

    def __init__(self, below: Below, tables: Sequence[Table]) -> None:
        self._below = below
        self._tables = {table.name: _Overlay(table) for table in tables}
        self.position = 0
        """Of the event that is being folded: what is put and removed gets it."""
        self.changes: list[Change] = []
        """Every version made here, in order."""

    def get(self, table: str, key: Key) -> Any:
        """The entity with that key; None if there is none.

        Raises:
            InvalidField: there is no such table, or it has no such keys.
        """
        overlay = self._overlay(table)
        change = overlay.newest.get(encoded_key(overlay.table, key))
        return self._below.get(table, key) if change is None else change.entity

    def put(self, table: str, entity: object) -> None:
        """Add an entity, or replace the one with the same key.

        Raises:
            InvalidField: it is not of the table's class, or cannot be stored.
        """
        overlay = self._overlay(table)
        if type(entity) is not overlay.table.cls:
            raise InvalidField(
                "entity", entity, f"is not a {overlay.table.cls.__name__}, as table {table!r} holds"
            )
        data = encode(entity)
        key = overlay.table.key_of(entity)
        self._take(overlay, Change(table, key, normal(entity), self.position, data))

    def remove(self, table: str, key: Key) -> None:
        """Remove the entity with that key, if there is one.

        Raises:
            InvalidField: as :meth:`get`.
        """
        self._take(self._overlay(table), Change(table, key, None, self.position))

    def find(
        self,
        table: str,
        *,
        where: Mapping[str, object] | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Any]:
        """As :meth:`TableStore.find`, now."""
        cls = self._overlay(table).table.cls
        query = checked_query(self._tables[table].table, where, order, descending, limit, after)
        rows = self.find_rows(query)
        entities = [
            decode(cls, found) if type(found) is bytes else found for _, _, found in rows[:limit]
        ]
        cursor = query.cursor(*rows[limit - 1][:2]) if len(rows) > limit else None
        return Page(tuple(entities), cursor)

    def find_rows(self, query: Query) -> list[Row]:
        """The rows that match a query, in order: its limit and one more, if there are so many."""
        overlay = self._overlay(query.table.name)
        if not overlay.newest:
            return self._below.find_rows(query)
        rows: list[Row] = []
        rest: Query | None = query
        while rest is not None and len(rows) <= query.limit:
            found = self._below.find_rows(rest)
            rows += [row for row in found if row[1] not in overlay.newest]
            rest = rest.behind(found[-1][:2]) if len(found) > rest.limit else None
        rows += overlay.find_rows(query)
        rows.sort(key=lambda row: row[:2], reverse=query.descending)
        return rows[: query.limit + 1]

    def absorb(self, above: Layer) -> None:
        """Take over the changes of a layer that was made on this one."""
        for change in above.changes:
            self._take(self._overlay(change.table), change)

    def forget(self, position: int) -> None:
        """Drop the changes up to ``position``: what is below has them."""
        self.changes = [change for change in self.changes if change.position > position]
        for overlay in self._tables.values():
            overlay.forget(position)

    def _overlay(self, name: str) -> _Overlay:
        overlay = self._tables.get(name)
        if overlay is None:
            raise InvalidField("table", name, f"is none of {', '.join(self._tables)}")
        return overlay

    def _take(self, overlay: _Overlay, change: Change) -> None:
        overlay.take(encoded_key(overlay.table, change.key), change)
        self.changes.append(change)


class _Overlay:
    """The newest change of each key of one table, and its entities sorted by each index."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.newest: dict[bytes, Change] = {}
        self._sorted: dict[tuple[str, ...], _Sorted] = {}

    def take(self, key: bytes, change: Change) -> None:
        self.newest[key] = change
        for entries in self._sorted.values():
            entries.changed.add(key)

    def forget(self, position: int) -> None:
        gone = [key for key, change in self.newest.items() if change.position <= position]
        for key in gone:
            del self.newest[key]
        for entries in self._sorted.values():
            entries.changed.update(gone)

    def find_rows(self, query: Query) -> list[Row]:
        """The entities of this overlay that match a query, in order."""
        entries, start, end, is_in_order = self._range(query)
        keys = entries.places[start:end]
        rows: list[Row] = []
        for _, key in reversed(keys) if query.descending else keys:
            entity = self.newest[key].entity
            if query.matches(entity) and query.is_after(place := query.place(entity)):
                rows.append((*place, entity))
                if is_in_order and len(rows) > query.limit:
                    break
        if not is_in_order:
            rows.sort(key=lambda row: row[:2], reverse=query.descending)
        return rows

    def _range(self, query: Query) -> tuple[_Sorted, int, int, bool]:
        """Where the fewest candidates are: a sorted list, a part of it, whether it is in order."""
        best: tuple[int, _Sorted, int, int, bool] | None = None
        for fields in ((), *(fields for _, fields in index_paths(query.table))):
            prefix = query.prefix(fields)
            is_in_order = query.is_ordered_by(fields, len(prefix))
            if not prefix and not is_in_order:
                continue
            entries = self._sorted_by(fields)
            start, end = entries.range(b"".join(prefix))
            found = (end - start, entries, start, end, is_in_order)
            if best is None or (is_in_order, -found[0]) > (best[4], -best[0]):
                best = found
        assert best is not None, "a checked query has an index"
        return best[1:]

    def _sorted_by(self, fields: tuple[str, ...]) -> _Sorted:
        entries = self._sorted.get(fields)
        if entries is None:
            entries = self._sorted[fields] = _Sorted(fields)
            entries.changed.update(self.newest)
        entries.bring_up_to_date(self.newest)
        return entries


class _Sorted:
    """The entities of an overlay, sorted by some fields, then by key."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self.places: list[Place] = []
        self._of_key: dict[bytes, Place] = {}
        self.changed: set[bytes] = set()
        """The keys whose entity is another one than in ``places``."""

    def bring_up_to_date(self, newest: Mapping[bytes, Change]) -> None:
        if not self.changed:
            return
        is_few = len(self.changed) * _FEW_CHANGED < len(self.places)
        for key in self.changed:
            old = self._of_key.pop(key, None)
            if old is not None and is_few:
                del self.places[bisect_left(self.places, old)]
            change = newest.get(key)
            if change is not None and change.entity is not None:
                values = [getattr(change.entity, name) for name in self._fields]
                place = self._of_key[key] = (sort_keys(values), key)
                if is_few:
                    insort(self.places, place)
        if not is_few:
            self.places = sorted(self._of_key.values())
        self.changed.clear()

    def range(self, prefix: bytes) -> tuple[int, int]:
        """The part whose fields begin with ``prefix``."""
        if not prefix:
            return 0, len(self.places)
        return (
            bisect_left(self.places, (prefix, b"")),
            bisect_right(self.places, (prefix + AFTER_ALL, b"")),
        )
