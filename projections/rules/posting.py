"""What a transfer that took effect does to its two accounts. Pure functions on plain values.

:mod:`ledger_state` does the same by columns for large records; a test holds them together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.projections.rules.values import (
    CLOSED,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    PENDING,
    POST,
    RESOLVING,
    AccountState,
    TransferRow,
)


class AccountSlots(NamedTuple):
    """Which accounts many transfers are between."""

    debits: npt.NDArray[np.int64]
    """``i64[n]``."""
    credits: npt.NDArray[np.int64]
    """``i64[n]``."""


class AppliedTransfer(NamedTuple):
    """A transfer that took effect or expired, with its accounts as they are just after it."""

    row: TransferRow
    """For what expired, the pending transfer."""
    debit: AccountState
    credit: AccountState
    position: int
    """Where the event stands in the journal."""
    timestamp: int
    """When it happened, ns; for what expired, later than the row's."""


SlotPosting = tuple[int, int, int]
"""The whole effect of a transfer without flags: debit slot, credit slot, an amount below 2**64."""

Precomputed = AccountSlots | list[SlotPosting]
"""What deciding on transfers found out and folding needs again: the accounts of many, or the whole
effect of a few."""


def post(
    row: TransferRow, pending: TransferRow | None, debit: AccountState, credit: AccountState
) -> None:
    """Change the accounts as the resolved transfer ``row`` does.

    Args:
        pending: the transfer that ``row`` posts or voids, else None.
    """
    if row.flags & RESOLVING:
        if pending is None:
            raise AssertionError("a transfer resolves a pending one that is not there")
        if row.flags & POST:
            debit.debits_pending -= pending.amount
            credit.credits_pending -= pending.amount
            debit.debits_posted += row.amount
            credit.credits_posted += row.amount
        else:
            release(pending, debit, credit)
    elif row.flags & PENDING:
        debit.debits_pending += row.amount
        credit.credits_pending += row.amount
        if row.flags & CLOSING_DEBIT:
            debit.flags |= CLOSED
        if row.flags & CLOSING_CREDIT:
            credit.flags |= CLOSED
    else:
        debit.debits_posted += row.amount
        credit.credits_posted += row.amount


def release(pending: TransferRow, debit: AccountState, credit: AccountState) -> None:
    """Give back what ``pending`` reserved, as voiding and expiring do; reopen what it closed."""
    debit.debits_pending -= pending.amount
    credit.credits_pending -= pending.amount
    if pending.flags & CLOSING_DEBIT:
        debit.flags &= ~CLOSED
    if pending.flags & CLOSING_CREDIT:
        credit.flags &= ~CLOSED
