"""The names of events, statuses and fields in files, and the way back from them."""

from __future__ import annotations

import functools
import json
import operator
from typing import Any, Final, TypeVar

from nostro.journal import (
    Account,
    AccountFlags,
    CreateTransferStatus,
    Event,
    LedgerRepaired,
    LedgerRestored,
    PendingExpired,
    Transfer,
    TransferFlags,
)
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
