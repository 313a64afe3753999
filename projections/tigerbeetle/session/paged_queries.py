"""Look-ups and queries of a cluster, in as many requests as they need.

The cluster answers every query in order of time, and no two accounts or transfers share a time. The
next request starts where the last reply ended, so no row is repeated or missed: rows created
meanwhile are later than all others. (Imported transfers are the exception; they keep their times.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np

from nostro.journal.model import ACCOUNT, AccountBalance, AccountFilterFlags, Rows
from nostro.journal.rows import field_ints, u128_words
from nostro.projections.queries.filters import Selection
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.rows.translation import BALANCES
from nostro.projections.tigerbeetle.session.cluster import (
    ACCOUNT_FILTER,
    QUERY_FILTER,
    REVERSED,
    id_words,
)
from nostro.projections.tigerbeetle.session.effects import Effects
from nostro.projections.tigerbeetle.session.retrying_client import RetryingClient

ACCOUNT_BALANCE: Final = np.dtype(
    [*((name, ACCOUNT[name]) for name in (*BALANCES, "timestamp")), ("reserved", "u1", (56,))]
)
"""TigerBeetle's balances of an account at one time, 128 bytes."""

if ACCOUNT_BALANCE.itemsize != 128:
    raise AssertionError("the layout does not have TigerBeetle's size")


def look_up(
    client: RetryingClient, operation: Operation, ids: Sequence[int], dtype: np.dtype[np.void]
) -> Effects[Rows]:
    """``dtype[m]`` of the ids that exist, in the order given."""
    count_max = client.configuration.batch_events_max
    parts = []
    for start in range(0, len(ids), count_max):
        body = id_words(map(int, ids[start : start + count_max]))
        parts.append((yield from client.read(operation, body)))
    return np.frombuffer(b"".join(parts), dtype)


def select(
    client: RetryingClient,
    operation: Operation,
    selection: Selection | None,
    dtype: np.dtype[np.void],
) -> Effects[Rows]:
    """``dtype[m]``, m up to the limit: the rows of a valid filter, by time."""
    parts: list[Rows] = []
    while selection is not None:
        limit = min(selection.limit, BATCH_EVENTS_MAX)
        body = _filter(attrs.evolve(selection, limit=limit))
        page = np.frombuffer((yield from client.read(operation, body)), dtype)
        parts.append(page)
        is_last = len(page) < limit or len(page) == selection.limit
        selection = None if is_last else _after(selection, page)
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def balances_from_rows(rows: Rows) -> list[AccountBalance]:
    """The balances of ``ACCOUNT_BALANCE[n]``."""
    names = *BALANCES, "timestamp"
    columns = [field_ints(rows[name]) for name in names]
    return [
        AccountBalance(**dict(zip(names, values, strict=True)))
        for values in zip(*columns, strict=True)
    ]


def _after(selection: Selection, page: Rows) -> Selection | None:
    """The rest of ``selection`` after ``page``; None if it is complete."""
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
