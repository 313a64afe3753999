"""The naive model's queries: everything is gone through, in the order of its timestamps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from nostro import (
    AMOUNT_MAX,
    TIMESTAMP_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    CreateTransferResult,
    CreateTransferStatus,
    QueryFilter,
    QueryFilterFlags,
    Transfer,
    TransferFlags,
)
from tests.property.model_books import Books, Happening

Event = TypeVar("Event", Account, Transfer)
_EITHER = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS


def lookup_accounts(books: Books, ids: Iterable[int]) -> list[Account]:
    return [books.accounts[id_] for id_ in ids if id_ in books.accounts]


def lookup_transfers(books: Books, ids: Iterable[int]) -> list[Transfer]:
    return [books.transfers[id_] for id_ in ids if id_ in books.transfers]


def get_account_transfers(books: Books, f: AccountFilter) -> list[Transfer]:
    """The transfers on the sides of the account that the flags name."""
    if f.account_id in (0, AMOUNT_MAX) or not f.flags & _EITHER or f.flags >= 8:
        return []
    on_that_account = [
        t
        for t in books.transfers.values()
        if (f.flags & AccountFilterFlags.DEBITS and t.debit_account_id == f.account_id)
        or (f.flags & AccountFilterFlags.CREDITS and t.credit_account_id == f.account_id)
    ]
    fields = ("user_data_128", "user_data_64", "user_data_32", "code")
    backwards = bool(f.flags & AccountFilterFlags.REVERSED)
    return _selected(on_that_account, f, fields, backwards=backwards)


def get_account_balances(books: Books, f: AccountFilter) -> list[AccountBalance]:
    """How each transfer of the account left it; an expiry is no transfer and so has no entry."""
    account = books.accounts.get(f.account_id)
    if account is None or not account.flags & AccountFlags.HISTORY:
        return []
    return [_balance(books, t, f.account_id) for t in get_account_transfers(books, f)]


def query_accounts(books: Books, f: QueryFilter) -> list[Account]:
    return _query(books.accounts.values(), f)


def query_transfers(books: Books, f: QueryFilter) -> list[Transfer]:
    return _query(books.transfers.values(), f)


def change_events(
    history: Sequence[tuple[int, Happening | None]],
) -> list[tuple[int, int, str, Transfer, Account, Account]]:
    """Position, time, type, transfer, and both accounts as they were after it."""
    books, found = Books(), []
    for position, (timestamp, event) in enumerate(history, 1):
        if event is None:
            continue
        books.take(event)
        if isinstance(event, Account):
            continue
        transfer = event if isinstance(event, Transfer) else books.transfers[event.transfer_id]
        kind = _type(transfer.flags) if isinstance(event, Transfer) else "TWO_PHASE_EXPIRED"
        debit = books.accounts[transfer.debit_account_id]
        credit = books.accounts[transfer.credit_account_id]
        found.append((position, timestamp, kind, transfer, debit, credit))
    return found


def balances_after(
    books: Books, request: Sequence[Transfer], answers: Sequence[CreateTransferResult]
) -> list[tuple[AccountBalance | None, AccountBalance | None]]:
    """What each transfer of a request left its accounts with, if it was created."""
    found: list[tuple[AccountBalance | None, AccountBalance | None]] = []
    for transfer, answer in zip(request, answers, strict=True):
        if answer.status is CreateTransferStatus.CREATED:
            created = books.transfers[transfer.id]
            found.append(
                (
                    _balance(books, created, created.debit_account_id),
                    _balance(books, created, created.credit_account_id),
                )
            )
        else:
            found.append((None, None))
    return found


def _type(flags: TransferFlags) -> str:
    return (
        "TWO_PHASE_PENDING" if TransferFlags.PENDING in flags
        else "TWO_PHASE_POSTED" if TransferFlags.POST_PENDING_TRANSFER in flags
        else "TWO_PHASE_VOIDED" if TransferFlags.VOID_PENDING_TRANSFER in flags
        else "SINGLE_PHASE"
    )  # fmt: skip


def _query(events: Iterable[Event], f: QueryFilter) -> list[Event]:
    if f.flags >= 2:
        return []
    fields = ("user_data_128", "user_data_64", "user_data_32", "ledger", "code")
    return _selected(events, f, fields, backwards=bool(f.flags & QueryFilterFlags.REVERSED))


def _selected(
    events: Iterable[Event],
    f: AccountFilter | QueryFilter,
    fields: Iterable[str],
    *,
    backwards: bool,
) -> list[Event]:
    """The events in the filter's time that agree with it in each of ``fields`` it sets."""
    if not (_is_time(f.timestamp_min) and _is_time(f.timestamp_max)):
        return []
    latest = f.timestamp_max or TIMESTAMP_MAX
    found = [
        event
        for event in events
        if f.timestamp_min <= event.timestamp <= latest
        and all(getattr(f, field) in (0, getattr(event, field)) for field in fields)
    ]
    return sorted(found, key=lambda event: event.timestamp, reverse=backwards)[: f.limit]


def _is_time(timestamp: int) -> bool:
    return 0 <= timestamp <= TIMESTAMP_MAX


def _balance(books: Books, t: Transfer, account_id: int) -> AccountBalance:
    debit, credit = books.after[t.id]
    account = debit if debit.id == account_id else credit
    return AccountBalance(
        account.debits_pending,
        account.debits_posted,
        account.credits_pending,
        account.credits_posted,
        t.timestamp,
    )
