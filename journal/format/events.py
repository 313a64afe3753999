"""What happened: one frozen class per kind of fact, and how old versions of it are read.

Accounts and transfers are stored in bulk as rows; their events are made from the rows on demand.
Every other event is a CBOR map of its own, ``{"t": type, "v": version, …}``. When an event's
fields change, its version goes up and an *upcast* from the version before is added to
:data:`UPCASTS`; stored bytes are never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from nostro.journal.errors import DecodeError
from nostro.journal.format.codec import CREATED, Payload, RecordKind
from nostro.journal.model import TIMESTAMP_MAX, Account, CreateTransferStatus, Transfer
from nostro.journal.rows import accounts_from_rows, transfers_from_rows


@attrs.frozen
class AccountCreated:
    position: int
    timestamp: int
    account: Account


@attrs.frozen
class TransferCreated:
    position: int
    timestamp: int
    transfer: Transfer


@attrs.frozen
class TransferRefused:
    """A transfer refused for good: its id is used up (see model.REFUSED_FOR_GOOD)."""

    position: int
    timestamp: int
    transfer: Transfer
    status: CreateTransferStatus


@attrs.frozen
class PendingExpired:
    """A pending transfer ran out of time and its amount was released."""

    position: int
    timestamp: int
    transfer_id: int


@attrs.frozen
class LedgerRestored:
    """Here the ledger was cut short by a restore, and got an identity of its own."""

    position: int
    timestamp: int
    ledger_id: bytes
    """The ledger that it was restored from."""
    position_kept: int
    """The last event that was kept; those after it were left out."""
    frame_sha256: bytes
    """The hash of the frame that ends there, in that ledger; zero if nothing was kept."""


@attrs.frozen
class LedgerRepaired:
    """Here the ledger was cut short by a repair, and got an identity of its own."""

    position: int
    timestamp: int
    ledger_id: bytes
    """The damaged ledger."""
    position_kept: int
    frame_sha256: bytes
    events_lost: int
    """How many events after ``position_kept`` are known to be lost."""
    cause: str
    """What was damaged, and where."""


DomainEvent = PendingExpired | LedgerRestored | LedgerRepaired
Event = AccountCreated | TransferCreated | TransferRefused | DomainEvent

DOMAIN_EVENT_VERSIONS: Final[dict[str, int]] = {
    "ledger_repaired": 1,
    "ledger_restored": 1,
    "pending_expired": 1,
}
"""The version of each domain event that this program writes."""

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: Final[dict[tuple[str, int], Upcast]] = {}
"""(type, version) -> the function that turns that version's map into the next one's."""


_CAUSE_CHARACTERS_MAX: Final = 1_000
_CLASSES: Final[dict[str, type[DomainEvent]]] = {
    "ledger_repaired": LedgerRepaired,
    "ledger_restored": LedgerRestored,
    "pending_expired": PendingExpired,
}
_TYPES: Final = {event_class: kind for kind, event_class in _CLASSES.items()}
_ORIGIN: Final[dict[str, type | int]] = {"from": 16, "kept": int, "frame": 32}
_FIELDS: Final[dict[str, dict[str, type | int]]] = {
    "ledger_repaired": {**_ORIGIN, "lost": int, "why": str},
    "ledger_restored": _ORIGIN,
    "pending_expired": {"id": 16},
}
"""The fields that follow "t", "v" and "at", in the order of the class: types, or sizes in bytes."""


def encode_domain_event(event: DomainEvent) -> dict[str, Any]:
    """The map that is stored; it leaves out the position, which its place in the journal gives."""
    kind = _TYPES[type(event)]
    _, at, *values = attrs.astuple(event)
    fields = dict(zip(_FIELDS[kind], values, strict=True))
    if isinstance(event, PendingExpired):
        fields["id"] = event.transfer_id.to_bytes(16, "big")
    elif isinstance(event, LedgerRepaired):
        fields["why"] = event.cause[:_CAUSE_CHARACTERS_MAX]
    return {"t": kind, "v": DOMAIN_EVENT_VERSIONS[kind], "at": at, **fields}


def decode_domain_event(stored: dict[str, Any], *, position: int) -> DomainEvent:
    """The event in ``stored``, brought up to this program's version.

    Raises:
        DecodeError: an unknown type, a version newer than this program, or malformed fields.
    """
    current = upcast(stored)
    kind, at = current["t"], current.get("at")
    fields = _FIELDS[kind]
    if set(current) != {"t", "v", "at", *fields} or type(at) is not int:
        raise DecodeError(f"a {kind} event has unknown, missing or malformed fields")
    if not 0 <= at <= TIMESTAMP_MAX:
        raise DecodeError(f"a {kind} event happened at an impossible time")
    for name, form in fields.items():
        if not _has_form(current[name], form):
            raise DecodeError(f"a {kind} event has a malformed field {name!r}")
    if kind == "pending_expired":
        return PendingExpired(position, at, int.from_bytes(current["id"], "big"))
    return _CLASSES[kind](position, at, *[current[name] for name in fields])


def _has_form(value: Any, form: type | int) -> bool:
    if isinstance(form, int):
        return isinstance(value, bytes) and len(value) == form
    if form is str:
        return isinstance(value, str) and len(value) <= _CAUSE_CHARACTERS_MAX
    return type(value) is form and (not isinstance(value, int) or value >= 0)


def upcast(
    stored: dict[str, Any],
    *,
    versions: dict[str, int] = DOMAIN_EVENT_VERSIONS,
    upcasts: dict[tuple[str, int], Upcast] = UPCASTS,
) -> dict[str, Any]:
    """``stored`` in the version that ``versions`` names, one step at a time.

    Raises:
        DecodeError: the type is unknown, or the version is newer than ``versions`` names.
    """
    kind, version = stored["t"], stored["v"]
    current = versions.get(kind)
    if current is None or not 1 <= version <= current:
        raise DecodeError(f"an event {kind!r} of version {version} is unknown to this program")
    while version < current:
        stored = upcasts[kind, version](stored)
        version += 1
    return stored


def events_of(payload: Payload, *, position_first: int) -> Iterator[Event]:
    """The payload's events one by one, in order."""
    if payload.kind is RecordKind.EVENTS:
        for offset, stored in enumerate(payload.domain_events):
            yield decode_domain_event(stored, position=position_first + offset)
    elif payload.kind is RecordKind.ACCOUNTS:
        for position, account in enumerate(accounts_from_rows(payload.rows()), position_first):
            yield AccountCreated(position, account.timestamp, account)
    else:
        yield from _transfer_events(payload, position_first)


def _transfer_events(payload: Payload, position_first: int) -> Iterator[Event]:
    statuses = payload.statuses()
    for index, transfer in enumerate(transfers_from_rows(payload.rows())):
        status = CREATED if statuses is None else int(statuses[index])
        position = position_first + index
        if status == CREATED:
            yield TransferCreated(position, transfer.timestamp, transfer)
        else:
            yield TransferRefused(
                position, transfer.timestamp, transfer, CreateTransferStatus(status)
            )
