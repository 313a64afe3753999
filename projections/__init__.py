"""What follows from the journal: balances, the ledger that decides, past moments, checkpoints."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nostro.projections.checkpoints.audit import AuditReport, audit
from nostro.projections.checkpoints.checkpoint import Checkpoint
from nostro.projections.checkpoints.projection import Projection
from nostro.projections.checkpoints.runner import Runner
from nostro.projections.ledger.backends import open_ledger
from nostro.projections.ledger.ledger import Ledger, OpenReport
from nostro.projections.ledger.ledger_async import AsyncLedger
from nostro.projections.ledger.past import PastLedger
from nostro.projections.ledger.preview import LedgerPreview
from nostro.projections.ledger.protocol import LedgerClient
from nostro.projections.pipeline.answers import TransferWithBalances
from nostro.projections.pipeline.refusals import (
    AccountFailed,
    AccountNotFound,
    ChainNotChecked,
    InsufficientBalance,
    Refused,
    TransferFailed,
    raise_for_status,
)
from nostro.projections.queries.change_events import ChangeEvent, ChangeEventType, change_events
from nostro.projections.queries.refused_transfers import RefusedTransfer

if TYPE_CHECKING:
    from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
    from nostro.projections.tigerbeetle.ledger.cluster_ledger import ClusterLedger
    from nostro.projections.tigerbeetle.ledger.cluster_ledger_async import AsyncClusterLedger

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
    "LedgerPreview",
    "OpenReport",
    "PastLedger",
    "Projection",
    "Refused",
    "RefusedTransfer",
    "Runner",
    "TransferFailed",
    "TransferWithBalances",
    "audit",
    "change_events",
    "open_ledger",
    "raise_for_status",
]

_OF_A_CLUSTER: Final = {
    "AsyncClusterLedger": "nostro.projections.tigerbeetle.ledger.cluster_ledger_async",
    "ClusterConfiguration": "nostro.projections.tigerbeetle.configuration",
    "ClusterLedger": "nostro.projections.tigerbeetle.ledger.cluster_ledger",
}
"""Loaded when they are first asked for: most programs have no cluster."""


def __getattr__(name: str) -> Any:
    if name not in _OF_A_CLUSTER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OF_A_CLUSTER[name]), name)
