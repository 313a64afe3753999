"""Refusals as exceptions, for those who want them: statuses of a request -> what went wrong.

A refusal is an answer, whatever keeps the accounts. Who would rather stop at the first of them::

    raise_for_status(ledger.create_transfers(transfers), transfers)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.errors import InvalidField, JournalError
from nostro.journal.model import (
    ACCOUNT,
    Account,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    Rows,
    Transfer,
)
from nostro.journal.rows import accounts_from_rows, transfers_from_rows

Status: TypeAlias = CreateAccountStatus | CreateTransferStatus
Results: TypeAlias = (
    Sequence[CreateAccountResult] | Sequence[CreateTransferResult] | npt.NDArray[np.void]
)

_CREATED: Final = int(CreateTransferStatus.CREATED)
_CHAIN_FAILED: Final = int(CreateTransferStatus.LINKED_EVENT_FAILED)


@attrs.define(eq=False)
class Refused(JournalError):
    """An account or a transfer of a request was not created."""

    index: int
    """Where it stands in the request, from 0."""
    status: Status
    id: int
    refused: int
    """How many of the request were refused, this one included."""

    def __str__(self) -> str:
        others = f" ({self.refused:,} of the request were refused)" if self.refused > 1 else ""
        return f"{self._what()}: {self.status.name.lower()}{others}"

    def _what(self) -> str:
        return f"row {self.index}: account {self.id}"


class AccountFailed(Refused):
    """An account was not created."""


class TransferFailed(Refused):
    """A transfer was not created."""

    def _what(self) -> str:
        return f"row {self.index}: transfer {self.id}"


@attrs.define(eq=False)
class InsufficientBalance(TransferFailed):
    """An account may not owe, or be owed, so much."""

    account_id: int
    amount: int
    """What the transfer asked for."""

    def _what(self) -> str:
        return f"row {self.index}: transfer {self.id} of {self.amount}, account {self.account_id}"


@attrs.define(eq=False)
class AccountNotFound(TransferFailed):
    """An account that a transfer names does not exist."""

    account_id: int

    def _what(self) -> str:
        return f"row {self.index}: transfer {self.id}, account {self.account_id}"


def raise_for_status(
    results: Results,
    events: Sequence[Account] | Sequence[Transfer] | Rows,
    *,
    allow_exists: bool = False,
) -> None:
    """Return if everything was created; otherwise raise for the first that was refused.

    Of a chain that is the member that broke it.

    Args:
        results: what creating ``events`` was answered with, as objects or as ``CREATE_RESULT[n]``.
        events: the request, as objects or as ``ACCOUNT[n]`` or ``TRANSFER[n]``.
        allow_exists: what was created before, with equal fields, is as good.

    Raises:
        InsufficientBalance: the status is ``exceeds_credits`` or ``exceeds_debits``.
        AccountNotFound: it is ``debit_account_not_found`` or ``credit_account_not_found``.
        TransferFailed, AccountFailed: it is any other.
        InvalidField: there are more or fewer results than events.
    """
    if len(results) != len(events):
        raise InvalidField("results", len(results), f"are not those of {len(events)} events")
    if not len(events):
        return
    if isinstance(results, np.ndarray):
        numbers: list[int] = results["status"].tolist()
    else:
        numbers = [int(result.status) for result in results]
    statuses = _statuses(events)
    good = {_CREATED, int(statuses.EXISTS)} if allow_exists else {_CREATED}
    refused = [index for index, number in enumerate(numbers) if number not in good]
    if not refused:
        return
    index = next((index for index in refused if numbers[index] != _CHAIN_FAILED), refused[0])
    raise _refusal(index, statuses(numbers[index]), _event(events, index), len(refused))


def _statuses(events: Any) -> type[CreateAccountStatus | CreateTransferStatus]:
    is_accounts = (
        events.dtype == ACCOUNT
        if isinstance(events, np.ndarray)
        else hasattr(events[0], "debits_posted")
    )
    return CreateAccountStatus if is_accounts else CreateTransferStatus


def _event(events: Any, index: int) -> Account | Transfer:
    if not isinstance(events, np.ndarray):
        event: Account | Transfer = events[index]
        return event
    row = events[index : index + 1]
    found: Sequence[Account] | Sequence[Transfer]
    found = accounts_from_rows(row) if row.dtype == ACCOUNT else transfers_from_rows(row)
    return found[0]


def _refusal(index: int, status: Status, event: Account | Transfer, refused: int) -> Refused:
    told = index, status, event.id, refused
    if not isinstance(event, Transfer):
        return AccountFailed(*told)
    match status:
        case CreateTransferStatus.EXCEEDS_CREDITS:
            return InsufficientBalance(*told, event.debit_account_id, event.amount)
        case CreateTransferStatus.EXCEEDS_DEBITS:
            return InsufficientBalance(*told, event.credit_account_id, event.amount)
        case CreateTransferStatus.DEBIT_ACCOUNT_NOT_FOUND:
            return AccountNotFound(*told, event.debit_account_id)
        case CreateTransferStatus.CREDIT_ACCOUNT_NOT_FOUND:
            return AccountNotFound(*told, event.credit_account_id)
        case _:
            return TransferFailed(*told)
