"""TigerBeetle's change events (operation 137): what they tell, and what expired, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from nostro.journal.model import ACCOUNT, TRANSFER, Account, Rows, Transfer
from nostro.journal.rows import accounts_from_rows, field_ints, transfers_from_rows
from nostro.projections.pipeline.answers import Balances
from nostro.projections.queries.change_events import ChangeEvent, ChangeEventType
from nostro.projections.tigerbeetle.operations import BY_TIME
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import BALANCES

_ACCOUNT: Final = (
    "id", *BALANCES, "user_data_128", "user_data_64", "user_data_32", "code", "flags",
)  # fmt: skip
_TRANSFER: Final = (
    "id", "amount", "pending_id", "user_data_128", "user_data_64", "user_data_32", "timeout",
    "code", "flags", "ledger",
)  # fmt: skip
_ACCOUNT_FIELDS: Final = [(name, ACCOUNT[name]) for name in _ACCOUNT]
CHANGE_EVENT: Final = np.dtype(
    [
        *((name, TRANSFER[name]) for name in _TRANSFER),
        ("type", "u1"),
        ("reserved", "u1", (39,)),
        ("debit_account", _ACCOUNT_FIELDS),
        ("credit_account", _ACCOUNT_FIELDS),
        ("timestamp", "<u8"),
        ("transfer_timestamp", "<u8"),
        ("debit_account_timestamp", "<u8"),
        ("credit_account_timestamp", "<u8"),
    ]
)
CHANGE_FILTER: Final = np.dtype([*BY_TIME, ("reserved", "u1", (44,))])
if CHANGE_EVENT.itemsize != 384 or CHANGE_FILTER.itemsize != 64:
    raise AssertionError("a change event's layout does not have TigerBeetle's size")

CHANGE_EVENTS_MAX: Final = 2_729
"""What a message holds."""


def changes_between(
    timestamp_min: int, timestamp_max: int, *, limit: int = CHANGE_EVENTS_MAX
) -> Rows:
    """``CHANGE_FILTER[1]``; both ends are included, ns."""
    query = np.zeros(1, CHANGE_FILTER)
    query["timestamp_min"] = timestamp_min
    query["timestamp_max"] = timestamp_max
    query["limit"] = limit
    return query


def events_from_rows(rows: Rows) -> list[ChangeEvent]:
    """The change events of ``CHANGE_EVENT[n]``."""
    moments = zip(rows["timestamp"].tolist(), rows["type"].tolist(), strict=True)
    parts = zip(
        moments, _transfers(rows), _accounts(rows, "debit"), _accounts(rows, "credit"), strict=True
    )
    return [
        ChangeEvent(0, timestamp, ChangeEventType(kind), transfer, debit, credit)
        for (timestamp, kind), transfer, debit, credit in parts
    ]


def balances_by_time(rows: Rows) -> dict[int, tuple[Balances, ...]]:
    """Of both accounts of ``CHANGE_EVENT[n]`` just after each, by timestamp."""
    sides = (_balances(rows["debit_account"]), _balances(rows["credit_account"]))
    return dict(zip(rows["timestamp"].tolist(), zip(*sides, strict=True), strict=True))


def expired(events: Rows) -> Iterator[tuple[int, int]]:
    """(Pending transfer's id, when it expired in ns) of those of ``CHANGE_EVENT[n]`` that did."""
    chosen = events[events["type"] == ChangeEventType.TWO_PHASE_EXPIRED]
    return zip(ids_of(chosen), chosen["timestamp"].tolist(), strict=True)


def _balances(accounts: Rows) -> Iterator[Balances]:
    return zip(*(field_ints(accounts[name]) for name in BALANCES), strict=True)


def _transfers(rows: Rows) -> list[Transfer]:
    transfers = np.zeros(len(rows), TRANSFER)
    for name in _TRANSFER:
        transfers[name] = rows[name]
    for side in ("debit", "credit"):
        transfers[f"{side}_account_id"] = rows[f"{side}_account"]["id"]
    transfers["timestamp"] = rows["transfer_timestamp"]
    return transfers_from_rows(transfers)


def _accounts(rows: Rows, side: str) -> list[Account]:
    accounts = np.zeros(len(rows), ACCOUNT)
    for name in _ACCOUNT:
        accounts[name] = rows[f"{side}_account"][name]
    accounts["ledger"] = rows["ledger"]
    accounts["timestamp"] = rows[f"{side}_account_timestamp"]
    return accounts_from_rows(accounts)
