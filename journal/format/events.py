"""What happened: one frozen class per kind of fact, and how old versions of it are read.

Accounts and transfers are stored in bulk as rows; their events are made from the rows on demand.
Every other event is a CBOR map of its own, ``{"t": type, "v": version, …}``. When an event's
fields change, its version goes up and an *upcast* from the version before is added to
:data:`UPCASTS`; stored bytes are never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from nostro.journal.errors import DecodeError, InvalidField
from nostro.journal.format.codec import CREATED, Payload, RecordKind
from nostro.journal.format.parts import Positions
from nostro.journal.model import (
    BATCH_EVENTS_MAX,
    TIMESTAMP_MAX,
    Account,
    CreateTransferStatus,
    Transfer,
)
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


@attrs.frozen
class Origin:
    """Who asked for a command, and why; each at most 128 characters."""

    actor: str | None = None
    key: str | None = None
    """The command's idempotency key."""
    request_id: str | None = None
    correlation_id: str | None = None

    def __attrs_post_init__(self) -> None:
        for name in _ORIGIN_FIELDS.values():
            text = getattr(self, name)
            if text is not None and not isinstance(text, str):
                raise InvalidField(name, text, "must be text")
            if text is not None and not 1 <= len(text) <= ORIGIN_CHARACTERS_MAX:
                raise InvalidField(name, text, f"has 1 to {ORIGIN_CHARACTERS_MAX} characters")


@attrs.frozen
class EventRecorded:
    """An event of a domain. Journals are read whether or not the domain is installed."""

    position: int
    timestamp: int
    type: str
    """The domain's name, a point, and the event's own name."""
    version: int
    data: Any
    """As it is stored: integers, bytes, text, booleans, None, lists and maps."""
    origin: Origin


@attrs.frozen
class CommandExecuted:
    """A command was carried out: what it was, and what it was answered."""

    position: int
    timestamp: int
    event_count: int
    """How many events the command is, this one included: they stand just before it."""
    command_sha256: bytes
    """Of the command's type and fields: the same for equal commands."""
    answer: Any
    """As it is stored."""
    origin: Origin


DomainEvent = PendingExpired | LedgerRestored | LedgerRepaired | CommandExecuted | EventRecorded
Event = AccountCreated | TransferCreated | TransferRefused | DomainEvent

DOMAIN_EVENT_VERSIONS: Final[dict[str, int]] = {
    "command_executed": 1,
    "ledger_repaired": 1,
    "ledger_restored": 1,
    "pending_expired": 1,
}
"""The version of each event of this program that it writes. Those of domains have theirs."""
ORIGIN_CHARACTERS_MAX: Final = 128
EVENT_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}")
EVENT_VERSION_MAX: Final = 2**31 - 1

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: Final[dict[tuple[str, int], Upcast]] = {}
"""(type, version) -> the function that turns that version's map into the next one's."""


_CAUSE_CHARACTERS_MAX: Final = 1_000
_ORIGIN_FIELDS: Final = {
    "by": "actor", "key": "key", "req": "request_id", "cor": "correlation_id",
}  # fmt: skip
"""The names of an :class:`Origin`'s fields as they are stored; what has no value is left out."""
_Simple = type[PendingExpired | LedgerRestored | LedgerRepaired]
_CLASSES: Final[dict[str, _Simple]] = {
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
    if isinstance(event, EventRecorded):
        return {
            "t": event.type, "v": event.version, "at": event.timestamp, "d": event.data,
            **_stored_origin(event.origin),
        }  # fmt: skip
    if isinstance(event, CommandExecuted):
        return {
            "t": "command_executed", "v": DOMAIN_EVENT_VERSIONS["command_executed"],
            "at": event.timestamp, "n": event.event_count, "of": event.command_sha256,
            "answer": event.answer,
            **_stored_origin(event.origin),
        }  # fmt: skip
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
    if "." in stored["t"]:
        return _event_of_domain(stored, position)
    current = upcast(stored)
    if current["t"] == "command_executed":
        return _command_executed(current, position)
    kind, at = current["t"], current.get("at")
    fields = _FIELDS[kind]
    if set(current) != {"t", "v", "at", *fields} or type(at) is not int:
        raise DecodeError(f"a {kind} event has unknown, missing or malformed fields")
    _time(kind, at)
    for name, form in fields.items():
        if not _has_form(current[name], form):
            raise DecodeError(f"a {kind} event has a malformed field {name!r}")
    if kind == "pending_expired":
        return PendingExpired(position, at, int.from_bytes(current["id"], "big"))
    return _CLASSES[kind](position, at, *[current[name] for name in fields])


def _event_of_domain(stored: dict[str, Any], position: int) -> EventRecorded:
    kind, version, at = stored["t"], stored["v"], stored.get("at")
    if not EVENT_TYPE.fullmatch(kind) or not 1 <= version <= EVENT_VERSION_MAX:
        raise DecodeError("an event of a domain has an impossible type or version")
    if set(stored) - set(_ORIGIN_FIELDS) != {"t", "v", "at", "d"}:
        raise DecodeError(f"a {kind} event has unknown or missing fields")
    return EventRecorded(
        position, _time(kind, at), kind, version, stored["d"], _read_origin(kind, stored)
    )


def _command_executed(stored: dict[str, Any], position: int) -> CommandExecuted:
    kind, at, command, count = stored["t"], stored.get("at"), stored.get("of"), stored.get("n")
    if set(stored) - set(_ORIGIN_FIELDS) != {"t", "v", "at", "n", "of", "answer"}:
        raise DecodeError(f"a {kind} event has unknown or missing fields")
    if not isinstance(command, bytes) or len(command) != 32:
        raise DecodeError(f"a {kind} event has a malformed field 'of'")
    if type(count) is not int or not 1 <= count <= BATCH_EVENTS_MAX:
        raise DecodeError(f"a {kind} event has a malformed field 'n'")
    return CommandExecuted(
        position, _time(kind, at), count, command, stored["answer"], _read_origin(kind, stored)
    )


def _time(kind: str, at: Any) -> int:
    if type(at) is not int or not 0 <= at <= TIMESTAMP_MAX:
        raise DecodeError(f"a {kind} event happened at an impossible time")
    return at


def _stored_origin(origin: Origin) -> dict[str, str]:
    fields = ((short, getattr(origin, name)) for short, name in _ORIGIN_FIELDS.items())
    return {short: value for short, value in fields if value is not None}


def _read_origin(kind: str, stored: dict[str, Any]) -> Origin:
    fields = {name: stored[short] for short, name in _ORIGIN_FIELDS.items() if short in stored}
    try:
        if None in fields.values():
            raise DecodeError(f"a {kind} event has an empty origin")
        return Origin(**fields)
    except InvalidField as bad:
        raise DecodeError(f"a {kind} event has a malformed origin: {bad}") from None


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


def events_of(payload: Payload, positions: Positions) -> Iterator[Event]:
    """The events of a payload of one kind, one by one, which stand at ``positions``."""
    if payload.kind is RecordKind.EVENTS:
        for position, stored in zip(positions, payload.domain_events, strict=True):
            yield decode_domain_event(stored, position=int(position))
    elif payload.kind is RecordKind.ACCOUNTS:
        accounts = accounts_from_rows(payload.rows())
        for position, account in zip(positions, accounts, strict=True):
            yield AccountCreated(int(position), account.timestamp, account)
    else:
        yield from _transfer_events(payload, positions)


def _transfer_events(payload: Payload, positions: Positions) -> Iterator[Event]:
    statuses = payload.statuses()
    transfers = transfers_from_rows(payload.rows())
    for index, (at, transfer) in enumerate(zip(positions, transfers, strict=True)):
        status = CREATED if statuses is None else int(statuses[index])
        position = int(at)
        if status == CREATED:
            yield TransferCreated(position, transfer.timestamp, transfer)
        else:
            yield TransferRefused(
                position, transfer.timestamp, transfer, CreateTransferStatus(status)
            )
