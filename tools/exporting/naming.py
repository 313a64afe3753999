"""What events, statuses and flags are called in files."""

from __future__ import annotations

import json
from typing import Any

from nostro.journal import (
    Account,
    AccountFlags,
    CreateTransferStatus,
    Event,
    LedgerRepaired,
    LedgerRestored,
    PendingExpired,
)
from nostro.tools.exporting.selection import CREATED, Chosen
from nostro.tools.flag_names import flag_names


def account_created_json(account: Account) -> dict[str, Any]:
    """The fields of the event that an account was created, but its position and time."""
    return {
        "event": "account_created",
        "id": str(account.id),
        "ledger": account.ledger,
        "code": account.code,
        "flags": flag_names(AccountFlags, account.flags),
        "user_data_128": str(account.user_data_128),
        "user_data_64": str(account.user_data_64),
        "user_data_32": account.user_data_32,
    }


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
