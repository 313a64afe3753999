"""Checks and packs a request, carries it out on a ledger, and returns the answer as objects.

Errors and their order are the original's: it checks first every field of every event, then whether
the client is open, then the size of the batch. Flags and ids of look-ups are cut to their width.
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
from nostro.journal.model import FIELD_BITS, MESSAGE_EVENTS_MAX, Rows
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
from nostro.projections.pipeline.create_request import CreateRequest

BATCH_EVENTS_MAX: Final = MESSAGE_EVENTS_MAX
"""The most events of one request, and results of one query: what TigerBeetle's messages hold."""

_MASK_128: Final = 2**128 - 1


class TooMuchDataError(Exception):
    """A request has more than 8,189 events, or asks for more results."""

    def __init__(self) -> None:
        super().__init__(f"a request may hold at most {BATCH_EVENTS_MAX:,} events or results")


@attrs.frozen(eq=False)
class CheckedRequest:
    """A request whose fields are valid."""

    size: int
    """The number of events or ids; for a query, of results asked for."""
    answer: Callable[[Ledger], list[Any]]
    creation: CreateRequest | None = None
    """The rows to create; None if there are none or too many, or if the request only reads."""

    @classmethod
    def of(cls, operation: Operation, argument: Any) -> CheckedRequest:
        """Check and pack the argument of a client's method.

        Raises:
            IntegerOverflowError: a field is negative or does not fit.
            TypeError: a field is not an integer, or the argument not a collection.
            AttributeError: an event or filter lacks a field.
        """
        if operation in _EVENTS:
            return _EVENTS[operation].request(argument)
        method, in_objects, filter_ = _QUERIES[operation]
        if filter_ is None:
            asked: Any = [index(id_) & _MASK_128 for id_ in argument]
            size = len(argument)
        else:
            asked = _checked(argument, filter_, flags_bits=32)
            flags = type(attrs.fields(filter_).flags.default)
            asked = attrs.evolve(asked, flags=flags(asked.flags))
            size = asked.limit
        return cls(size, lambda ledger: in_objects(getattr(ledger, method)(asked)))

    def carry_out(self, ledger: Ledger) -> list[Any]:
        """The answer.

        Raises:
            TooMuchDataError: nothing was done.
            journal.JournalError: as the ledger raises it.
        """
        if self.size > BATCH_EVENTS_MAX:
            raise TooMuchDataError
        return self.answer(ledger)


@attrs.frozen
class _Events:
    """Accounts or transfers to create."""

    kind: RecordKind
    make: type
    pack_rows: Callable[[Any], Rows]
    in_objects: Callable[[npt.NDArray[np.void]], list[Any]]

    def request(self, events: Any) -> CheckedRequest:
        rows = self._pack(events)
        if rows is None or not len(rows):
            return CheckedRequest(len(events), lambda _: [])
        creation = CreateRequest(self.kind, rows, self.in_objects)
        return CheckedRequest(len(events), lambda ledger: ledger.create(creation), creation)

    def _pack(self, events: Any) -> Rows | None:
        """Rows; None for a batch that is too large, if all of its fields are valid."""
        if len(events) > BATCH_EVENTS_MAX:
            self._check(events)
            return None
        try:
            return self.pack_rows(events)
        except InvalidField:
            return self.pack_rows(self._check(events))

    def _check(self, events: Iterable[Any]) -> list[Any]:
        """The events, with flags cut to their width; raises what the original raises."""
        return [_checked(event, self.make, flags_bits=16) for event in events]


def _checked(item: Any, kind: type, *, flags_bits: int) -> Any:
    """``kind`` with the fields of ``item``, in whose order they are checked; flags are cut."""
    names = [name for name in kind.__match_args__ if name != "flags"]  # type: ignore[attr-defined]
    for name in names:
        validate_uint(bits=FIELD_BITS[name], name=name, number=getattr(item, name))
    fields = {name: index(getattr(item, name)) for name in names}
    return kind(**fields, flags=index(item.flags) & 2**flags_bits - 1)


def _remake(make: Callable[..., Any], source: type) -> Callable[[Iterable[Any]], list[Any]]:
    """Copies the ledger's frozen objects to the original's classes, which have the same fields."""
    fields = attrgetter(*(field.name for field in attrs.fields(source)))
    return lambda items: [make(*fields(item)) for item in items]


_accounts: Final = _remake(Account, model.Account)
_transfers: Final = _remake(Transfer, model.Transfer)
_balances: Final = _remake(AccountBalance, model.AccountBalance)

_EVENTS: Final = {
    Operation.CREATE_ACCOUNTS: _Events(
        RecordKind.ACCOUNTS, Account, account_rows,
        results_as(CreateAccountResult, model.CreateAccountStatus),
    ),
    Operation.CREATE_TRANSFERS: _Events(
        RecordKind.TRANSFERS, Transfer, transfer_rows,
        results_as(CreateTransferResult, model.CreateTransferStatus),
    ),
}  # fmt: skip
_QUERIES: Final[dict[Operation, tuple[str, Callable[[Any], list[Any]], Any]]] = {
    Operation.LOOKUP_ACCOUNTS: ("lookup_accounts", _accounts, None),
    Operation.LOOKUP_TRANSFERS: ("lookup_transfers", _transfers, None),
    Operation.GET_ACCOUNT_TRANSFERS: ("get_account_transfers", _transfers, model.AccountFilter),
    Operation.GET_ACCOUNT_BALANCES: ("get_account_balances", _balances, model.AccountFilter),
    Operation.QUERY_ACCOUNTS: ("query_accounts", _accounts, model.QueryFilter),
    Operation.QUERY_TRANSFERS: ("query_transfers", _transfers, model.QueryFilter),
}
"""The ledger's method, what makes the original's objects, and the class of the filter if any."""
