"""A durable double-entry ledger: an append-only journal of facts, and what follows from it.

Everything public is here: ``from nostro import Ledger, Account, Transfer, id``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from nostro import journal
from nostro.journal import *
from nostro.projections import (
    AccountFailed,
    AccountNotFound,
    AsyncLedger,
    AuditReport,
    ChainNotChecked,
    ChangeEvent,
    ChangeEventType,
    Checkpoint,
    InsufficientBalance,
    Ledger,
    LedgerClient,
    OpenReport,
    PastLedger,
    Projection,
    Refused,
    RefusedTransfer,
    Runner,
    TransferFailed,
    TransferWithBalances,
    audit,
    change_events,
    open_ledger,
    raise_for_status,
)

if TYPE_CHECKING:
    from nostro.projections import AsyncClusterLedger, ClusterConfiguration, ClusterLedger

__version__ = "0.1.0"

__all__ = [
    "AccountFailed",
    "AccountNotFound",
    "AsyncClusterLedger",
    "AsyncLedger",
    "AuditReport",
    "ChainNotChecked",
    "ChangeEvent",
    "ChangeEventType",
    "Checkpoint",
    "ClusterConfiguration",
    "ClusterLedger",
    "InsufficientBalance",
    "Ledger",
    "LedgerClient",
    "OpenReport",
    "PastLedger",
    "Projection",
    "Refused",
    "RefusedTransfer",
    "Runner",
    "TransferFailed",
    "TransferWithBalances",
    "__version__",
    "audit",
    "change_events",
    "open_ledger",
    "raise_for_status",
]
__all__ += journal.__all__

_OF_A_CLUSTER: Final = frozenset({"AsyncClusterLedger", "ClusterConfiguration", "ClusterLedger"})
"""Loaded when first used: most programs have no cluster."""


def __getattr__(name: str) -> object:
    if name not in _OF_A_CLUSTER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("nostro.projections"), name)
