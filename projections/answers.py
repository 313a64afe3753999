"""Answers to requests: results in rows -> results as objects."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from journal.model import (
    AccountBalance,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
)
from projections.posting import Posting

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


account_results: Final = results_as(CreateAccountResult, CreateAccountStatus)
transfer_results: Final = results_as(CreateTransferResult, CreateTransferStatus)


def with_balances(
    results: npt.NDArray[np.void], postings: Sequence[Posting]
) -> list[TransferWithBalances]:
    """The same with balances; ``postings`` are of those that were created, in order."""
    created = iter(postings)

    def answer(timestamp: int, status: CreateTransferStatus) -> TransferWithBalances:
        balances: tuple[AccountBalance, ...] = ()
        if status is CreateTransferStatus.CREATED:
            _, *accounts = next(created)
            balances = tuple(AccountBalance(*account.balances(), timestamp) for account in accounts)
        return TransferWithBalances(timestamp, status, *balances)

    return results_as(answer, CreateTransferStatus)(results)
