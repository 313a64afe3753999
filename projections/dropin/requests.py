"""A request: its arguments checked and packed, carried out on a ledger, its answer as objects.

What is refused, in which order and how, is as the original does it: every field of every event is
checked before anything else, then whether the client is open, then the size of the batch. Flags and
the ids of look-ups are cut to their width instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter, index
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal import model
from nostro.journal.errors import InvalidField
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.journal.rows import account_rows, transfer_rows
from nostro.projections.dropin.bindings import (
    Account,
    AccountBalance,
    CreateAccountResult,
    CreateTransferResult,
    Operation,
    Transfer,
)
from nostro.projections.dropin.lib import validate_uint
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.pipeline.answers import results_as
from nostro.projections.pipeline.create_request import CreateRequest, goes_with

BATCH_EVENTS_MAX: Final = 8_189
"""The most events of one request, and results of one query: what TigerBeetle's messages hold."""

_MASK_128: Final = 2**128 - 1

_Widths = tuple[tuple[str, int], ...]
"""Names of fields and their bits, in order; flags are not among them."""


class TooMuchDataError(Exception):
    """More than 8,189 events are sent, or results asked for, in one request."""

    def __init__(self) -> None:
        super().__init__(
            f"a request holds at most {BATCH_EVENTS_MAX:,} events and asks for as many results"
        )


@attrs.frozen(eq=False)
class OperationRequest:
    """One request that has been checked. ``payload`` is rows, a list of ids, or a filter."""

    operation: Operation
    payload: Any
    size: int
    """Events sent or, for a query, results asked for."""
    creation: CreateRequest | None = None
    """The same for the ledger, if it is to create at least one event and not too many."""

    @classmethod
    def of(cls, operation: Operation, argument: Any) -> OperationRequest:
        """Check and pack the argument of a client's method.

        Raises:
            IntegerOverflowError: a field is negative or does not fit.
            TypeError: a field is no integer, or the argument no collection.
            AttributeError: an event or filter lacks a field.
        """
        if operation in _KINDS:
            kind = _KINDS[operation]
            rows = kind.pack(argument)
            creation = None
            if rows is not None and len(rows):
                creation = CreateRequest(kind.kind, rows, kind.in_objects)
            return cls(operation, rows, len(argument), creation)
        if operation in _FILTERS:
            checked = _FILTERS[operation].check(argument)
            return cls(operation, checked, checked.limit)
        count = len(argument)
        return cls(operation, [id_ & _MASK_128 for id_ in argument], count)

    def carry_out(self, ledger: Ledger) -> list[Any]:
        """The answer.

        Raises:
            TooMuchDataError: nothing was done.
            journal.JournalError: as the ledger raises it.
        """
        if self.size > BATCH_EVENTS_MAX:
            raise TooMuchDataError
        if self.creation is not None:
            answer: list[Any] = ledger.create(self.creation)
            return answer
        if self.operation in _KINDS:
            return []
        return _ANSWERS[self.operation](ledger, self.payload)

    def takes_along(self, following: OperationRequest, events: int) -> bool:
        """Whether ``following`` is answered the same when it is created along with this one.

        Args:
            events: how many there are up to and with this request.
        """
        if self.creation is None or following.creation is None:
            return False
        if events + following.size > BATCH_EVENTS_MAX:
            return False
        return goes_with(self.creation, following.creation)


@attrs.frozen
class _Kind:
    """Accounts or transfers to create."""

    kind: RecordKind
    widths: _Widths
    make: Callable[..., Any]
    pack_rows: Callable[[Any], Rows]
    in_objects: Callable[[npt.NDArray[np.void]], list[Any]]

    def pack(self, events: Any) -> Rows | None:
        """Rows; None for a batch that is too large, all of whose events are good."""
        if len(events) > BATCH_EVENTS_MAX:
            self.check(events)
            return None
        try:
            return self.pack_rows(events)
        except InvalidField:
            return self.pack_rows(self.check(events))

    def check(self, events: Iterable[Any]) -> list[Any]:
        """The events, with flags cut to their width; raises what the original raises."""
        return [_checked(event, self.widths, self.make, flags_bits=16) for event in events]


@attrs.frozen
class _Filter:
    widths: _Widths
    make: Callable[..., Any]
    flags: Callable[[int], Any]

    def check(self, filter: Any) -> Any:
        checked = _checked(filter, self.widths, self.make, flags_bits=32)
        return attrs.evolve(checked, flags=self.flags(checked.flags))


def _checked(item: Any, widths: _Widths, make: Callable[..., Any], *, flags_bits: int) -> Any:
    for name, bits in widths:
        validate_uint(bits=bits, name=name, number=getattr(item, name))
    fields = {name: index(getattr(item, name)) for name, _ in widths}
    return make(**fields, flags=index(item.flags) & 2**flags_bits - 1)


def _remake(make: Callable[..., Any], source: type) -> Callable[[Iterable[Any]], list[Any]]:
    """From the ledger's own frozen objects to the original's classes, which have their fields."""
    fields = attrgetter(*(field.name for field in attrs.fields(source)))
    return lambda items: [make(*fields(item)) for item in items]


_TAIL: Final = (("user_data_128", 128), ("user_data_64", 64), ("user_data_32", 32))
_TIMES: Final = (("timestamp_min", 64), ("timestamp_max", 64), ("limit", 32))

_KINDS: Final = {
    Operation.CREATE_ACCOUNTS: _Kind(
        kind=RecordKind.ACCOUNTS,
        widths=(
            ("id", 128), ("debits_pending", 128), ("debits_posted", 128),
            ("credits_pending", 128), ("credits_posted", 128), *_TAIL,
            ("ledger", 32), ("code", 16), ("timestamp", 64),
        ),
        make=Account,
        pack_rows=account_rows,
        in_objects=results_as(CreateAccountResult, model.CreateAccountStatus),
    ),
    Operation.CREATE_TRANSFERS: _Kind(
        kind=RecordKind.TRANSFERS,
        widths=(
            ("id", 128), ("debit_account_id", 128), ("credit_account_id", 128), ("amount", 128),
            ("pending_id", 128), *_TAIL, ("timeout", 32),
            ("ledger", 32), ("code", 16), ("timestamp", 64),
        ),
        make=Transfer,
        pack_rows=transfer_rows,
        in_objects=results_as(CreateTransferResult, model.CreateTransferStatus),
    ),
}  # fmt: skip

_ACCOUNT_FILTER: Final = _Filter(
    (("account_id", 128), *_TAIL, ("code", 16), *_TIMES),
    model.AccountFilter,
    model.AccountFilterFlags,
)
_QUERY_FILTER: Final = _Filter(
    (*_TAIL, ("ledger", 32), ("code", 16), *_TIMES), model.QueryFilter, model.QueryFilterFlags
)
_FILTERS: Final = {
    Operation.GET_ACCOUNT_TRANSFERS: _ACCOUNT_FILTER,
    Operation.GET_ACCOUNT_BALANCES: _ACCOUNT_FILTER,
    Operation.QUERY_ACCOUNTS: _QUERY_FILTER,
    Operation.QUERY_TRANSFERS: _QUERY_FILTER,
}

_accounts: Final = _remake(Account, model.Account)
_transfers: Final = _remake(Transfer, model.Transfer)
_balances: Final = _remake(AccountBalance, model.AccountBalance)

_ANSWERS: Final[dict[Operation, Callable[[Ledger, Any], list[Any]]]] = {
    Operation.LOOKUP_ACCOUNTS: lambda ledger, ids: _accounts(ledger.lookup_accounts(ids)),
    Operation.LOOKUP_TRANSFERS: lambda ledger, ids: _transfers(ledger.lookup_transfers(ids)),
    Operation.GET_ACCOUNT_TRANSFERS: lambda ledger, by: _transfers(
        ledger.get_account_transfers(by)
    ),
    Operation.GET_ACCOUNT_BALANCES: lambda ledger, by: _balances(ledger.get_account_balances(by)),
    Operation.QUERY_ACCOUNTS: lambda ledger, by: _accounts(ledger.query_accounts(by)),
    Operation.QUERY_TRANSFERS: lambda ledger, by: _transfers(ledger.query_transfers(by)),
}
