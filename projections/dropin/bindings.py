"""The names of a request: enums, flags, the classes of events and results, the eight methods.

The classes are mutable and have the original's defaults. The ledger packs them by attribute names
and copies nothing.
"""

from __future__ import annotations

import ctypes
import enum
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import attrs

from nostro.journal.model import (
    AccountFilterFlags,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    QueryFilterFlags,
    TransferFlags,
)
from nostro.projections.dropin.lib import c_uint128
from nostro.projections.tigerbeetle.operations import Operation

__all__ = [
    "Account",
    "AccountBalance",
    "AccountFilter",
    "AccountFilterFlags",
    "AccountFlags",
    "AsyncStateMachineMixin",
    "ClientStatus",
    "CreateAccountResult",
    "CreateAccountStatus",
    "CreateTransferResult",
    "CreateTransferStatus",
    "InitParameters",
    "InitStatus",
    "LogHandler",
    "LogLevel",
    "Operation",
    "PacketStatus",
    "QueryFilter",
    "QueryFilterFlags",
    "RegisterLogCallbackStatus",
    "StateMachineMixin",
    "Transfer",
    "TransferFlags",
]


P = ParamSpec("P")
T = TypeVar("T")


class PacketStatus(enum.IntEnum):
    OK = 0
    TOO_MUCH_DATA = 1
    CLIENT_EVICTED = 2
    CLIENT_RELEASE_TOO_LOW = 3
    CLIENT_RELEASE_TOO_HIGH = 4
    CLIENT_SHUTDOWN = 5
    INVALID_OPERATION = 6
    INVALID_DATA_SIZE = 7


class InitStatus(enum.IntEnum):
    SUCCESS = 0
    UNEXPECTED = 1
    OUT_OF_MEMORY = 2
    ADDRESS_INVALID = 3
    ADDRESS_LIMIT_EXCEEDED = 4
    SYSTEM_RESOURCES = 5
    NETWORK_SUBSYSTEM = 6


class ClientStatus(enum.IntEnum):
    OK = 0
    INVALID = 1


class LogLevel(enum.IntEnum):
    ERR = 0
    WARN = 1
    INFO = 2
    DEBUG = 3


class RegisterLogCallbackStatus(enum.IntEnum):
    SUCCESS = 0
    ALREADY_REGISTERED = 1
    NOT_REGISTERED = 2


@dataclass(slots=True)
class Account:
    id: int = 0
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    ledger: int = 0
    code: int = 0
    flags: AccountFlags = AccountFlags.NONE
    timestamp: int = 0


@dataclass(slots=True)
class Transfer:
    id: int = 0
    debit_account_id: int = 0
    credit_account_id: int = 0
    amount: int = 0
    pending_id: int = 0
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0
    timeout: int = 0
    ledger: int = 0
    code: int = 0
    flags: TransferFlags = TransferFlags.NONE
    timestamp: int = 0


@dataclass(slots=True)
class CreateAccountResult:
    timestamp: int
    status: CreateAccountStatus


@dataclass(slots=True)
class CreateTransferResult:
    timestamp: int
    status: CreateTransferStatus


@dataclass(slots=True)
class AccountFilter:
    """Selects the transfers or balances of one account; a zero field does not filter."""

    account_id: int
    user_data_128: int
    user_data_64: int
    user_data_32: int
    code: int
    timestamp_min: int
    timestamp_max: int
    limit: int
    flags: AccountFilterFlags


@dataclass(slots=True)
class AccountBalance:
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    timestamp: int


@dataclass(slots=True)
class QueryFilter:
    """Selects accounts or transfers by their fields; a zero field does not filter."""

    user_data_128: int
    user_data_64: int
    user_data_32: int
    ledger: int
    code: int
    timestamp_min: int
    timestamp_max: int
    limit: int
    flags: QueryFilterFlags


LogHandler: Final = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint)
"""Turns a function (LogLevel, address of UTF-8 text, its length in bytes) into a log handler."""


class InitParameters(ctypes.Structure):
    """The arguments of a client."""

    _fields_ = (
        ("cluster_id", c_uint128),
        ("client_id", c_uint128),
        ("addresses_ptr", ctypes.c_void_p),
        ("addresses_len", ctypes.c_uint64),
    )


@attrs.define(eq=False)
class InitialisedClient:
    """Replaces the native client."""

    cluster_id: int
    client_id: int
    addresses: ctypes.Array[ctypes.c_char]
    """InitParameters points at it, so it must stay alive."""
    is_open: bool = True


def tb_client_init_parameters(client: InitialisedClient, out_parameters: Any) -> ClientStatus:
    """Fill in the ``InitParameters`` that ``out_parameters`` points at; INVALID once closed."""
    if not client.is_open:
        return ClientStatus.INVALID
    out = ctypes.cast(out_parameters, ctypes.POINTER(InitParameters)).contents
    out.cluster_id = c_uint128.from_param(client.cluster_id)
    out.client_id = c_uint128.from_param(client.client_id)
    out.addresses_ptr = ctypes.addressof(client.addresses)
    out.addresses_len = len(client.addresses)
    return ClientStatus.OK


class StateMachineMixin:
    """The eight requests as blocking methods; ``_submit`` carries them out."""

    _submit: Callable[[Operation, Any], list[Any]]

    def create_accounts(self, accounts: list[Account]) -> list[CreateAccountResult]:
        """One result for each, in order, once they are on disk.

        A caller that stops waiting does not stop the request: see docs/guides/retries.md.

        Raises:
            IntegerOverflowError, TypeError, AttributeError: a field is wrong; nothing was created.
            TooMuchDataError: there are more than 8,189; nothing was created.
            ClientClosedError: the client is closed, or was closed during this request, whose
                outcome is then unknown.
            journal.JournalFull, journal.WriterPoisoned: the disk is full, or has failed.
        """
        return self._submit(Operation.CREATE_ACCOUNTS, accounts)

    def create_transfers(self, transfers: list[Transfer]) -> list[CreateTransferResult]:
        """One result for each, in order, once they are on disk. Errors: as ``create_accounts``.

        A caller that stops waiting does not stop the request: see docs/guides/retries.md.
        """
        return self._submit(Operation.CREATE_TRANSFERS, transfers)

    def lookup_accounts(self, accounts: list[int]) -> list[Account]:
        """The accounts with these ids that exist, in the order of the ids."""
        return self._submit(Operation.LOOKUP_ACCOUNTS, accounts)

    def lookup_transfers(self, transfers: list[int]) -> list[Transfer]:
        """The transfers with these ids that exist, in the order of the ids."""
        return self._submit(Operation.LOOKUP_TRANSFERS, transfers)

    def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account. An invalid filter selects nothing."""
        return self._submit(Operation.GET_ACCOUNT_TRANSFERS, filter)

    def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """The balances of an account with history, after each of its transfers."""
        return self._submit(Operation.GET_ACCOUNT_BALANCES, filter)

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """The accounts that match. An invalid filter selects nothing."""
        return self._submit(Operation.QUERY_ACCOUNTS, query_filter)

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """The transfers that match. An invalid filter selects nothing."""
        return self._submit(Operation.QUERY_TRANSFERS, query_filter)


def _awaited(
    method: Callable[Concatenate[StateMachineMixin, P], T],
) -> Callable[Concatenate[AsyncStateMachineMixin, P], Coroutine[Any, Any, T]]:
    """``method`` as a coroutine: it awaits what ``_submit`` returns."""

    @functools.wraps(method)
    async def coroutine(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        waiting: Any = method(self, *args, **kwargs)
        answer: T = await waiting
        return answer

    return coroutine


class AsyncStateMachineMixin:
    """The requests of :class:`StateMachineMixin` as coroutines; the errors are the same."""

    _submit: Callable[[Operation, Any], Awaitable[list[Any]]]

    create_accounts = _awaited(StateMachineMixin.create_accounts)
    create_transfers = _awaited(StateMachineMixin.create_transfers)
    lookup_accounts = _awaited(StateMachineMixin.lookup_accounts)
    lookup_transfers = _awaited(StateMachineMixin.lookup_transfers)
    get_account_transfers = _awaited(StateMachineMixin.get_account_transfers)
    get_account_balances = _awaited(StateMachineMixin.get_account_balances)
    query_accounts = _awaited(StateMachineMixin.query_accounts)
    query_transfers = _awaited(StateMachineMixin.query_transfers)
