"""Linked chains that were sent again: which of them happened before, as a whole.

A chain that exists breaks at its first event, as TigerBeetle's does: EXISTS, LINKED_EVENT_FAILED.
A chain of which only that event exists gets the same answer. Only the ledger tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, cast

import attrs
import numpy as np

from nostro.journal.model import (
    ACCOUNT,
    Account,
    CreateAccountStatus,
    CreateTransferStatus,
    Rows,
    Transfer,
)
from nostro.journal.rows import account_rows, columns, transfer_rows
from nostro.projections.rules.account_rules import account_status
from nostro.projections.rules.transfer_rules import transfer_outcome
from nostro.projections.rules.values import RESOLVING, AccountRow, LedgerView, TransferRow

_LINKED: Final = 1
_CHAIN_FAILED: Final = int(CreateTransferStatus.LINKED_EVENT_FAILED)


class LookUps(Protocol):
    """What is asked of a ledger."""

    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]: ...
    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]: ...


def broken_by_exists(statuses: Sequence[int], flags: Sequence[int], exists: int) -> list[range]:
    """The chains that broke at an event that exists, each as the indexes of its events."""
    return [
        chain
        for chain in _chains(flags)
        if {statuses[index] for index in chain} == {exists, _CHAIN_FAILED}
    ]


def _chains(flags: Sequence[int]) -> Iterator[range]:
    """Yield the closed chains of a request."""
    first: int | None = None
    for index, of_event in enumerate(flags):
        if of_event & _LINKED:
            first = index if first is None else first
        elif first is not None:
            yield range(first, index + 1)
            first = None


def chains_that_exist(events: Rows, chains: Sequence[range], ledger: LookUps) -> list[range]:
    """Those of ``chains`` whose every event is in the ledger, with equal fields by its rules.

    Args:
        events: the request, as ``ACCOUNT[n]`` or ``TRANSFER[n]``.
    """
    rows = list(columns(events))
    ids = [rows[index][0] for chain in chains for index in chain]
    is_accounts = events.dtype == ACCOUNT
    view: Any = _Accounts(ledger, ids) if is_accounts else _Transfers.of(ledger, ids, rows)
    return [
        chain
        for chain in chains
        if len({rows[index][0] for index in chain}) == len(chain)
        and all(view.holds(rows[index]) for index in chain)
    ]


class _Accounts:
    """The accounts of some ids, for the rules to compare with."""

    def __init__(self, ledger: LookUps, ids: Sequence[int]) -> None:
        found = columns(account_rows(ledger.lookup_accounts(ids)))
        self._found = {row.id: row for row in map(AccountRow._make, found)}

    def existing_account(self, id_: int) -> AccountRow | None:
        return self._found.get(id_)

    def holds(self, row: tuple[int, ...]) -> bool:
        account = AccountRow._make(row)
        is_there = account.id in self._found
        exists = CreateAccountStatus.EXISTS
        return is_there and account_status(account, cast("LedgerView", self)) == exists


@attrs.frozen
class _Transfers:
    """The transfers of some ids and their pending ones, for the rules to compare with."""

    _found: dict[int, TransferRow]

    @classmethod
    def of(cls, ledger: LookUps, ids: Sequence[int], rows: Sequence[tuple[int, ...]]) -> _Transfers:
        wanted = set(ids)
        events = [row for row in map(TransferRow._make, rows) if row.id in wanted]
        pending = {event.pending_id for event in events if event.flags & RESOLVING}
        found = columns(transfer_rows(ledger.lookup_transfers([*wanted | pending])))
        return cls({row.id: row for row in map(TransferRow._make, found)})

    def existing_transfer(self, id_: int) -> TransferRow | None:
        return self._found.get(id_)

    def holds(self, row: tuple[int, ...]) -> bool:
        transfer = TransferRow._make(row)
        if transfer.id not in self._found:
            return False
        outcome = transfer_outcome(transfer, 0, cast("LedgerView", self))
        return outcome == CreateTransferStatus.EXISTS


def chains_sent_again(results: Rows, events: Rows, ledger: LookUps) -> dict[range, bool]:
    """Of each chain that broke at an event that exists, whether it happened before as a whole.

    Args:
        results: ``CREATE_RESULT[n]``, the answer to creating ``events``.
        events: the request, as ``ACCOUNT[n]`` or ``TRANSFER[n]``.

    Returns:
        The chains, each as the indexes of its events.
    """
    statuses = CreateAccountStatus if events.dtype == ACCOUNT else CreateTransferStatus
    numbers, flags = results["status"].tolist(), events["flags"].tolist()
    chains = broken_by_exists(numbers, flags, int(statuses.EXISTS))
    whole = chains_that_exist(events, chains, ledger) if chains else []
    return {chain: chain in whole for chain in chains}


def rows_of(events: Any, *, are_accounts: bool) -> Rows:
    """``ACCOUNT[n]`` or ``TRANSFER[n]`` of a request in objects or rows."""
    if isinstance(events, np.ndarray):
        return events
    return account_rows(events) if are_accounts else transfer_rows(events)
