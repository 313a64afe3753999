"""What the journal's events look like in a cluster: the same rows, imported with their times.

* The imported flag is set, so that the cluster keeps the timestamps.
* A timeout becomes 0, which imported transfers must have; when it runs out, the journal says so,
  and that :class:`~journal.PendingExpired` becomes a transfer that voids the pending one, with an
  id made of the pending one's.
* Refused transfers are left out: they moved nothing. That their ids are used up is known to the
  journal only.
* A chain longer than a message is cut, for all of it did take effect: the linked flag of the last
  event before a cut is cleared, always in the same places.

Resolved amounts are in the journal, so balancing and posting transfers come out as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.model import AMOUNT_MAX, TRANSFER, AccountFlags, Rows, TransferFlags
from nostro.journal.reading.reader import Record
from nostro.journal.rows import u128_words
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX

LINKED: Final = int(TransferFlags.LINKED)
IMPORTED_ACCOUNT: Final = int(AccountFlags.IMPORTED)
IMPORTED_TRANSFER: Final = int(TransferFlags.IMPORTED)
VOID: Final = int(TransferFlags.VOID_PENDING_TRANSFER)
TAKEN_OVER: Final = (
    "debit_account_id", "credit_account_id", "amount", "user_data_128", "user_data_64",
    "user_data_32", "ledger", "code",
)  # fmt: skip
"""What a transfer that voids takes from the pending one, where it says nothing itself."""


class Mirrored(NamedTuple):
    """What is to be created in a cluster for one record."""

    kind: RecordKind
    """ACCOUNTS or TRANSFERS."""
    rows: Rows
    """``ACCOUNT[n]`` or ``TRANSFER[n]``, n > 0, no chain open at the end."""


def mirrored(record: Record, *, chain_events_max: int = BATCH_EVENTS_MAX) -> Mirrored | None:
    """What ``record`` becomes; None when there is nothing in it for a cluster.

    Args:
        chain_events_max: chains longer than this are cut; what one message may hold.

    Raises:
        Damage: the record cannot be decoded.
    """
    if record.kind is RecordKind.EVENTS:
        voids = _voids(record)
        return Mirrored(RecordKind.TRANSFERS, voids) if len(voids) else None
    rows, statuses = record.rows, record.statuses
    rows = rows.copy() if statuses is None else rows[statuses == CREATED]
    if not len(rows):
        return None
    if record.kind is RecordKind.ACCOUNTS:
        rows["flags"] |= IMPORTED_ACCOUNT
    else:
        rows["flags"] |= IMPORTED_TRANSFER
        rows["timeout"] = 0
    if len(rows) > chain_events_max:
        cut_long_chains(rows, chain_events_max)
    return Mirrored(record.kind, rows)


def expiry_id(pending_id: int) -> int:
    """The id, in a cluster, of the transfer that voids a pending one whose time ran out."""
    name = b"nostro: expiry of " + pending_id.to_bytes(16, "big")
    id_ = int.from_bytes(hashlib.sha256(name).digest()[:16], "big")
    return id_ if 0 < id_ < AMOUNT_MAX else 1


def taken_over(voids: Rows, pending: Rows) -> Rows:
    """What the cluster makes of voids that say nothing themselves.

    Args:
        voids: ``TRANSFER[n]``.
        pending: the pending transfers that they void, in the same order.
    """
    rows = voids.copy()
    for field in TAKEN_OVER:
        rows[field] = pending[field]
    return rows


def pieces(rows: Rows, count_max: int) -> Iterator[Rows]:
    """The rows in order, at most ``count_max`` at a time; no chain may be longer than that."""
    at = 0
    while len(rows) - at > count_max:
        ends = np.flatnonzero(rows["flags"][at : at + count_max] & LINKED == 0)
        end = at + int(ends[-1]) + 1
        yield rows[at:end]
        at = end
    yield rows[at:]


def _voids(record: Record) -> Rows:
    """``TRANSFER[n]``, one for each pending transfer that expired."""
    expired = [event for event in record.events() if isinstance(event, PendingExpired)]
    rows = np.zeros(len(expired), TRANSFER)
    for row, event in zip(rows, expired, strict=True):
        for field, id_ in (
            ("id", expiry_id(event.transfer_id)),
            ("pending_id", event.transfer_id),
        ):
            row[field] = u128_words(id_)
        row["flags"] = VOID | IMPORTED_TRANSFER
        row["timestamp"] = event.timestamp
    return rows


def cut_long_chains(rows: Rows, count_max: int) -> None:
    """Clear the linked flag of every ``count_max``-th row of a chain, but at its end."""
    linked = rows["flags"] & LINKED != 0
    if not linked.any():
        return
    starts = np.flatnonzero(linked & ~np.concatenate(([False], linked[:-1])))
    ends = np.flatnonzero(~linked & np.concatenate(([False], linked[:-1]))) + 1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rows["flags"][start + count_max - 1 : end - 1 : count_max] ^= LINKED
