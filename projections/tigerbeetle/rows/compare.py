"""Comparing rows of the journal with rows of a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.rules.values import CLOSED
from nostro.projections.tigerbeetle.errors import Difference, RowsDiffer
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.translation import BALANCES, INHERITED, VOID


def ids_of(rows: Rows, field: str = "id") -> list[int]:
    """The ids as Python ints."""
    return [low | high << 64 for low, high in rows[field].tolist()]


def differences(
    kind: RecordKind, journal: Rows, cluster: Rows, *, balances: bool = False
) -> Iterator[Difference]:
    """Yield the fields that differ between rows that stand in the same order.

    Args:
        journal: ``ACCOUNT[n]`` or ``TRANSFER[n]`` as :func:`mirrored` gives them.
        cluster: the rows of the same ids.
        balances: also compare the balances of accounts and whether they are closed; otherwise
            accounts are compared as they were created.
    """
    if journal.tobytes() == cluster.tobytes():
        return
    for ours, theirs in zip(journal, cluster, strict=True):
        if ours.tobytes() == theirs.tobytes():
            continue
        [id_] = ids_of(ours.reshape(1))
        for field in journal.dtype.names or ():
            ignored = _ignored(kind, ours, field, balances=balances)
            mine, other = _plain(ours[field]), _plain(theirs[field])
            if field == "flags" and kind is RecordKind.ACCOUNTS and not balances:
                mine, other = mine & ~CLOSED, other & ~CLOSED
            if mine != other and not ignored:
                yield Difference(EVENT_KINDS[kind].name, id_, field, mine, other)


def require_equal(kind: RecordKind, journal: Rows, cluster: Rows, *, position: int) -> None:
    """Accounts are compared as they were created.

    Raises:
        RowsDiffer: they are not the same.
    """
    if found := tuple(differences(kind, journal, cluster)):
        raise RowsDiffer(position, found)


def _ignored(kind: RecordKind, ours: np.void, field: str, *, balances: bool) -> bool:
    if kind is RecordKind.ACCOUNTS:
        return not balances and field in BALANCES
    return bool(
        field in INHERITED
        and ours["flags"] & VOID
        and not ours["ledger"]  # an expiry's, which names nothing but the pending transfer
    )


def _plain(value: np.generic | np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> int:
    if isinstance(value, np.ndarray):
        low, high = value.tolist()
        return int(low) | int(high) << 64
    return int(value)
