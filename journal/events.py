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

from journal.codec import CREATED, Payload, RecordKind
from journal.errors import DecodeError
from journal.model import TIMESTAMP_MAX, Account, CreateTransferStatus, Transfer
from journal.rows import accounts_from_rows, transfers_from_rows


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
    """A transfer refused for good: its id is used up (see model.TRANSIENT_STATUSES)."""

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


DomainEvent = PendingExpired
Event = AccountCreated | TransferCreated | TransferRefused | DomainEvent

DOMAIN_EVENT_VERSIONS: Final[dict[str, int]] = {"pending_expired": 1}
"""The version of each domain event that this program writes."""

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: Final[dict[tuple[str, int], Upcast]] = {}
"""(type, version) -> the function that turns that version's map into the next one's."""


def encode_domain_event(event: DomainEvent) -> dict[str, Any]:
    """The map that is stored; its position is where it stands."""
    return {
        "t": "pending_expired",
        "v": DOMAIN_EVENT_VERSIONS["pending_expired"],
        "at": event.timestamp,
        "id": event.transfer_id.to_bytes(16, "big"),
    }


def decode_domain_event(stored: dict[str, Any], *, position: int) -> DomainEvent:
    """The event in ``stored``, brought up to this program's version.

    Raises:
        DecodeError: an unknown type, a version newer than this program, or malformed fields.
    """
    current = upcast(stored)
    at, transfer_id = current.get("at"), current.get("id")
    if set(current) != {"t", "v", "at", "id"} or type(at) is not int:
        raise DecodeError("a pending_expired event has unknown, missing or malformed fields")
    if not 0 <= at <= TIMESTAMP_MAX:
        raise DecodeError("a pending_expired event happened at an impossible time")
    if not isinstance(transfer_id, bytes) or len(transfer_id) != 16:
        raise DecodeError("a pending_expired event names no transfer")
    return PendingExpired(position, at, int.from_bytes(transfer_id, "big"))


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
