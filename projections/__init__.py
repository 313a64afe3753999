"""What follows from the journal: balances, the ledger that decides, past moments, checkpoints."""

from projections.answers import TransferWithBalances
from projections.audit import AuditReport, audit
from projections.changes import ChangeEvent, ChangeEventType, change_events
from projections.checkpoint import Checkpoint
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

__all__ = [
    "AccountFailed",
    "AccountNotFound",
    "AsyncLedger",
    "AuditReport",
    "ChangeEvent",
    "ChangeEventType",
    "Checkpoint",
    "InsufficientBalance",
    "Ledger",
    "OpenReport",
    "PastLedger",
    "Projection",
    "Refused",
    "Runner",
    "TransferFailed",
    "TransferWithBalances",
    "audit",
    "change_events",
    "raise_for_status",
]
