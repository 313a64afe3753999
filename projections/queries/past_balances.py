"""Past balances of accounts, read from the indexes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.model import TIMESTAMP_MAX, Rows
from nostro.projections.indexes.posting_index import SIDES, PostingView
from nostro.projections.indexes.reservation_index import ReservationView
from nostro.projections.indexes.running_totals import Totals
from nostro.projections.rules.values import CLOSED
from nostro.projections.state.accounts import (
    CREDITS_PENDING,
    CREDITS_POSTED,
    DEBITS_PENDING,
    DEBITS_POSTED,
    WORDS,
    Accounts,
)
from nostro.projections.state.reservations import Quantity

Positions = npt.NDArray[np.int64]

_END: Final = np.array([2**62])
"""After any event."""


@attrs.frozen
class PastPoint:
    """A point in the past: the events up to a position that are not later than a timestamp."""

    position: int
    """The last event included."""
    timestamp: int = TIMESTAMP_MAX
    """The latest timestamp included, ns."""

    def slots(self, slots: Iterable[int | None], accounts: Accounts) -> list[int]:
        """Which of these accounts existed."""
        count = accounts.count_at(self.position)
        times = accounts.rows["timestamp"]
        return [
            slot for slot in slots
            if slot is not None and slot < count and int(times[slot]) <= self.timestamp
        ]  # fmt: skip

    def last_transfer(self, postings: PostingView) -> int:
        """The position of the last transfer included, or of a later event of another kind."""
        # Transfers are in order of time: none before it is later, and none after it earlier.
        if self.timestamp == TIMESTAMP_MAX:
            return self.position
        return min(self.position, postings.position_at(self.timestamp))


class Balances(NamedTuple):
    """An account's balances at some points in time, one entry each, and whether it was closed."""

    debits_pending: Totals
    debits_posted: Totals
    credits_pending: Totals
    credits_posted: Totals
    closed: Totals


def balances_at(
    slot: int,
    positions: Positions,
    postings: PostingView,
    reservations: ReservationView,
    *,
    expiry_positions: Positions | None = None,
    timestamp_max: int = TIMESTAMP_MAX,
) -> Balances:
    """The balances of the account in ``slot`` after each of some positions.

    Args:
        positions: the last transfer that counts, rising.
        expiry_positions: the last expiry that counts, if it is another.
        timestamp_max: the latest expiry that counts, ns.
    """
    debits, credits = (postings.posted(side, slot, positions) for side in SIDES)
    expiries = positions if expiry_positions is None else expiry_positions
    debits_pending, credits_pending, closed = (
        reservations.total(slot, quantity, positions, expiries, timestamp_max)
        for quantity in Quantity
    )
    return Balances(debits_pending, debits, credits_pending, credits, closed)


def past_accounts(
    rows: Rows,
    slots: list[int],
    point: PastPoint,
    postings: PostingView,
    reservations: ReservationView,
) -> Rows:
    """``ACCOUNT[n]`` as they were at ``point``.

    Args:
        rows: the same accounts now, read together with the views.
    """
    words = rows.view(np.uint64).reshape(-1, WORDS)
    transfers = np.array([point.last_transfer(postings)])
    events = np.array([point.position])
    for number, slot in enumerate(slots):
        found = balances_at(
            slot, transfers, postings, reservations,
            expiry_positions=events, timestamp_max=point.timestamp,
        )  # fmt: skip
        for column, totals in zip(
            (DEBITS_PENDING, DEBITS_POSTED, CREDITS_PENDING, CREDITS_POSTED), found, strict=False
        ):
            words[number, column] = totals.low[0]
            words[number, column + 1] = totals.filled()[0]
        now = reservations.total(slot, Quantity.CLOSED, _END, _END, TIMESTAMP_MAX)
        if now.low[0] != found.closed.low[0]:
            rows["flags"][number] ^= CLOSED
    return rows
