"""A naive ledger to hold the real one against: plain dictionaries, one event after the other.

Written from TigerBeetle's reference alone. It shares nothing with the rules under test but the
vocabulary of :mod:`journal`: no columns, no drafts, no index. A chain is taken back by putting the
copies made at its start back in place; the past is computed by adding everything up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import attrs

from nostro import (
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
from tests.property.model_books import Balances, Books, Expired, Happening, expires_at

Event = TypeVar("Event", Account, Transfer)
Answer = tuple[int, int]
"""(timestamp, status)."""

_FOR_GOOD: Final = {
    "DEBIT_ACCOUNT_NOT_FOUND",
    "CREDIT_ACCOUNT_NOT_FOUND",
    "PENDING_TRANSFER_NOT_FOUND",
    "EXCEEDS_CREDITS",
    "EXCEEDS_DEBITS",
    "DEBIT_ACCOUNT_ALREADY_CLOSED",
    "CREDIT_ACCOUNT_ALREADY_CLOSED",
}
_CREATED: Final = int(CreateTransferStatus.CREATED)
_POST: Final = TransferFlags.POST_PENDING_TRANSFER
_VOID: Final = TransferFlags.VOID_PENDING_TRANSFER
_BALANCING: Final = TransferFlags.BALANCING_DEBIT | TransferFlags.BALANCING_CREDIT
_CLOSING: Final = TransferFlags.CLOSING_DEBIT | TransferFlags.CLOSING_CREDIT


class Model:
    def __init__(self) -> None:
        self.books = Books()
        self.used_up: set[int] = set()
        self.history: list[tuple[int, Happening | None]] = []
        """(timestamp, event) of each position, None where a transfer was refused for good."""
        self.last = 0
        """No event decided from now on, unless imported, is as early as this."""

    @property
    def accounts(self) -> Balances:
        return self.books.accounts

    @property
    def transfers(self) -> dict[int, Transfer]:
        return self.books.transfers

    # --- requests ---

    def create_accounts(self, request: Sequence[Account], now: int) -> list[CreateAccountResult]:
        answers = self._create(request, now, self._create_account)
        return [CreateAccountResult(at, CreateAccountStatus(status)) for at, status in answers]

    def create_transfers(self, request: Sequence[Transfer], now: int) -> list[CreateTransferResult]:
        answers = self._create(request, now, self._create_transfer)
        return [CreateTransferResult(at, CreateTransferStatus(status)) for at, status in answers]

    def expire(self, now: int) -> None:
        """Release what is due by ``now``, the earliest first; each takes a timestamp of its own."""
        first = max(now, self.last + 1)
        for timestamp, transfer in enumerate(self.books.due(first), first):
            self._take(timestamp, Expired(transfer.id))
            self.last = timestamp

    def reopen(self) -> None:
        """After a restart only what is in the journal counts as the past."""
        self.last = max((timestamp for timestamp, _ in self.history), default=0)

    # --- the past ---

    def at_position(self, position: int) -> Balances:
        return _add_up(event for _, event in self.history[:position])

    def at_timestamp(self, timestamp: int) -> Balances:
        return _add_up(event for at, event in self.history if at <= timestamp)

    # --- batches and chains ---

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
        saved = (self.books.copy(), list(self.history)) if stop > start + 1 else None
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
                if saved is not None:
                    self.books, self.history = saved
                answers = [*((at, 1) for at, _ in answers[:-1]), answer]
                self._refuse_for_good(event, *answer)
        return answers

    def _refuse_for_good(self, event: Account | Transfer, at: int, status: int) -> None:
        if isinstance(event, Transfer) and CreateTransferStatus(status).name in _FOR_GOOD:
            self.used_up.add(event.id)
            self.history.append((at, None))

    def _take(self, timestamp: int, event: Happening) -> None:
        self.history.append((timestamp, event))
        self.books.take(event)

    # --- one account ---

    def _create_account(self, a: Account, at: int) -> Answer:
        known = self.accounts.get(a.id)
        both = (
            AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
            | AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS
        )
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
                self._regresses(a, self.accounts, self.transfers),
            ),
        )
        if known is not None and status == "EXISTS":
            at = known.timestamp
        elif status == "CREATED":
            at = a.timestamp or at
            self._take(at, attrs.evolve(a, timestamp=at))
        return at, CreateAccountStatus[status]

    def _regresses(
        self,
        event: Account | Transfer,
        of_its_kind: Mapping[int, Account | Transfer],
        others: Mapping[int, Account | Transfer],
    ) -> bool:
        """Whether an imported event is not after all of its kind, or at the time of another."""
        if not event.flags & _imported(event):
            return False
        newest = max((one.timestamp for one in of_its_kind.values()), default=0)
        taken = any(other.timestamp == event.timestamp for other in others.values())
        return event.timestamp <= newest or taken

    # --- one transfer ---

    def _create_transfer(self, t: Transfer, at: int) -> Answer:
        made = self._decide_transfer(t, at)
        if isinstance(made, Transfer):
            self._take(made.timestamp, made)
            return made.timestamp, _CREATED
        if made == "EXISTS":
            at = self.transfers[t.id].timestamp
        return at, CreateTransferStatus[made]

    def _decide_transfer(self, t: Transfer, at: int) -> Transfer | str:
        """What will be recorded, or the name of what is wrong."""
        status = _first(
            ("RESERVED_FLAG", t.flags >= 512),
            ("ID_MUST_NOT_BE_ZERO", t.id == 0),
            ("ID_MUST_NOT_BE_INT_MAX", t.id == AMOUNT_MAX),
            *self._other_than_known(t),
            ("ID_ALREADY_FAILED", t.id in self.used_up),
        )
        if status != "CREATED":
            return status
        return self._resolve(t, at) if t.flags & (_POST | _VOID) else self._move(t, at)

    def _other_than_known(self, t: Transfer) -> list[tuple[str, bool]]:
        """How ``t`` differs from the transfer that has its id."""
        known = self.transfers.get(t.id)
        if known is not None and t.flags == known.flags and t.pending_id == known.pending_id:
            if t.flags & (_POST | _VOID):
                t = _filled(t, self.transfers[t.pending_id])
            elif t.flags & _BALANCING and t.amount > known.amount:
                t = attrs.evolve(t, amount=known.amount)
        return _differences(
            t,
            known,
            "flags pending_id timeout debit_account_id credit_account_id amount"
            " user_data_128 user_data_64 user_data_32 ledger code",
        )

    # --- a transfer that moves money, or reserves it ---

    def _move(self, t: Transfer, at: int) -> Transfer | str:
        pending = bool(t.flags & TransferFlags.PENDING)
        status = _first(
            ("DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO", t.debit_account_id == 0),
            ("DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX", t.debit_account_id == AMOUNT_MAX),
            ("CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO", t.credit_account_id == 0),
            ("CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX", t.credit_account_id == AMOUNT_MAX),
            ("ACCOUNTS_MUST_BE_DIFFERENT", t.debit_account_id == t.credit_account_id),
            ("PENDING_ID_MUST_BE_ZERO", t.pending_id != 0),
            ("TIMEOUT_RESERVED_FOR_PENDING_TRANSFER", t.timeout != 0 and not pending),
            ("CLOSING_TRANSFER_MUST_BE_PENDING", bool(t.flags & _CLOSING) and not pending),
            ("LEDGER_MUST_NOT_BE_ZERO", t.ledger == 0),
            ("CODE_MUST_NOT_BE_ZERO", t.code == 0),
            ("DEBIT_ACCOUNT_NOT_FOUND", t.debit_account_id not in self.accounts),
            ("CREDIT_ACCOUNT_NOT_FOUND", t.credit_account_id not in self.accounts),
        )
        if status != "CREATED":
            return status
        debit, credit = self.accounts[t.debit_account_id], self.accounts[t.credit_account_id]
        made = attrs.evolve(
            t, amount=_balanced(t, debit, credit), timestamp=t.timestamp if _past(t) else at
        )
        status = self._between_accounts(made, debit, credit)
        return made if status == "CREATED" else status

    def _between_accounts(self, t: Transfer, debit: Account, credit: Account) -> str:
        imported, pending = _past(t), bool(t.flags & TransferFlags.PENDING)
        debit_limited = bool(debit.flags & AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
        credit_limited = bool(credit.flags & AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS)
        debits = debit.debits_pending + debit.debits_posted + t.amount
        credits = credit.credits_pending + credit.credits_posted + t.amount
        return _first(
            ("ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER", debit.ledger != credit.ledger),
            ("TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS", t.ledger != debit.ledger),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS",
                self._regresses(t, self.transfers, self.accounts),
            ),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT",
                imported and t.timestamp <= debit.timestamp,
            ),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT",
                imported and t.timestamp <= credit.timestamp,
            ),
            ("IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO", imported and t.timeout != 0),
            ("DEBIT_ACCOUNT_ALREADY_CLOSED", bool(debit.flags & AccountFlags.CLOSED)),
            ("CREDIT_ACCOUNT_ALREADY_CLOSED", bool(credit.flags & AccountFlags.CLOSED)),
            ("OVERFLOWS_DEBITS_PENDING", pending and debit.debits_pending + t.amount > AMOUNT_MAX),
            (
                "OVERFLOWS_CREDITS_PENDING",
                pending and credit.credits_pending + t.amount > AMOUNT_MAX,
            ),
            ("OVERFLOWS_DEBITS_POSTED", debit.debits_posted + t.amount > AMOUNT_MAX),
            ("OVERFLOWS_CREDITS_POSTED", credit.credits_posted + t.amount > AMOUNT_MAX),
            ("OVERFLOWS_DEBITS", debits > AMOUNT_MAX),
            ("OVERFLOWS_CREDITS", credits > AMOUNT_MAX),
            ("OVERFLOWS_TIMEOUT", expires_at(t) > TIMESTAMP_MAX),
            ("EXCEEDS_CREDITS", debit_limited and debits > debit.credits_posted),
            ("EXCEEDS_DEBITS", credit_limited and credits > credit.debits_posted),
        )

    # --- a transfer that posts or voids a pending one ---

    def _resolve(self, t: Transfer, at: int) -> Transfer | str:
        alone = t.flags & (TransferFlags.PENDING | _BALANCING | _CLOSING) == 0
        p = self.transfers.get(t.pending_id)
        status = _first(
            ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", t.flags & _POST != 0 and t.flags & _VOID != 0),
            ("FLAGS_ARE_MUTUALLY_EXCLUSIVE", not alone),
            ("PENDING_ID_MUST_NOT_BE_ZERO", t.pending_id == 0),
            ("PENDING_ID_MUST_NOT_BE_INT_MAX", t.pending_id == AMOUNT_MAX),
            ("PENDING_ID_MUST_BE_DIFFERENT", t.pending_id == t.id),
            ("TIMEOUT_RESERVED_FOR_PENDING_TRANSFER", t.timeout != 0),
            ("PENDING_TRANSFER_NOT_FOUND", p is None),
        )
        if status != "CREATED" or p is None:
            return status
        if not p.flags & TransferFlags.PENDING:
            return "PENDING_TRANSFER_NOT_PENDING"
        made = attrs.evolve(_filled(t, p), timestamp=t.timestamp if _past(t) else at)
        status = self._against_pending(made, p, at)
        return made if status == "CREATED" else status

    def _against_pending(self, t: Transfer, p: Transfer, at: int) -> str:
        debit, credit = self.accounts[p.debit_account_id], self.accounts[p.credit_account_id]
        voids, became = bool(t.flags & _VOID), self.books.pending[p.id]
        overdue = p.timeout != 0 and expires_at(p) <= at
        return _first(
            (
                "PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID",
                t.debit_account_id != p.debit_account_id,
            ),
            (
                "PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID",
                t.credit_account_id != p.credit_account_id,
            ),
            ("PENDING_TRANSFER_HAS_DIFFERENT_LEDGER", t.ledger != p.ledger),
            ("PENDING_TRANSFER_HAS_DIFFERENT_CODE", t.code != p.code),
            ("EXCEEDS_PENDING_TRANSFER_AMOUNT", t.amount > p.amount),
            ("PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT", voids and t.amount < p.amount),
            ("PENDING_TRANSFER_ALREADY_POSTED", became == "posted"),
            ("PENDING_TRANSFER_ALREADY_VOIDED", became == "voided"),
            ("PENDING_TRANSFER_EXPIRED", became == "expired" or overdue),
            (
                "IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS",
                self._regresses(t, self.transfers, self.accounts),
            ),
            (
                "DEBIT_ACCOUNT_ALREADY_CLOSED",
                bool(debit.flags & AccountFlags.CLOSED) and not voids,
            ),
            (
                "CREDIT_ACCOUNT_ALREADY_CLOSED",
                bool(credit.flags & AccountFlags.CLOSED) and not voids,
            ),
        )


def _past(t: Transfer) -> bool:
    return bool(t.flags & TransferFlags.IMPORTED)


def _balanced(t: Transfer, debit: Account, credit: Account) -> int:
    """The amount that a balancing transfer moves: as much as fits, and no more than it says."""
    amount = t.amount
    if t.flags & TransferFlags.BALANCING_DEBIT:
        spent = debit.debits_posted + debit.debits_pending
        amount = min(amount, max(0, debit.credits_posted - spent))
    if t.flags & TransferFlags.BALANCING_CREDIT:
        spent = credit.credits_posted + credit.credits_pending
        amount = min(amount, max(0, credit.debits_posted - spent))
    return amount


def _filled(t: Transfer, p: Transfer) -> Transfer:
    """``t``, which posts or voids ``p``, with what it leaves to ``p`` to say."""
    all_of_it = AMOUNT_MAX if t.flags & _POST else 0
    return attrs.evolve(
        t,
        debit_account_id=t.debit_account_id or p.debit_account_id,
        credit_account_id=t.credit_account_id or p.credit_account_id,
        amount=p.amount if t.amount == all_of_it else t.amount,
        user_data_128=t.user_data_128 or p.user_data_128,
        user_data_64=t.user_data_64 or p.user_data_64,
        user_data_32=t.user_data_32 or p.user_data_32,
        ledger=t.ledger or p.ledger,
        code=t.code or p.code,
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


def _add_up(events: Iterable[Happening | None]) -> Balances:
    books = Books()
    for event in events:
        if event is not None:
            books.take(event)
    return books.accounts
