"""The names of events, statuses and fields in files, and the way back from them."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from nostro.journal import (
    Account,
    AccountFlags,
    CommandExecuted,
    CreateTransferStatus,
    Event,
    EventRecorded,
    LedgerRepaired,
    LedgerRestored,
    Origin,
    PendingExpired,
    Transfer,
    TransferFlags,
)
from nostro.journal.format.codec import decode_cbor, encode_cbor
from nostro.tools.exporting.selection import CREATED, Chosen
from nostro.tools.flag_names import flag_names

Fact = TypeVar("Fact", Account, Transfer)

_FIELDS: Final[dict[type, tuple[str, ...]]] = {
    Account: ("id", "ledger", "code", "flags", "user_data_128", "user_data_64", "user_data_32"),
    Transfer: (
        "id", "debit_account_id", "credit_account_id", "amount", "pending_id", "timeout",
        "ledger", "code", "flags", "user_data_128", "user_data_64", "user_data_32",
    ),
}  # fmt: skip
_JSON_INT_MAX: Final = 2**53
_MARKED: Final[dict[str, Callable[[str], Any]]] = {
    "$bytes": bytes.fromhex,
    "$int": int,
    "$cbor": lambda text: decode_cbor(bytes.fromhex(text)),
}
_ORIGIN_FIELDS: Final = tuple(field.name for field in attrs.fields(Origin))
_FLAGS: Final = {Account: AccountFlags, Transfer: TransferFlags}
_NUMBERS: Final = frozenset({"ledger", "code", "timeout", "user_data_32"})
"""The others may have more than 53 bits, which many JSON readers lose: they are text."""


def fields_json(fact: Account | Transfer) -> dict[str, Any]:
    """The fields of an account or a transfer, but its time and balances, as JSON shows them."""
    shown: dict[str, Any] = {name: getattr(fact, name) for name in _FIELDS[type(fact)]}
    for name in shown.keys() - _NUMBERS:
        shown[name] = str(shown[name])
    return shown | {"flags": flag_names(_FLAGS[type(fact)], fact.flags)}


def from_json(kind: type[Fact], shown: dict[str, Any]) -> Fact:
    """Return the account or transfer whose fields and ``timestamp_ns`` ``shown`` holds.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: a field is missing or malformed.
    """
    flags = _FLAGS[kind]
    fields: dict[str, Any] = {
        name: shown[name] if name in _NUMBERS else int(shown[name])
        for name in _FIELDS[kind]
        if name != "flags"
    }
    fields["flags"] = functools.reduce(
        operator.or_, (flags[name.upper()] for name in shown["flags"]), flags(0)
    )
    return kind(**fields, timestamp=shown["timestamp_ns"])


def domain_event_json(event: Event) -> dict[str, Any]:
    """The fields of a domain event but its position and time; "event" is its name."""
    if isinstance(event, PendingExpired):
        return {"event": "pending_expired", "id": str(event.transfer_id)}
    if isinstance(event, EventRecorded):
        about = {"event": event.type, "version": event.version, "data": data_json(event.data)}
        return about | _origin_json(event.origin)
    if isinstance(event, CommandExecuted):
        about = {"event": "command_executed", "event_count": event.event_count}
        about |= {"command_sha256": event.command_sha256.hex(), "answer": data_json(event.answer)}
        return about | _origin_json(event.origin)
    assert isinstance(event, LedgerRestored | LedgerRepaired)
    shown: dict[str, Any] = {
        "event": "ledger_restored",
        "from_ledger_id": event.ledger_id.hex(),
        "position_kept": event.position_kept,
        "chain_hash": event.frame_sha256.hex(),
    }
    if isinstance(event, LedgerRepaired):
        shown |= {"event": "ledger_repaired", "events_lost": event.events_lost}
        shown["cause"] = event.cause
    return shown


def data_json(data: object) -> object:
    """What an event of a domain holds, as JSON shows it; :func:`data_from_json` takes it back.

    Bytes and integers beyond 53 bits become objects with one key, ``$bytes`` (hexadecimal) or
    ``$int``. So do maps that JSON cannot show: ``$cbor``, hexadecimal.
    """
    if isinstance(data, bytes):
        return {"$bytes": data.hex()}
    if isinstance(data, int) and abs(data) > _JSON_INT_MAX:
        return {"$int": str(data)}
    if isinstance(data, list):
        return [data_json(item) for item in data]
    if isinstance(data, dict):
        if any(not isinstance(key, str) or key.startswith("$") for key in data):
            return {"$cbor": encode_cbor(data).hex()}
        return {key: data_json(value) for key, value in data.items()}
    return data


def data_from_json(shown: object) -> object:
    """The data that :func:`data_json` showed.

    Raises:
        ValueError, TypeError, DecodeError: it showed no such thing.
    """
    if isinstance(shown, float):
        raise TypeError("an event holds no fractions")
    if isinstance(shown, list):
        return [data_from_json(item) for item in shown]
    if not isinstance(shown, dict):
        return shown
    for name, read in _MARKED.items():
        if set(shown) == {name}:
            return read(shown[name])
    return {key: data_from_json(value) for key, value in shown.items()}


def origin_from_json(shown: dict[str, Any]) -> Origin:
    """Who asked for it, and why, as ``shown`` says."""
    return Origin(**{name: shown[name] for name in _ORIGIN_FIELDS if name in shown})


def _origin_json(origin: Origin) -> dict[str, str]:
    return {name: value for name, value in attrs.asdict(origin).items() if value is not None}


def status_names(chosen: Chosen) -> list[str]:
    """CREATED, or what each transfer was refused with."""
    if chosen.statuses is None:
        return ["CREATED"] * len(chosen)
    return [
        "CREATED" if status == CREATED else CreateTransferStatus(status).name
        for status in chosen.statuses.tolist()
    ]


def event_cells(event: Event) -> tuple[str, str, str]:
    """Name, transfer id and the other fields as JSON; empty where there is none."""
    shown = domain_event_json(event)
    name, transfer_id = shown.pop("event"), shown.pop("id", "")
    return name, transfer_id, json.dumps(shown) if shown else ""
