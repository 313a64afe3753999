"""What derived files prove about the journal: each was written after its last event was durable."""

from __future__ import annotations

import contextlib

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.evidence.tree_file import kept_position
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.journal.writing.recovery import Witness
from nostro.projections.checkpoints.checkpoint import checkpoint_witnesses
from nostro.projections.indexes.run_file import RunFiles, read_span


def derived_witnesses(storage: Storage, directory: Directory, ledger_id: bytes) -> list[Witness]:
    """The witnesses among the checkpoints, runs of indexes and tree files of this ledger."""
    found = checkpoint_witnesses(storage, directory, ledger_id)
    runs = RunFiles(storage, directory.indexes, ledger_id)
    for name in runs.names(""):
        path = directory.indexes / name
        with contextlib.suppress(CorruptCheckpoint, OSError):
            found.append(Witness(path, read_span(runs, path).position_last))
    position = kept_position(storage, directory, ledger_id)
    if position:
        found.append(Witness(directory.subtrees, position))
    return found
