"""Look-ups and queries of a cluster: in as many requests as it takes.

Every query is answered in order of time, and no two accounts or transfers share a time. So what
does not fit into a reply is asked for from where it ended, and nothing is met twice or left out:
what is created meanwhile is later than all there was. (But for imported transfers, which are as
early as they say.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np

from nostro.journal.model import (
    AccountBalance,
    AccountFilterFlags,
    Rows,
)
from nostro.journal.rows import field_ints, u128_words
from nostro.projections.queries.filters import Selection
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.cluster import (
    ACCOUNT_FILTER,
    QUERY_FILTER,
    REVERSED,
    id_words,
)
from nostro.projections.tigerbeetle.session.effects import Steps
from nostro.projections.tigerbeetle.session.exchange import Exchange

_U128: Final = ("<u8", (2,))
ACCOUNT_BALANCE: Final = np.dtype(
    [
        ("debits_pending", *_U128),
        ("debits_posted", *_U128),
        ("credits_pending", *_U128),
        ("credits_posted", *_U128),
        ("timestamp", "<u8"),
        ("reserved", "u1", (56,)),
    ]
)
"""TigerBeetle's balances of an account at a moment, 128 bytes."""

if ACCOUNT_BALANCE.itemsize != 128:
    raise AssertionError("the layout does not have TigerBeetle's size")


def look_up(
    exchange: Exchange, operation: Operation, ids: Sequence[int], dtype: np.dtype[np.void]
) -> Steps[Rows]:
    """``dtype[m]`` of those that are there, in the order asked for."""
    count_max = exchange.configuration.batch_events_max
    parts = []
    for start in range(0, len(ids), count_max):
        body = id_words(map(int, ids[start : start + count_max]))
        parts.append((yield from exchange.read(operation, body)))
    return np.frombuffer(b"".join(parts), dtype)


def select(
    exchange: Exchange, operation: Operation, selection: Selection | None, dtype: np.dtype[np.void]
) -> Steps[Rows]:
    """``dtype[m]``, m up to the limit: what a sound filter selects, by time."""
    parts: list[Rows] = []
    while selection is not None:
        limit = min(selection.limit, BATCH_EVENTS_MAX)
        body = _filter(attrs.evolve(selection, limit=limit))
        page = np.frombuffer((yield from exchange.read(operation, body)), dtype)
        parts.append(page)
        is_last = len(page) < limit or len(page) == selection.limit
        selection = None if is_last else _after(selection, page)
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def balances_from_rows(rows: Rows) -> list[AccountBalance]:
    """The balances of ``ACCOUNT_BALANCE[n]``."""
    names = "debits_pending", "debits_posted", "credits_pending", "credits_posted", "timestamp"
    columns = [field_ints(rows[name]) for name in names]
    return [
        AccountBalance(**dict(zip(names, values, strict=True)))
        for values in zip(*columns, strict=True)
    ]


def _after(selection: Selection, page: Rows) -> Selection | None:
    """What is still wanted of the same after ``page``."""
    last, limit = int(page["timestamp"][-1]), selection.limit - len(page)
    if selection.is_reversed:
        following = attrs.evolve(selection, timestamp_max=last - 1, limit=limit)
    else:
        following = attrs.evolve(selection, timestamp_min=last + 1, limit=limit)
    return following if following.timestamp_min <= following.timestamp_max else None


def _filter(selection: Selection) -> Rows:
    """``ACCOUNT_FILTER[1]`` or ``QUERY_FILTER[1]``."""
    rows = np.zeros(1, ACCOUNT_FILTER if selection.sides else QUERY_FILTER)
    flags = REVERSED if selection.is_reversed else 0
    if selection.sides:
        rows["account_id"] = u128_words(selection.account_id)
        flags = AccountFilterFlags.REVERSED if selection.is_reversed else 0
        for side in selection.sides:
            flags |= _SIDES[side]
    for field, value in selection.values.items():
        rows[field] = u128_words(value) if rows[field].ndim == 2 else value
    rows["timestamp_min"] = selection.timestamp_min
    rows["timestamp_max"] = selection.timestamp_max
    rows["limit"] = selection.limit
    rows["flags"] = flags
    return rows


_SIDES: Final = {
    "debit_account_id": AccountFilterFlags.DEBITS,
    "credit_account_id": AccountFilterFlags.CREDITS,
}
