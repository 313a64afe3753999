"""A naive ledger to hold the real one against: plain dictionaries, one event after the other.

Written from TigerBeetle's reference alone. It shares nothing with the rules under test but the
vocabulary of :mod:`journal`: no columns, no drafts, no index. A chain is taken back by putting the
copies made at its start back in place; the past is computed by adding everything up again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs

from journal import (
    AMOUNT_MAX,
    TIMESTAMP_MAX,
    Account,
    AccountFlags,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    Transfer,
    TransferFlags,
)

Event = TypeVar("Event", Account, Transfer)
Answer = tuple[int, int]
"""(timestamp, status)."""
Balances = dict[int, Account]

_FOR_GOOD: Final = {
    "DEBIT_ACCOUNT_NOT_FOUND",
    "CREDIT_ACCOUNT_NOT_FOUND",
    "EXCEEDS_CREDITS",
    "EXCEEDS_DEBITS",
    "DEBIT_ACCOUNT_ALREADY_CLOSED",
    "CREDIT_ACCOUNT_ALREADY_CLOSED",
}
_CREATED: Final = int(CreateTransferStatus.CREATED)


class Model:
    def __init__(self) -> None:
        self.accounts: Balances = {}
        self.transfers: dict[int, Transfer] = {}
        self.used_up: set[int] = set()
        self.history: list[tuple[int, Account | Transfer | None]] = []
        """(timestamp, event) of each position, None where a transfer was refused for good."""
        self.last = 0
        """No event decided from now on, unless imported, is as early as this."""

    # --- requests ---

    def create_accounts(self, request: Sequence[Account], now: int) -> list[CreateAccountResult]:
        answers = self._create(request, now, self._create_account)
        return [CreateAccountResult(at, CreateAccountStatus(status)) for at, status in answers]

    def create_transfers(self, request: Sequence[Transfer], now: int) -> list[CreateTransferResult]:
        answers = self._create(request, now, self._create_transfer)
        return [CreateTransferResult(at, CreateTransferStatus(status)) for at, status in answers]

    def reopen(self) -> None:
        """After a restart only what is in the journal counts as the past."""
        self.last = max((timestamp for timestamp, _ in self.history), default=0)

    # --- the past ---

    def at_position(self, position: int) -> Balances:
        return _add_up([event for _, event in self.history[:position]])

    def at_timestamp(self, timestamp: int) -> Balances:
        return _add_up([event for at, event in self.history if at <= timestamp])

    def _create(
        self, request: Sequence[Event], now: int, decide: Callable[[Event, int], Answer]
    ) -> list[Answer]:
        first = max(now, self.last + 1)
        end = first + len(request) - 1
        known = len(self.history)
        answers: list[Answer] = []
        index = 0
        while index < len(request):
            stop = index + 1
            while request[stop - 1].flags & 1 and stop < len(request):
                stop += 1
            answers += self._chain(request, index, stop, first, end, decide)
            index = stop
        if len(self.history) > known:
            self.last = end
        return answers

    def _chain(
        self,
        request: Sequence[Event],
        start: int,
        stop: int,
        first: int,
        end: int,
        decide: Callable[[Event, int], Answer],
    ) -> list[Answer]:
        """Decide request[start:stop], a chain or a single event."""
        saved = dict(self.accounts), dict(self.transfers), list(self.history)
        imports = bool(request[0].flags & _imported(request[0]))
        answers: list[Answer] = []
        for index in range(start, stop):
            event = request[index]
            if event.flags & 1 and index == len(request) - 1:
                answer = first + index, 2  # linked_event_chain_open
            elif answers and answers[-1][1] != _CREATED:
                answer = first + index, 1  # linked_event_failed
            else:
                answer = _timing(event, imports, first + index, end) or decide(event, first + index)
            answers.append(answer)
            if answer[1] != _CREATED and all(status == _CREATED for _, status in answers[:-1]):
                self.accounts, self.transfers, self.history = saved
                answers = [*((at, 1) for at, _ in answers[:-1]), answer]
                self._refuse_for_good(event, *answer)
        return answers

    def _refuse_for_good(self, event: Account | Transfer, at: int, status: int) -> None:
        if isinstance(event, Transfer) and CreateTransferStatus(status).name in _FOR_GOOD:
            self.used_up.add(event.id)
            self.history.append((at, None))

    # --- one account ---

    def _create_account(self, a: Account, at: int) -> Answer:
        known = self.accounts.get(a.id)
        both = (
            AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
            | AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS
        )
        newest = max((account.timestamp for account in self.accounts.values()), default=0)
        regresses = a.timestamp <= newest or self._at_some_transfer(a.timestamp)
        status = _first(
            ("RESERVED_FLAG", a.flags >= 64),
            ("ID_MUST_NOT_BE_ZERO", a.id == 0),
            ("ID_MUST_NOT_BE_INT_MAX", a.id == AMOUNT_MAX),
            *_differences(a, known, "flags user_data_128 user_data_64 user_data_32 ledger code"),
            ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", a.flags & both == both),
            ("DEBITS_PENDING_MUST_BE_ZERO", a.debits_pending != 0),
            ("DEBITS_POSTED_MUST_BE_ZERO", a.debits_posted != 0),
            ("CREDITS_PENDING_MUST_BE_ZERO", a.credits_pending != 0),
            ("CREDITS_POSTED_MUST_BE_ZERO", a.credits_posted != 0),
            ("LEDGER_MUST_NOT_BE_ZERO", a.ledger == 0),
            ("CODE_MUST_NOT_BE_ZERO", a.code == 0),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS",
                bool(a.flags & AccountFlags.IMPORTED) and regresses,
            ),
        )
        if known is not None and status == "EXISTS":
            at = known.timestamp
        elif status == "CREATED":
            at = a.timestamp or at
            self.accounts[a.id] = attrs.evolve(a, timestamp=at)
            self.history.append((at, self.accounts[a.id]))
        return at, CreateAccountStatus[status]

    def _at_some_transfer(self, timestamp: int) -> bool:
        return any(transfer.timestamp == timestamp for transfer in self.transfers.values())

    # --- one transfer ---

    def _create_transfer(self, t: Transfer, at: int) -> Answer:
        known = self.transfers.get(t.id)
        status = _first(
            ("RESERVED_FLAG", t.flags >= 512),
            ("ID_MUST_NOT_BE_ZERO", t.id == 0),
            ("ID_MUST_NOT_BE_INT_MAX", t.id == AMOUNT_MAX),
            *_differences(
                t,
                known,
                "flags pending_id timeout debit_account_id credit_account_id amount"
                " user_data_128 user_data_64 user_data_32 ledger code",
            ),
            ("ID_ALREADY_FAILED", t.id in self.used_up),
            ("DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO", t.debit_account_id == 0),
            ("DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX", t.debit_account_id == AMOUNT_MAX),
            ("CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO", t.credit_account_id == 0),
            ("CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX", t.credit_account_id == AMOUNT_MAX),
            ("ACCOUNTS_MUST_BE_DIFFERENT", t.debit_account_id == t.credit_account_id),
            ("PENDING_ID_MUST_BE_ZERO", t.pending_id != 0),
            ("TIMEOUT_RESERVED_FOR_PENDING_TRANSFER", t.timeout != 0),
            ("LEDGER_MUST_NOT_BE_ZERO", t.ledger == 0),
            ("CODE_MUST_NOT_BE_ZERO", t.code == 0),
            ("DEBIT_ACCOUNT_NOT_FOUND", t.debit_account_id not in self.accounts),
            ("CREDIT_ACCOUNT_NOT_FOUND", t.credit_account_id not in self.accounts),
        )
        if status == "CREATED":
            status = self._between_accounts(t)
        if known is not None and status == "EXISTS":
            at = known.timestamp
        elif status == "CREATED":
            at = t.timestamp or at
            self.transfers[t.id] = attrs.evolve(t, timestamp=at)
            self.history.append((at, self.transfers[t.id]))
            _post(self.accounts, t)
        return at, CreateTransferStatus[status]

    def _between_accounts(self, t: Transfer) -> str:
        debit, credit = self.accounts[t.debit_account_id], self.accounts[t.credit_account_id]
        imported = bool(t.flags & TransferFlags.IMPORTED)
        newest = max((transfer.timestamp for transfer in self.transfers.values()), default=0)
        regresses = t.timestamp <= newest or any(
            account.timestamp == t.timestamp for account in self.accounts.values()
        )
        debit_limited = bool(debit.flags & AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
        credit_limited = bool(credit.flags & AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS)
        debits, credits = debit.debits_posted + t.amount, credit.credits_posted + t.amount
        return _first(
            ("ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER", debit.ledger != credit.ledger),
            ("TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS", t.ledger != debit.ledger),
            ("IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS", imported and regresses),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT",
                imported and t.timestamp <= debit.timestamp,
            ),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT",
                imported and t.timestamp <= credit.timestamp,
            ),
            ("DEBIT_ACCOUNT_ALREADY_CLOSED", bool(debit.flags & AccountFlags.CLOSED)),
            ("CREDIT_ACCOUNT_ALREADY_CLOSED", bool(credit.flags & AccountFlags.CLOSED)),
            ("OVERFLOWS_DEBITS_POSTED", debits > AMOUNT_MAX),
            ("OVERFLOWS_CREDITS_POSTED", credits > AMOUNT_MAX),
            ("EXCEEDS_CREDITS", debit_limited and debits > debit.credits_posted),
            ("EXCEEDS_DEBITS", credit_limited and credits > credit.debits_posted),
        )


def _imported(event: Account | Transfer) -> int:
    return int(AccountFlags.IMPORTED if isinstance(event, Account) else TransferFlags.IMPORTED)


def _timing(event: Account | Transfer, imports: bool, at: int, end: int) -> Answer | None:
    """What is wrong with the event's timestamp or its imported flag."""
    names = CreateAccountStatus if isinstance(event, Account) else CreateTransferStatus
    imported = bool(event.flags & _imported(event))
    status = _first(
        ("IMPORTED_EVENT_EXPECTED", imports and not imported),
        ("IMPORTED_EVENT_NOT_EXPECTED", imported and not imports),
        ("TIMESTAMP_MUST_BE_ZERO", not imported and event.timestamp != 0),
        (
            "IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE",
            imported and not 1 <= event.timestamp <= TIMESTAMP_MAX,
        ),
        ("IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE", imported and event.timestamp >= end),
    )
    return None if status == "CREATED" else (at, int(names[status]))


def _first(*rules: tuple[str, bool]) -> str:
    """The name of the first rule that is broken."""
    return next((name for name, broken in rules if broken), "CREATED")


def _differences(
    event: Account | Transfer, known: Account | Transfer | None, fields: str
) -> list[tuple[str, bool]]:
    if known is None:
        return []
    differences = [
        (f"EXISTS_WITH_DIFFERENT_{field.upper()}", getattr(event, field) != getattr(known, field))
        for field in fields.split()
    ]
    return [*differences, ("EXISTS", True)]


def _add_up(events: list[Account | Transfer | None]) -> Balances:
    accounts: Balances = {}
    for event in events:
        if isinstance(event, Account):
            accounts[event.id] = event
        elif event is not None:
            _post(accounts, event)
    return accounts


def _post(accounts: Balances, t: Transfer) -> None:
    debit, credit = accounts[t.debit_account_id], accounts[t.credit_account_id]
    accounts[debit.id] = attrs.evolve(debit, debits_posted=debit.debits_posted + t.amount)
    accounts[credit.id] = attrs.evolve(credit, credits_posted=credit.credits_posted + t.amount)
