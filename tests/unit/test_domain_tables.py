"""Tables equal a dictionary at every moment, whatever is found in them and however."""

from __future__ import annotations

import enum
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostro.journal.errors import InvalidField, LedgerClosed, OutOfRange
from nostro.projections.domains.layers import Layer
from nostro.projections.domains.model import Page, Table
from nostro.projections.domains.table_store import Change, TableStore, Version


class State(enum.Enum):
    NEW = "new"
    DONE = "done"


@attrs.frozen
class Order:
    id: str
    state: State
    size: int | None
    note: bytes = b""


@attrs.frozen
class Line:
    order: str
    number: int
    state: State


ORDERS: Final = Table(
    "order", Order, key="id", indexes=("state", "size", ("state", "size"), ("size", "id"))
)
LINES: Final = Table("line", Line, key=("order", "number"), indexes=("state", "order"))


class Sales:
    name = "sales"
    version = 1
    events = ()
    tables = (ORDERS, LINES)

    def fold(self, event: object, tables: object) -> None: ...


LEDGER: Final = bytes(16)
ids = st.sampled_from(["a", "b", "c", "d", "e", "\x00", "a\x00", ""])
sizes = st.none() | st.sampled_from([0, 1, -1, 2**70, -(2**70), 2**64])
states = st.sampled_from(State)
orders = st.builds(Order, ids, states, sizes, st.binary(max_size=2))
lines = st.builds(Line, ids, st.integers(-1, 2), states)
puts = orders.map(lambda one: ("order", one.id, one)) | lines.map(
    lambda one: ("line", (one.order, one.number), one)
)
removals = ids.map(lambda key: ("order", key, None)) | st.tuples(ids, st.integers(-1, 2)).map(
    lambda key: ("line", key, None)
)
events = st.lists(st.lists(puts | puts | removals, max_size=3), max_size=12)
"""What each event changes."""
wheres = st.fixed_dictionaries({}, optional={"state": states, "size": sizes, "id": ids})


def rank(value: object) -> tuple[Any, ...]:
    """As values of any kind sort."""
    if isinstance(value, enum.Enum):
        value = value.value
    return value is not None, value if value is not None else 0


def found(
    rows: dict[Any, Any], where: dict[str, object], order: str | None, *, descending: bool
) -> list[Any]:
    """What a table with these entities answers."""
    matching = [
        (() if order is None else rank(getattr(entity, order)), key, entity)
        for key, entity in rows.items()
        if all(getattr(entity, name) == value for name, value in where.items())
    ]
    return [entity for *_, entity in sorted(matching, key=lambda row: row[:2], reverse=descending)]


def all_pages(tables: Any, table: str, limit: int, **arguments: Any) -> list[Any]:  # noqa: ANN401 - a store or a layer
    """What is found page by page."""
    page: Page[Any] = tables.find(table, limit=limit, **arguments)
    items = [*page.items]
    while page.cursor is not None:
        assert len(page.items) == limit
        page = tables.find(table, limit=limit, after=page.cursor, **arguments)
        items += page.items
    return items


@attrs.define
class Model:
    """What the tables hold after each event."""

    moments: list[dict[str, dict[Any, Any]]] = attrs.field(
        factory=lambda: [{"order": {}, "line": {}}]
    )

    def take(self, changes: list[tuple[str, Any, Any]]) -> None:
        now = {name: {**rows} for name, rows in self.moments[-1].items()}
        for table, key, entity in changes:
            now[table].pop(key, None)
            if entity is not None:
                now[table][key] = entity
        self.moments.append(now)


def as_changes(event: list[tuple[str, Any, Any]], position: int) -> list[Change]:
    return [Change(table, key, entity, position) for table, key, entity in event]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TableStore]:
    made = TableStore.open(tmp_path / "tables" / "sales.db", Sales(), LEDGER)
    yield made
    made.close()


def check_everything(tables: Any, rows: dict[str, dict[Any, Any]], **at: int) -> None:  # noqa: ANN401 - as above
    """Each entity, and each simple question."""
    for key in ("a", "b", "c", "d", "e", "\x00", "a\x00", "", "other"):
        assert tables.get("order", key, **at) == rows["order"].get(key)
        assert tables.get("line", (key, 1), **at) == rows["line"].get((key, 1))
    for order in (None, "size", "id", "state"):
        for descending in (False, True):
            expected = found(rows["order"], {}, order, descending=descending)
            assert all_pages(
                tables, "order", 3, order=order, descending=descending, **at
            ) == expected  # fmt: skip
    assert all_pages(tables, "line", 2, **at) == found(rows["line"], {}, None, descending=False)


@settings(deadline=None, max_examples=40)
@given(
    events, st.integers(1, 5), wheres, st.sampled_from([None, "size", "id", "state"]),
    st.booleans(), st.integers(1, 4), st.integers(1, 4), st.booleans(),
)  # fmt: skip
def test_tables_equal_a_dictionary_at_every_moment(
    happened: list[list[tuple[str, Any, Any]]], batch: int, where: dict[str, object],
    order: str | None, descending: bool, limit: int, zone_entries: int, asked_between: bool,
) -> None:  # fmt: skip
    """Every entity and every page, now and at each past position, is what a dictionary gives."""
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        store = TableStore.open(
            Path(folder, "sales.db"), Sales(), LEDGER, zones_from=0, zone_entries=zone_entries
        )
        for first in range(0, len(happened), batch):
            changes: list[Change] = []
            for position, event in enumerate(happened[first : first + batch], first + 1):
                model.take(event)
                changes += as_changes(event, position)
            store.write(changes, position=len(model.moments) - 1, frame_sha256=bytes(32))
            if asked_between:  # some zones are of a position before the end
                check_everything(store, model.moments[-1], position=store.position)
        for position, rows in enumerate(model.moments):
            expected = found(rows["order"], where, order, descending=descending)
            asked: dict[str, Any] = {"where": where, "order": order, "descending": descending}
            assert all_pages(store, "order", limit, **asked, position=position) == expected
            check_everything(store, rows, position=position)
        check_everything(store, model.moments[-1])
        check_histories(store, model)
        store.close()


def check_histories(store: TableStore, model: Model) -> None:
    """The versions of an entity join to what it was at each moment."""
    for key in {key for rows in model.moments for key in rows["order"]}:
        versions = store.history("order", key)
        for position, rows in enumerate(model.moments):
            holding = [
                version.entity
                for version in versions
                if version.position_from <= position
                and (version.position_to is None or position < version.position_to)
            ]
            assert holding == [rows["order"][key] for _ in range(key in rows["order"])]


@settings(deadline=None, max_examples=40)
@given(
    events, st.integers(0, 12), st.integers(0, 12), wheres,
    st.sampled_from([None, "size", "id", "state"]), st.booleans(), st.integers(1, 4),
)  # fmt: skip
def test_layers_answer_as_the_file_will(
    happened: list[list[tuple[str, Any, Any]]], written: int, durable: int,
    where: dict[str, object], order: str | None, descending: bool, limit: int,
) -> None:  # fmt: skip
    """What is found through layers is what is found once their changes are written."""
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        store = TableStore.open(Path(folder, "sales.db"), Sales(), LEDGER)
        below = Layer(store, Sales.tables)
        above = Layer(below, Sales.tables)
        asked: dict[str, Any] = {"where": where, "order": order, "descending": descending}
        for position, event in enumerate(happened, 1):
            model.take(event)
            if position <= written:
                store.write(as_changes(event, position), position=position, frame_sha256=bytes(32))
                continue
            layer = below if position <= durable else above
            layer.position = position
            for table, key, entity in event:
                if entity is None:
                    layer.remove(table, key)
                else:
                    layer.put(table, entity)
            expected = found(model.moments[-1]["order"], where, order, descending=descending)
            assert all_pages(layer, "order", limit, **asked) == expected
        check_everything(above, model.moments[-1])
        below.absorb(above)
        check_everything(below, model.moments[-1])
        end = len(happened)
        if below.changes:
            store.write(below.changes, position=end, frame_sha256=bytes(32))
        check_everything(above, model.moments[-1])
        below.forget(end)
        assert not below.changes
        check_everything(below, model.moments[-1])
        check_everything(store, model.moments[-1])
        store.close()


def put_orders(store: TableStore, count: int) -> None:
    changes = [
        Change("order", f"{n:05}", Order(f"{n:05}", State.NEW, n), store.position + 1)
        for n in range(count)
    ]
    store.write(changes, position=store.position + 1, frame_sha256=bytes(32))


def test_a_cursor_stays_valid_while_entities_change(store: TableStore) -> None:
    """Paging goes on behind the last entity, also if that one was removed meanwhile."""
    put_orders(store, 20)
    page = store.find("order", order="size", limit=10)
    assert [order.size for order in page.items] == [*range(10)]
    changes = [
        Change("order", "00009", None, 2),
        Change("order", "00003", Order("00003", State.NEW, 100), 2),
        Change("order", "new", Order("new", State.NEW, 10), 2),
    ]
    store.write(changes, position=2, frame_sha256=bytes(32))
    rest = store.find("order", order="size", limit=50, after=page.cursor)
    assert [order.size for order in rest.items] == [10, 10, *range(11, 20), 100]
    before = store.find("order", order="size", limit=50, after=page.cursor, position=1)
    assert [order.size for order in before.items] == [*range(10, 20)]


def test_a_cursor_is_of_one_question(store: TableStore) -> None:
    """A cursor of another question, or no cursor at all, is refused."""
    put_orders(store, 5)
    cursor = store.find("order", limit=2).cursor
    assert cursor is not None
    assert store.find("order", limit=3, after=cursor).items[0].id == "00002"
    for arguments in (
        {"order": "size"}, {"descending": True}, {"where": {"state": State.NEW}},
    ):  # fmt: skip
        with pytest.raises(InvalidField, match="not a cursor that this query"):
            store.find("order", after=cursor, **arguments)
    for wrong in ("", "x", "é", cursor[:-1], cursor + "A"):
        with pytest.raises(InvalidField, match="not a cursor"):
            store.find("order", after=wrong)


def test_what_cannot_be_asked_is_refused(store: TableStore) -> None:
    """A question that no index answers is an error, not a scan of everything."""
    for arguments in (
        {"where": {"note": b""}}, {"where": {"no": 1}}, {"where": {"size": 1.5}},
        {"order": "note"}, {"order": "no"}, {"limit": 0}, {"limit": 1_001}, {"limit": True},
    ):  # fmt: skip
        with pytest.raises(InvalidField):
            store.find("order", **arguments)
    with pytest.raises(InvalidField, match="does not begin an index"):
        store.find("line", order="number")
    with pytest.raises(InvalidField, match="'nothing'"):
        store.get("nothing", "a")
    with pytest.raises(InvalidField, match="must be a tuple of order, number"):
        store.get("line", "a")
    for position in (-1, 1):
        with pytest.raises(OutOfRange):
            store.get("order", "a", position=position)
        with pytest.raises(OutOfRange):
            store.find("order", position=position)


def test_a_layer_refuses_what_cannot_be_stored(store: TableStore) -> None:
    """A fold that puts something wrong fails there, and changes nothing."""
    layer = Layer(store, Sales.tables)
    layer.position = 1
    wrong: list[Any] = [Line("a", 1, State.NEW), Order("a", State.NEW, 2**128), "order"]
    for entity in wrong:
        with pytest.raises(InvalidField):
            layer.put("order", entity)
    with pytest.raises(InvalidField):
        layer.put("nothing", Order("a", State.NEW, 1))
    with pytest.raises(InvalidField):
        layer.remove("line", "a")
    assert layer.changes == []
    assert layer.find("order") == Page(())


def test_threads_read_whole_transactions_while_one_writes(store: TableStore) -> None:
    """Whatever is found, now or at a past position, is of one moment."""
    put_orders(store, 20)
    total = sum(range(20))
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set() or not reads:
            past = store.find("order", order="size", position=store.position).items
            now = store.find("order", where={"state": State.NEW}).items
            assert sum(order.size or 0 for order in past) == total
            assert sum(order.size or 0 for order in now) == total
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            for position in range(2, 150):
                moved = [(position % 20, 5), ((position + 7) % 20, -5)]
                changes = []
                for number, size in moved:
                    order = store.get("order", f"{number:05}")
                    changed = attrs.evolve(order, size=order.size + size)
                    changes.append(Change("order", changed.id, changed, position))
                store.write(changes, position=position, frame_sha256=bytes(32))
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


def test_of_several_versions_at_one_position_the_last_counts(store: TableStore) -> None:
    """One event makes one version of an entity, however often it puts it."""
    first, last = Order("a", State.NEW, 1), Order("a", State.DONE, 2)
    changes = [Change("order", "a", first, 3), Change("order", "a", last, 3)]
    store.write(changes, position=5, frame_sha256=b"\1" * 32)
    assert store.history("order", "a") == (Version(3, None, last),)
    assert store.get("order", "a", position=2) is None
    assert (store.position, store.frame_sha256) == (5, b"\1" * 32)


def test_the_digest_tells_contents_apart(tmp_path: Path) -> None:
    """Equal versions have equal digests, however they were written; others have others."""
    changes = [
        Change("order", "a", Order("a", State.NEW, 1), 1),
        Change("order", "b", Order("b", State.NEW, 2), 2),
        Change("order", "a", Order("a", State.DONE, 1), 3),
        Change("order", "b", None, 4),
    ]
    digests = []
    for number, batches in enumerate(([changes], [changes[:2], changes[2:]], [changes[:3]])):
        store = TableStore.open(tmp_path / f"{number}.db", Sales(), LEDGER)
        for batch in batches:
            store.write(batch, position=batch[-1].position, frame_sha256=bytes(32))
        digests.append(store.digest())
        store.close()
    assert digests[0] == digests[1] != digests[2]


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """Closing may be repeated; anything else is an error."""
    store = TableStore.open(tmp_path / "sales.db", Sales(), LEDGER)
    store.close()
    store.close()
    with pytest.raises(LedgerClosed):
        store.get("order", "a")
    with pytest.raises(LedgerClosed):
        store.find("order")
    with pytest.raises(LedgerClosed):
        store.write([], position=1, frame_sha256=bytes(32))
