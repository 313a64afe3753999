"""A domain that cannot work is refused when it is defined, and says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from nostro.journal.errors import BadDomain, DecodeError
from nostro.projections.domains.model import DomainEvent, EventType, Table, check_domain


@attrs.frozen
class Opened:
    id: str
    owner: str = ""


@attrs.frozen
class Shop:
    id: str
    owner: str
    opened_at: int | None = None
    tags: tuple[str, ...] = ()


class Shops:
    name = "shops"
    version = 1
    events: tuple[Any, ...] = (EventType("shops.opened", version=1, cls=Opened),)
    tables: tuple[Any, ...] = (
        Table("shop", Shop, key="id", indexes=("owner", ("owner", "opened_at"))),
    )

    def fold(self, event: DomainEvent, tables: object) -> None: ...


def test_a_sound_domain_is_taken() -> None:
    """What the guide shows can be defined."""
    check_domain(Shops())
    [table] = Shops.tables
    assert table.key_of(Shop("a", "b")) == "a"
    assert table.index_fields == (("owner",), ("owner", "opened_at"))
    pair = Table("pair", Shop, key=("owner", "id"))
    assert pair.key_of(Shop("a", "b")) == ("b", "a")


def test_an_old_event_is_brought_up_to_date() -> None:
    """An event of any version is read as an object of today's class, step by step."""
    kind = EventType(
        "shops.opened", version=3, cls=Opened,
        upcasts={1: lambda old: {"id": old["name"]}, 2: lambda old: {**old, "owner": "nobody"}},
    )  # fmt: skip
    assert kind.from_plain({"name": "a"}, 1) == Opened("a", "nobody")
    assert kind.from_plain({"id": "a"}, 2) == Opened("a", "nobody")
    assert kind.from_plain(kind.to_plain(Opened("a", "b")), 3) == Opened("a", "b")
    for version in (0, 4):
        with pytest.raises(DecodeError, match="versions up to 3"):
            kind.from_plain({"id": "a"}, version)


def test_a_type_may_bring_its_own_encoding() -> None:
    """Its own functions replace the conversion, so a class need not be an attrs class."""
    kind = EventType("shops.sold", version=1, cls=complex, dump=str, load=complex)
    assert kind.from_plain(kind.to_plain(1 + 2j), 1) == 1 + 2j


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: EventType("opened", version=1, cls=Opened), "a point"),
    (lambda: EventType("Shops.opened", version=1, cls=Opened), "a point"),
    (lambda: EventType("shops.opened", version=0, cls=Opened), "begin with 1"),
    (lambda: EventType("shops.opened", version=True, cls=Opened), "begin with 1"),
    (lambda: EventType("shops.opened", version=2, cls=Opened), "upcast for each"),
    (lambda: EventType("shops.opened", version=1, cls=Opened, upcasts={1: dict}), "upcast"),
    (lambda: EventType("shops.opened", version=1, cls=Opened, dump=str), "go together"),
    (lambda: EventType("shops.opened", version=1, cls=complex), "not an attrs class"),
    (lambda: Table("Shop", Shop, key="id"), "begins with a letter"),
    (lambda: Table("s" * 64, Shop, key="id"), "begins with a letter"),
    (lambda: Table("shop", Shop, key="no"), "no field 'no'"),
    (lambda: Table("shop", Shop, key=()), "needs a key"),
    (lambda: Table("shop", Shop, key="id", indexes=("no",)), "no field 'no'"),
    (lambda: Table("shop", Shop, key="id", indexes=("tags",)), "neither a number"),
    (lambda: Table("shop", Shop, key="id", indexes=("owner", ("owner",))), "twice"),
    (lambda: Table("shop", Shop, key="id", indexes=((),)), "without fields"),
    (lambda: Table("shop", complex, key="id"), "not an attrs class"),
]


@pytest.mark.parametrize(("define", "words"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_definition_is_refused(define: Callable[[], object], words: str) -> None:
    """Every mistake in a type or a table is an error where it is made."""
    with pytest.raises(BadDomain, match=words):
        define()


WRONG_DOMAINS: list[tuple[dict[str, object], str]] = [
    ({"name": "Shops"}, "begins with a letter"),
    ({"name": None}, "begins with a letter"),
    ({"version": 0}, "begin with 1"),
    ({"version": "1"}, "begin with 1"),
    ({"events": (Opened,)}, "tuple of EventTypes"),
    ({"events": None}, "tuple of EventTypes"),
    ({"events": Shops.events * 2}, "twice"),
    ({"events": (EventType("other.opened", version=1, cls=Opened),)}, r"begin with 'shops\.'"),
    ({"tables": Shops.tables * 2}, "twice"),
    ({"tables": Shops.events}, "tuple of Tables"),
    ({"fold": None}, "no method fold"),
]


@pytest.mark.parametrize(("changed", "words"), WRONG_DOMAINS, ids=range(len(WRONG_DOMAINS)))
def test_a_wrong_domain_is_refused(changed: dict[str, object], words: str) -> None:
    """So is every mistake in a domain."""
    domain: Any = type("Changed", (Shops,), changed)()
    with pytest.raises(BadDomain, match=words):
        check_domain(domain)
