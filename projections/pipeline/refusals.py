"""Refusals as exceptions: the statuses of a request -> the first event that was refused.

A refusal is an answer, not an exception. To stop at the first refusal::

    raise_for_status(ledger.create_transfers(transfers), transfers)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, TypeAlias

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
from nostro.projections.pipeline.chains import LookUps, broken_by_exists, chains_that_exist, rows_of

Status: TypeAlias = CreateAccountStatus | CreateTransferStatus
Results: TypeAlias = (
    Sequence[CreateAccountResult] | Sequence[CreateTransferResult] | npt.NDArray[np.void]
)
Events: TypeAlias = Sequence[Account] | Sequence[Transfer] | Rows

_CREATED: Final = int(CreateTransferStatus.CREATED)
_CHAIN_FAILED: Final = int(CreateTransferStatus.LINKED_EVENT_FAILED)


@attrs.define(eq=False)
class Refused(JournalError):
    """An account or a transfer of a request was not created."""

    index: int
    """Its index in the request, from 0."""
    status: Status
    id: int
    refused: int
    """How many events of the request were refused, including this one."""
    _what: ClassVar[str] = "account {self.id}"

    def __str__(self) -> str:
        others = f" ({self.refused:,} of the request were refused)" if self.refused > 1 else ""
        what = self._what.format(self=self)
        return f"row {self.index}: {what}: {self.status.name.lower()}{others}"


class AccountFailed(Refused):
    """An account was not created."""


class TransferFailed(Refused):
    """A transfer was not created."""

    _what = "transfer {self.id}"


@attrs.define(eq=False)
class InsufficientBalance(TransferFailed):
    """The balance limit of an account does not allow the amount."""

    account_id: int
    amount: int
    """The amount of the transfer."""
    _what = "transfer {self.id} of {self.amount}, account {self.account_id}"


@attrs.define(eq=False)
class AccountNotFound(TransferFailed):
    """An account that a transfer names does not exist."""

    account_id: int
    _what = "transfer {self.id}, account {self.account_id}"


@attrs.define(eq=False)
class ChainNotChecked(JournalError):
    """A linked chain broke at an event that exists; perhaps the whole chain happened before.

    It says neither that the chain failed nor that it happened. Do not send the events with new ids.
    """

    index: int
    """The index in the request of the event that exists, from 0."""
    id: int

    def __str__(self) -> str:
        return (
            f"row {self.index}: {self.id} exists, and its chain may have happened before; "
            "call raise_for_status with ledger= to find out"
        )


def raise_for_status(
    results: Results,
    events: Events,
    *,
    allow_exists: bool = False,
    ledger: LookUps | None = None,
) -> None:
    """Return if every event was created; otherwise raise for the first that was refused.

    Of a linked chain, that is the event that broke it.

    Args:
        results: the answer to creating ``events``, as objects or as ``CREATE_RESULT[n]``.
        events: the request, as objects or as ``ACCOUNT[n]`` or ``TRANSFER[n]``.
        allow_exists: an event created before with equal fields counts as created.
        ledger: looks up a linked chain that broke at an event that exists. The chain counts as
            created if all of its events exist with equal fields. Needed only with ``allow_exists``.

    Raises:
        InsufficientBalance: the status is ``exceeds_credits`` or ``exceeds_debits``.
        AccountNotFound: it is ``debit_account_not_found`` or ``credit_account_not_found``.
        TransferFailed, AccountFailed: it is any other.
        ChainNotChecked: only a chain that may have happened before stands in doubt, and ``ledger``
            is not given.
        InvalidField: there are more or fewer results than events.
    """
    if len(results) != len(events):
        raise InvalidField("results", len(results), f"must be as many as the events, {len(events)}")
    if not len(events):
        return
    if isinstance(results, np.ndarray):
        numbers: list[int] = results["status"].tolist()
    else:
        numbers = [int(result.status) for result in results]
    statuses = _statuses(events)
    exists = int(statuses.EXISTS)
    good = {_CREATED, exists} if allow_exists else {_CREATED}
    refused = [index for index, number in enumerate(numbers) if number not in good]
    if not refused:
        return
    if allow_exists:
        refused = _without_chains_that_exist(refused, numbers, events, statuses, ledger)
        if not refused:
            return
    index = next((index for index in refused if numbers[index] != _CHAIN_FAILED), refused[0])
    raise _refusal(index, statuses(numbers[index]), _event(events, index), len(refused))


def _without_chains_that_exist(
    refused: list[int], numbers: list[int], events: Any, statuses: Any, ledger: LookUps | None
) -> list[int]:
    """The refused indexes, less those of chains that happened before; plus what broke others."""
    exists = int(statuses.EXISTS)
    rows = rows_of(events, are_accounts=statuses is CreateAccountStatus)
    chains = broken_by_exists(numbers, rows["flags"].tolist(), exists)
    if ledger is not None:
        whole = chains_that_exist(rows, chains, ledger) if chains else []
        broken = [chain for chain in chains if chain not in whole]
    else:
        whole, broken = chains, []
    excused = {index for chain in whole for index in chain}
    breaking = [index for chain in broken for index in chain if numbers[index] == exists]
    refused = sorted({*refused} - excused | {*breaking})
    if chains and ledger is None and not refused:
        index = next(index for index in chains[0] if numbers[index] == exists)
        raise ChainNotChecked(index, _event(events, index).id)
    return refused


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
    facts = index, status, event.id, refused
    if not isinstance(event, Transfer):
        return AccountFailed(*facts)
    match status:
        case CreateTransferStatus.EXCEEDS_CREDITS:
            return InsufficientBalance(*facts, event.debit_account_id, event.amount)
        case CreateTransferStatus.EXCEEDS_DEBITS:
            return InsufficientBalance(*facts, event.credit_account_id, event.amount)
        case CreateTransferStatus.DEBIT_ACCOUNT_NOT_FOUND:
            return AccountNotFound(*facts, event.debit_account_id)
        case CreateTransferStatus.CREDIT_ACCOUNT_NOT_FOUND:
            return AccountNotFound(*facts, event.credit_account_id)
        case _:
            return TransferFailed(*facts)
