"""Answers to requests: results in rows -> results as objects."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import InvalidField
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import (
    AccountBalance,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    Rows,
)
from nostro.journal.rows import account_rows, transfer_rows

Balances: TypeAlias = tuple[int, int, int, int]
"""Debits pending and posted, credits pending and posted."""
R = TypeVar("R")
S = TypeVar("S", bound=enum.IntEnum)


@attrs.frozen
class TransferWithBalances(CreateTransferResult):
    """A result, and for a transfer that was created the balances of its accounts just after it."""

    debit_balance: AccountBalance | None = None
    credit_balance: AccountBalance | None = None


def results_as(
    make: Callable[[int, S], R], statuses: type[S]
) -> Callable[[npt.NDArray[np.void]], list[R]]:
    """Makes objects of ``CREATE_RESULT[n]``: ``make`` is called with timestamp (ns) and status."""
    by_number = {int(status): status for status in statuses}  # an enum takes longer than a result
    return lambda results: [
        make(timestamp, by_number[status]) for timestamp, status, _ in results.tolist()
    ]


RESULTS: Final[dict[RecordKind, Callable[[npt.NDArray[np.void]], list[Any]]]] = {
    RecordKind.ACCOUNTS: results_as(CreateAccountResult, CreateAccountStatus),
    RecordKind.TRANSFERS: results_as(CreateTransferResult, CreateTransferStatus),
}
"""Makes the results of ``CREATE_RESULT[n]``, for each kind of request."""


def event_rows(kind: RecordKind, events: Any, *, balances: bool) -> Rows:
    """``ACCOUNT[n]`` or ``TRANSFER[n]`` of a request.

    Raises:
        InvalidField, BatchTooLarge: it is not such a request, or asks for rows with balances.
    """
    rows = account_rows(events) if kind is RecordKind.ACCOUNTS else transfer_rows(events)
    if balances and isinstance(events, np.ndarray):
        raise InvalidField("balances", balances, "needs a list of transfers, not an array")
    return rows


def with_balances(
    results: npt.NDArray[np.void], balances: Iterable[tuple[Balances, ...]]
) -> list[TransferWithBalances]:
    """The same with balances, which are those of what was created, in order."""
    of_created = iter(balances)

    def answer(timestamp: int, status: CreateTransferStatus) -> TransferWithBalances:
        after: tuple[AccountBalance, ...] = ()
        if status is CreateTransferStatus.CREATED:
            after = tuple(AccountBalance(*each, timestamp) for each in next(of_created))
        return TransferWithBalances(timestamp, status, *after)

    return results_as(answer, CreateTransferStatus)(results)
