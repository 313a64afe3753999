"""What follows from the journal: balances, the ledger that decides, past moments, checkpoints."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from projections.answers import TransferWithBalances
from projections.audit import AuditReport, audit
from projections.backends import open_ledger
from projections.changes import ChangeEvent, ChangeEventType, change_events
from projections.checkpoint import Checkpoint
from projections.client import LedgerClient
from projections.ledger import Ledger, OpenReport
from projections.ledger_async import AsyncLedger
from projections.past import PastLedger
from projections.projection import Projection
from projections.refusals import (
    AccountFailed,
    AccountNotFound,
    InsufficientBalance,
    Refused,
    TransferFailed,
    raise_for_status,
)
from projections.runner import Runner

if TYPE_CHECKING:
    from projections.tigerbeetle.cluster_ledger import ClusterLedger
    from projections.tigerbeetle.cluster_ledger_async import AsyncClusterLedger
    from projections.tigerbeetle.configuration import ClusterConfiguration

__all__ = [
    "AccountFailed",
    "AccountNotFound",
    "AsyncClusterLedger",
    "AsyncLedger",
    "AuditReport",
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
    "Runner",
    "TransferFailed",
    "TransferWithBalances",
    "audit",
    "change_events",
    "open_ledger",
    "raise_for_status",
]

_OF_A_CLUSTER: Final = {
    "AsyncClusterLedger": "projections.tigerbeetle.cluster_ledger_async",
    "ClusterConfiguration": "projections.tigerbeetle.configuration",
    "ClusterLedger": "projections.tigerbeetle.cluster_ledger",
}
"""Loaded when they are first asked for: most programs have no cluster."""


def __getattr__(name: str) -> Any:
    if name not in _OF_A_CLUSTER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OF_A_CLUSTER[name]), name)
