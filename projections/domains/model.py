"""What a domain is made of: its types of events, its tables, and what it does with an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs

from nostro.journal.errors import BadDomain, DecodeError
from nostro.journal.format.events import EVENT_TYPE, EVENT_VERSION_MAX
from nostro.projections.domains.values import check_class, from_plain, to_plain

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")

E = TypeVar("E")
Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""From the plain value of one version of an event to the next one's."""
Key = Any
"""The value of a table's key: a scalar, or a tuple of them if the key has several fields."""


@attrs.frozen
class EventType:
    """A type of event: its name in the journal, and the class of its data.

    Args:
        name: the domain's name, a point, and the event's own name.
        version: raise it when the fields of ``cls`` change, and add an upcast.
        upcasts: for each earlier version, the function that makes the plain value (a dict) of the
            next one of it.
        dump: replaces the conversion to a plain value; ``load`` reads it back.

    Raises:
        BadDomain: a definition that cannot work.
    """

    name: str
    version: int = attrs.field(kw_only=True)
    cls: type = attrs.field(kw_only=True)
    upcasts: Mapping[int, Upcast] = attrs.field(kw_only=True, factory=dict, hash=False)
    dump: Callable[[Any], Any] | None = attrs.field(kw_only=True, default=None)
    load: Callable[[Any], Any] | None = attrs.field(kw_only=True, default=None)

    def __attrs_post_init__(self) -> None:
        where = f"event {self.name!r}"
        if not EVENT_TYPE.fullmatch(self.name):
            raise BadDomain(
                f"{where}: a type is the domain's name, a point and the event's name, each of"
                " a-z, 0-9 and _"
            )
        if type(self.version) is not int or not 1 <= self.version <= EVENT_VERSION_MAX:
            raise BadDomain(f"{where}: version is {self.version!r}; versions begin with 1")
        if {*self.upcasts} != {*range(1, self.version)}:
            raise BadDomain(
                f"{where}: version {self.version} needs an upcast for each version before it;"
                f" there are {sorted(self.upcasts)}"
            )
        if (self.dump is None) != (self.load is None):
            raise BadDomain(f"{where}: dump and load go together")
        if self.dump is None:
            check_class(self.cls)

    def to_plain(self, data: object) -> Any:
        """What is stored of an event's data: :meth:`from_plain` gives it back, equal.

        Raises:
            InvalidField: a value that cannot be stored.
        """
        if self.dump is None:
            return to_plain(data)
        return self.dump(data)

    def from_plain(self, plain: Any, version: int) -> object:
        """The data of an event that was stored in ``version``.

        Raises:
            DecodeError: a version newer than this one, or a value that is not of this type.
        """
        if not 1 <= version <= self.version:
            raise DecodeError(
                f"an event {self.name!r} of version {version}; this program knows versions up to"
                f" {self.version}"
            )
        for step in range(version, self.version):
            plain = self.upcasts[step](plain)
        return from_plain(self.cls, plain) if self.load is None else self.load(plain)


@attrs.frozen
class Table:
    """A table of entities, each a frozen attrs object.

    Args:
        key: the field that identifies an entity, or a tuple of fields.
        indexes: fields that :meth:`find` can filter and order by. A tuple of fields is one index:
            it filters by the first ones and orders by the next one without sorting.

    Raises:
        BadDomain: a definition that cannot work.
    """

    name: str
    cls: type
    key: str | tuple[str, ...] = attrs.field(kw_only=True)
    indexes: Sequence[str | tuple[str, ...]] = attrs.field(kw_only=True, default=())

    def __attrs_post_init__(self) -> None:
        where = f"table {self.name!r}"
        if not NAME.fullmatch(self.name):
            raise BadDomain(f"{where}: a name begins with a letter, and has a-z, 0-9 and _")
        check_class(self.cls)
        if not self.key_fields:
            raise BadDomain(f"{where}: a table needs a key")
        if not all(self.index_fields):
            raise BadDomain(f"{where}: an index is without fields")
        types = {field.name: field.type for field in attrs.fields(self.cls)}
        for fields in (self.key_fields, *self.index_fields):
            for name in fields:
                if name not in types:
                    raise BadDomain(f"{where}: {self.cls.__name__} has no field {name!r}")
                if not _is_sortable(types[name]):
                    raise BadDomain(f"{where}: {name!r} is neither a number nor text nor bytes")
        if len({*self.index_fields}) < len(self.indexes):
            raise BadDomain(f"{where}: an index is there twice")

    @property
    def key_fields(self) -> tuple[str, ...]:
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def index_fields(self) -> tuple[tuple[str, ...], ...]:
        return tuple((one,) if isinstance(one, str) else tuple(one) for one in self.indexes)

    def key_of(self, entity: object) -> Key:
        """The key of an entity: a tuple if the table's key has several fields."""
        if isinstance(self.key, str):
            return getattr(entity, self.key)
        return tuple([getattr(entity, name) for name in self.key])


def _is_sortable(kind: Any) -> bool:
    arguments = getattr(kind, "__args__", None)
    if arguments:
        return len(arguments) == 2 and all(
            one is type(None) or _is_sortable(one) for one in arguments
        )
    return kind in (int, str, bytes, bool) or (isinstance(kind, type) and issubclass(kind, Enum))


@attrs.frozen
class Page(Generic[E]):
    """A part of what was found; ``cursor`` continues after it, None at the end."""

    items: tuple[E, ...]
    cursor: str | None = None


@attrs.frozen
class DomainEvent:
    """An event as ``fold`` gets it."""

    type: str
    version: int
    """In which it was stored; ``data`` is of the newest one."""
    data: Any
    position: int
    timestamp: int
    """ns since 1970."""
    actor: str | None = None
    key: str | None = None
    """The idempotency key of the command that it is an event of."""
    request_id: str | None = None
    correlation_id: str | None = None


class Tables(Protocol):
    """The tables of a domain, as ``fold`` sees and changes them."""

    def get(self, table: str, key: Key) -> Any:
        """The entity with that key; None if there is none."""
        ...

    def put(self, table: str, entity: object) -> None:
        """Add an entity, or replace the one with the same key."""
        ...

    def remove(self, table: str, key: Key) -> None:
        """Remove the entity with that key, if there is one."""
        ...

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
        """The entities whose fields equal ``where``, in order, then by key."""
        ...


class Domain(Protocol):
    """What a user defines. It may also have ``due(view, now)``, which returns the next command."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int:
        """Raise it whenever the same journal would give other tables."""
        ...

    @property
    def events(self) -> Sequence[EventType]: ...
    @property
    def tables(self) -> Sequence[Table]: ...

    def fold(self, event: DomainEvent, tables: Tables) -> None:
        """Put what ``event`` changes. Pure: no clock, no randomness, no I/O."""
        ...


def check_domain(domain: Domain) -> None:
    """Refuse a domain that cannot work.

    Raises:
        BadDomain: and says why.
    """
    name = getattr(domain, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadDomain(f"domain {name!r}: a name begins with a letter, and has a-z, 0-9 and _")
    where = f"domain {name!r}"
    version = getattr(domain, "version", None)
    if type(version) is not int or not 1 <= version <= EVENT_VERSION_MAX:
        raise BadDomain(f"{where}: version is {version!r}; versions begin with 1")
    for attribute, kind in (("events", EventType), ("tables", Table)):
        members = getattr(domain, attribute, None)
        if not isinstance(members, Sequence) or not all(isinstance(one, kind) for one in members):
            raise BadDomain(f"{where}: {attribute} must be a tuple of {kind.__name__}s")
        names = [one.name for one in members]
        for one in names:
            if names.count(one) > 1:
                raise BadDomain(f"{where}: {one!r} is twice among its {attribute}")
    for event in domain.events:
        if not event.name.startswith(f"{name}."):
            raise BadDomain(f"{where}: event {event.name!r} must begin with {name + '.'!r}")
    if not callable(getattr(domain, "fold", None)):
        raise BadDomain(f"{where}: it has no method fold(event, tables)")
