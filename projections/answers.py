"""Answers to requests: results in rows -> results as objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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

_ACCOUNT_STATUS: Final = {int(status): status for status in CreateAccountStatus}
_TRANSFER_STATUS: Final = {int(status): status for status in CreateTransferStatus}
"""By number: calling an enum takes longer than deciding the transfer."""


@attrs.frozen
class TransferWithBalances(CreateTransferResult):
    """A result, and for a transfer that was created the balances of its accounts just after it."""

    debit_balance: AccountBalance | None = None
    credit_balance: AccountBalance | None = None


def account_results(results: npt.NDArray[np.void]) -> list[CreateAccountResult]:
    """The objects of ``CREATE_RESULT[n]`` for accounts."""
    return [
        CreateAccountResult(timestamp, _ACCOUNT_STATUS[status])
        for timestamp, status, _ in results.tolist()
    ]


def transfer_results(results: npt.NDArray[np.void]) -> list[CreateTransferResult]:
    """The objects of ``CREATE_RESULT[n]`` for transfers."""
    return [
        CreateTransferResult(timestamp, _TRANSFER_STATUS[status])
        for timestamp, status, _ in results.tolist()
    ]


def with_balances(
    results: npt.NDArray[np.void], postings: Sequence[Posting]
) -> list[TransferWithBalances]:
    """The same with balances; ``postings`` are of those that were created, in order."""
    answers: list[TransferWithBalances] = []
    created = iter(postings)
    for timestamp, status, _ in results.tolist():
        balances: tuple[AccountBalance, ...] = ()
        if status == CreateTransferStatus.CREATED:
            _, *accounts = next(created)
            balances = tuple(AccountBalance(*account.balances(), timestamp) for account in accounts)
        answers.append(TransferWithBalances(timestamp, _TRANSFER_STATUS[status], *balances))
    return answers
