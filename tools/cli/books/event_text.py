"""Events as a line of text, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from nostro.journal import (
    AccountCreated,
    CommandExecuted,
    Event,
    EventRecorded,
    LedgerRestored,
    PendingExpired,
    TransferCreated,
    TransferFlags,
    TransferRefused,
)
from nostro.tools.cli.terminal import screen
from nostro.tools.exporting.naming import data_json, domain_event_json, fields_json
from nostro.tools.flag_names import flag_names
from nostro.tools.times import format_plain, format_rfc3339

_SHORT_ID_LENGTH: Final = 14


def event_line(event: Event, *, short: bool = False) -> str:
    """Return the event as one line of text: position, time, and what happened.

    ``short`` abbreviates long ids in the middle, for the eye only.
    """
    show = _short_id if short else screen.id_text
    return f"{event.position:>9}  {format_plain(event.timestamp)}  {_what(event, show)}"


def _short_id(id: int) -> str:
    text = screen.id_text(id)
    return text if len(text) <= _SHORT_ID_LENGTH else f"{text[:6]}..{text[-6:]}"


def _what(event: Event, show: Callable[[int], str]) -> str:
    if isinstance(event, AccountCreated):
        account = event.account
        return f"account {show(account.id)} ledger {account.ledger} code {account.code}"
    if isinstance(event, TransferCreated | TransferRefused):
        transfer = event.transfer
        debit = show(transfer.debit_account_id)
        credit = show(transfer.credit_account_id)
        text = f"{debit} -> {credit}  {transfer.amount}"
        flags = transfer.flags & ~TransferFlags.IMPORTED
        if flags:
            text += f"  {' '.join(flag_names(TransferFlags, flags))}"
        return (
            f"{text}  REFUSED {event.status.name}" if isinstance(event, TransferRefused) else text
        )
    if isinstance(event, PendingExpired):
        return f"pending {show(event.transfer_id)} expired"
    if isinstance(event, EventRecorded):
        return f"{event.type}  {json.dumps(data_json(event.data))}"
    if isinstance(event, CommandExecuted):
        key = "" if event.origin.key is None else f" {event.origin.key}"
        return f"command{key} executed"
    origin = f"from ledger {event.ledger_id.hex()}, up to position {event.position_kept:,}"
    if isinstance(event, LedgerRestored):
        return f"restored {origin}"
    return f"repaired {origin}, {event.events_lost:,} events lost: {event.cause}"


def event_json(event: Event) -> dict[str, Any]:
    """Return the event as JSON shows it; ids and amounts are text, amounts unscaled."""
    shown: dict[str, Any] = {
        "position": event.position,
        "timestamp": format_rfc3339(event.timestamp),
        "timestamp_ns": event.timestamp,
    }
    if isinstance(event, AccountCreated):
        return {**shown, "event": "account_created", **fields_json(event.account)}
    if isinstance(event, TransferRefused):
        refused = {"event": "transfer_refused", "status": event.status.name}
        return {**shown, **refused, **fields_json(event.transfer)}
    if isinstance(event, TransferCreated):
        return {**shown, "event": "transfer_created", **fields_json(event.transfer)}
    return {**shown, **domain_event_json(event)}
