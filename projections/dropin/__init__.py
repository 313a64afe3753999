"""TigerBeetle's Python client, release 0.17, on a ledger in a directory of this machine.

A program written for the ``tigerbeetle`` package runs after changing one import::

    import nostro.dropin as tigerbeetle

Names, numbers, arguments, results and errors are the package's; :mod:`client` says where the data
lies. docs/guides/dropin.md lists the differences.
"""

from nostro.projections.dropin import bindings, client, lib
from nostro.projections.dropin.bindings import (
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    AsyncStateMachineMixin,
    ClientStatus,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    InitParameters,
    InitStatus,
    LogHandler,
    LogLevel,
    Operation,
    PacketStatus,
    QueryFilter,
    QueryFilterFlags,
    RegisterLogCallbackStatus,
    StateMachineMixin,
    Transfer,
    TransferFlags,
)
from nostro.projections.dropin.client import (
    AMOUNT_MAX,
    ClientAsync,
    ClientClosedError,
    ClientEvictedError,
    ClientReleaseTooHighError,
    ClientReleaseTooLowError,
    ClientSync,
    InitError,
    TooMuchDataError,
    configure_logging,
    id,
)
from nostro.projections.dropin.lib import (
    IntegerOverflowError,
    NativeError,
    c_uint128,
    validate_uint,
)

__all__ = [
    "AMOUNT_MAX",
    "Account",
    "AccountBalance",
    "AccountFilter",
    "AccountFilterFlags",
    "AccountFlags",
    "AsyncStateMachineMixin",
    "ClientAsync",
    "ClientClosedError",
    "ClientEvictedError",
    "ClientReleaseTooHighError",
    "ClientReleaseTooLowError",
    "ClientStatus",
    "ClientSync",
    "CreateAccountResult",
    "CreateAccountStatus",
    "CreateTransferResult",
    "CreateTransferStatus",
    "InitError",
    "InitParameters",
    "InitStatus",
    "IntegerOverflowError",
    "LogHandler",
    "LogLevel",
    "NativeError",
    "Operation",
    "PacketStatus",
    "QueryFilter",
    "QueryFilterFlags",
    "RegisterLogCallbackStatus",
    "StateMachineMixin",
    "TooMuchDataError",
    "Transfer",
    "TransferFlags",
    "bindings",
    "c_uint128",
    "client",
    "configure_logging",
    "id",
    "lib",
    "validate_uint",
]
