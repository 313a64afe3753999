"""Translation of the journal's events into a cluster's rows and back: imported, with their times.

* The imported flag is set: the cluster keeps the timestamps.
* A timeout becomes 0, which imported transfers must have. When it ends, the journal records a
  :class:`~journal.PendingExpired`, which becomes a transfer that voids the pending one. Its id
  derives from the pending transfer's.
* Refused transfers are left out: they moved nothing. Only the journal knows that their ids are
  used up.
* A chain longer than a message is cut, because all of it took effect: the linked flag of the last
  event before a cut is cleared, always in the same places.

The journal holds resolved amounts, so balancing and posting transfers keep theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.model import AMOUNT_MAX, TRANSFER, AccountFlags, Rows, TransferFlags
from nostro.journal.reading.reader import RecordPart
from nostro.journal.rows import field_ints, u128_words
from nostro.projections.rules.values import CLOSED
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX
from nostro.projections.tigerbeetle.errors import ChainTooLong

BALANCES: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
LINKED: Final = int(TransferFlags.LINKED)
IMPORTED_ACCOUNT: Final = int(AccountFlags.IMPORTED)
IMPORTED_TRANSFER: Final = int(TransferFlags.IMPORTED)
VOID: Final = int(TransferFlags.VOID_PENDING_TRANSFER)
INHERITED: Final = (
    "debit_account_id", "credit_account_id", "amount", "user_data_128", "user_data_64",
    "user_data_32", "ledger", "code",
)  # fmt: skip
"""Fields that a transfer that voids takes from the pending one where its own are 0."""


class Mirrored(NamedTuple):
    """The rows to create in a cluster for the events of one kind in a record."""

    kind: RecordKind
    """ACCOUNTS or TRANSFERS."""
    rows: Rows
    """``ACCOUNT[n]`` or ``TRANSFER[n]``, n > 0, no chain open at the end."""


def mirrored(part: RecordPart, *, chain_events_max: int = BATCH_EVENTS_MAX) -> Mirrored | None:
    """The rows for a part of a record; None if it has nothing for a cluster.

    Args:
        chain_events_max: cut chains that are longer; one message holds this many events.

    Raises:
        Damage: the record cannot be decoded.
    """
    if part.kind is RecordKind.EVENTS:
        voids = expiry_voids(
            (event.transfer_id, event.timestamp)
            for event in part.events()
            if isinstance(event, PendingExpired)
        )
        return Mirrored(RecordKind.TRANSFERS, voids) if len(voids) else None
    rows, statuses = part.rows, part.statuses
    rows = rows.copy() if statuses is None else rows[statuses == CREATED]
    if not len(rows):
        return None
    if part.kind is RecordKind.ACCOUNTS:
        rows["flags"] |= IMPORTED_ACCOUNT
    else:
        rows["flags"] |= IMPORTED_TRANSFER
        rows["timeout"] = 0
    if len(rows) > chain_events_max:
        cut_long_chains(rows, chain_events_max)
    return Mirrored(part.kind, rows)


def expiry_id(pending_id: int) -> int:
    """The id, in a cluster, of the transfer that voids an expired pending transfer."""
    name = b"nostro: expiry of " + pending_id.to_bytes(16, "big")
    id_ = int.from_bytes(hashlib.sha256(name).digest()[:16], "big")
    return id_ if 0 < id_ < AMOUNT_MAX else 1


def with_inherited_fields(voids: Rows, pending: Rows) -> Rows:
    """Voids with the fields that the cluster fills in from the pending transfers.

    Args:
        voids: ``TRANSFER[n]`` whose own fields are 0.
        pending: the pending transfers that they void, in the same order.
    """
    rows = voids.copy()
    for field in INHERITED:
        rows[field] = pending[field]
    return rows


def pieces(rows: Rows, count_max: int) -> Iterator[Rows]:
    """The rows in order, at most ``count_max`` at a time, no chain cut.

    Raises:
        ChainTooLong: a chain is longer than that.
    """
    at = 0
    while len(rows) - at > count_max:
        ends = np.flatnonzero(rows["flags"][at : at + count_max] & LINKED == 0)
        if not len(ends):
            raise ChainTooLong(at, count_max)
        end = at + int(ends[-1]) + 1
        yield rows[at:end]
        at = end
    yield rows[at:]


def cut_long_chains(rows: Rows, count_max: int) -> None:
    """Clear the linked flag of every ``count_max``-th row of a chain, but at its end."""
    linked = rows["flags"] & LINKED != 0
    if not linked.any():
        return
    starts = np.flatnonzero(linked & ~np.concatenate(([False], linked[:-1])))
    ends = np.flatnonzero(~linked & np.concatenate(([False], linked[:-1]))) + 1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rows["flags"][start + count_max - 1 : end - 1 : count_max] ^= LINKED


def imported_accounts(rows: Rows, has_transfers: Callable[[int], bool]) -> Rows:
    """``ACCOUNT[n]`` of a cluster as a journal imports them: as they were created.

    Args:
        rows: as the cluster holds them now.
        has_transfers: whether a transfer names an account. A transfer closed it, then; an account
            that was created closed can never have any.
    """
    rows = rows.copy()
    rows["flags"] |= IMPORTED_ACCOUNT
    for name in BALANCES:
        rows[name] = 0
    for at in np.flatnonzero(rows["flags"] & CLOSED).tolist():
        if has_transfers(field_ints(rows["id"][at : at + 1])[0]):
            rows["flags"][at] ^= CLOSED
    return rows


def imported_transfers(rows: Rows) -> Rows:
    """``TRANSFER[n]`` of a cluster as a journal imports them."""
    rows = rows.copy()
    rows["flags"] |= IMPORTED_TRANSFER
    rows["timeout"] = 0
    return rows


def expiry_voids(expiries: Iterable[tuple[int, int]]) -> Rows:
    """``TRANSFER[n]`` that void pending transfers, given as (id, time of expiry in ns)."""
    found = list(expiries)
    rows = np.zeros(len(found), TRANSFER)
    for row, (id_, timestamp) in zip(rows, found, strict=True):
        row["id"] = u128_words(expiry_id(id_))
        row["pending_id"] = u128_words(id_)
        row["flags"] = VOID | IMPORTED_TRANSFER
        row["timestamp"] = timestamp
    return rows
