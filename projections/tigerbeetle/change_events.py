"""TigerBeetle's change events (operation 137), for what expired, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from journal.codec import Rows
from projections.changes import ChangeEventType

_ACCOUNT: Final[list[tuple[str, Any]]] = [
    ("id", ("<u8", (2,))),
    ("debits_pending", ("<u8", (2,))),
    ("debits_posted", ("<u8", (2,))),
    ("credits_pending", ("<u8", (2,))),
    ("credits_posted", ("<u8", (2,))),
    ("user_data_128", ("<u8", (2,))),
    ("user_data_64", "<u8"),
    ("user_data_32", "<u4"),
    ("code", "<u2"),
    ("flags", "<u2"),
]
CHANGE_EVENT: Final = np.dtype(
    [
        ("id", "<u8", (2,)),
        ("amount", "<u8", (2,)),
        ("pending_id", "<u8", (2,)),
        ("user_data_128", "<u8", (2,)),
        ("user_data_64", "<u8"),
        ("user_data_32", "<u4"),
        ("timeout", "<u4"),
        ("code", "<u2"),
        ("flags", "<u2"),
        ("ledger", "<u4"),
        ("type", "u1"),
        ("reserved", "u1", (39,)),
        ("debit_account", _ACCOUNT),
        ("credit_account", _ACCOUNT),
        ("timestamp", "<u8"),
        ("transfer_timestamp", "<u8"),
        ("debit_account_timestamp", "<u8"),
        ("credit_account_timestamp", "<u8"),
    ]
)
CHANGE_FILTER: Final = np.dtype(
    [
        ("timestamp_min", "<u8"),
        ("timestamp_max", "<u8"),
        ("limit", "<u4"),
        ("reserved", "u1", (44,)),
    ]
)
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


def expired(events: Rows) -> Iterator[tuple[int, int]]:
    """(Pending transfer's id, when it expired in ns) of those of ``CHANGE_EVENT[n]`` that did."""
    chosen = events[events["type"] == ChangeEventType.TWO_PHASE_EXPIRED]
    for (low, high), timestamp in zip(
        chosen["id"].tolist(), chosen["timestamp"].tolist(), strict=True
    ):
        yield low | high << 64, timestamp
