"""How far a reconciliation has come, so that one that was stopped can go on.

A small checkpoint of the journal's own kind, derived like a mirror's cursor, and bound to the same.
"""

from __future__ import annotations

from typing import Final

import attrs

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format import codec
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import (
    checkpoint_paths,
    read_checkpoint,
    write_checkpoint,
)
from nostro.projections.checkpoints.runner import holds_frame
from nostro.projections.tigerbeetle.mirror.cursor import projection_name
from nostro.projections.tigerbeetle.reconcile.findings import Findings

VERSION: Final = 1


@attrs.frozen
class Place:
    """The transfers up to here have been compared."""

    position: int = 0
    frame_sha256: bytes = bytes(32)
    timestamp: int = 0
    """Of the cluster, every transfer up to this time, ns."""


def read_progress(
    storage: Storage, reader: Reader, cluster_id: int, *, differences_max: int
) -> tuple[Place, Findings] | None:
    """What an earlier run left that fits the journal; None when there is nothing."""
    ledger_id = reader.head().ledger_id
    for path in reversed(checkpoint_paths(storage, reader.directory, _name(cluster_id))):
        try:
            found, state = read_checkpoint(storage, path, ledger_id=ledger_id)
            place = Place(found.position, found.frame_sha256, int(state["timestamp"]))
            findings = Findings.load(state["findings"], differences_max=differences_max)
        except (CorruptCheckpoint, KeyError, TypeError, ValueError):
            continue
        if found.projection_version == VERSION and holds_frame(
            reader, place.position, place.frame_sha256
        ):
            return place, findings
    return None


def write_progress(
    storage: Storage, reader: Reader, place: Place, findings: Findings, *, cluster_id: int
) -> None:
    """Raises OSError when it could not be written; the one before is as it was."""
    write_checkpoint(
        storage,
        reader.directory,
        projection=_name(cluster_id),
        projection_version=VERSION,
        ledger_id=reader.head().ledger_id,
        position=place.position,
        frame_sha256=place.frame_sha256,
        encoded=[codec.encode_cbor({"findings": findings.dump(), "timestamp": place.timestamp})],
    )


def forget_progress(storage: Storage, reader: Reader, cluster_id: int) -> None:
    """So that the next run begins at the beginning."""
    for path in checkpoint_paths(storage, reader.directory, _name(cluster_id)):
        storage.unlink(path)


def _name(cluster_id: int) -> str:
    return f"{projection_name(cluster_id)}_reconcile"
