"""Change events in rows, as TigerBeetle tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from nostro import ChangeEvent
from nostro.journal.model import Rows
from nostro.journal.rows import u128_words
from nostro.projections.tigerbeetle.rows.change_events import CHANGE_EVENT

_OF_THE_TRANSFER: Final = (
    "id", "amount", "pending_id", "user_data_128", "user_data_64", "user_data_32", "timeout",
    "code", "flags", "ledger",
)  # fmt: skip
_OF_AN_ACCOUNT: Final = (
    "id", "debits_pending", "debits_posted", "credits_pending", "credits_posted", "user_data_128",
    "user_data_64", "user_data_32", "code", "flags",
)  # fmt: skip


def change_rows(events: Sequence[ChangeEvent]) -> Rows:
    """``CHANGE_EVENT[n]``."""
    rows = np.zeros(len(events), CHANGE_EVENT)
    for row, event in zip(rows, events, strict=True):
        _fill(row, event.transfer, _OF_THE_TRANSFER)
        row["type"], row["timestamp"] = event.type, event.timestamp
        row["transfer_timestamp"] = event.transfer.timestamp
        for side, account in (("debit", event.debit_account), ("credit", event.credit_account)):
            _fill(row[f"{side}_account"], account, _OF_AN_ACCOUNT)
            row[f"{side}_account_timestamp"] = account.timestamp
    return rows


def _fill(row: np.void, source: object, names: Sequence[str]) -> None:
    for name in names:
        value = int(getattr(source, name))
        row[name] = u128_words(value) if row.dtype[name].shape else value
