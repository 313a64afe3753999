"""What follows from the journal: balances, the ledger that decides, past moments, checkpoints."""

from projections.audit import AuditReport, audit
from projections.checkpoint import Checkpoint
from projections.ledger import Ledger, OpenReport
from projections.ledger_async import AsyncLedger
from projections.past import PastLedger
from projections.projection import Projection
from projections.runner import Runner

__all__ = [
    "AsyncLedger",
    "AuditReport",
    "Checkpoint",
    "Ledger",
    "OpenReport",
    "PastLedger",
    "Projection",
    "Runner",
    "audit",
]
