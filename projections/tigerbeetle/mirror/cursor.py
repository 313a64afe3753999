"""How far the cluster is, as last known: a small checkpoint of the journal's own kind.

It binds the ledger's identity, the cluster's id, a position and the hash of the frame that ends
there. It is derived: without it :mod:`locate` asks the cluster.
"""

from __future__ import annotations

from typing import Final

import attrs

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import (
    checkpoint_paths,
    read_checkpoint,
    write_checkpoint,
)
from nostro.projections.checkpoints.runner import holds_frame
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import Mirrored

VERSION: Final = 1


@attrs.frozen
class MirrorCursor:
    """The cluster holds every event up to ``position``, which ends a record."""

    position: int = 0
    frame_sha256: bytes = bytes(32)
    account_id: int = 0
    """The last account up to there; 0 when there is none."""
    transfer_id: int = 0
    transfers_timestamp: int = 0
    """When the last transfer was, ns."""

    def after(self, record: Record, rows: Mirrored | None) -> MirrorCursor:
        """The cursor once the cluster holds ``record`` too, which comes next, as ``rows``."""
        account_id, transfer_id = self.account_id, self.transfer_id
        timestamp = self.transfers_timestamp
        if rows is not None:
            [id_] = ids_of(rows.rows[-1:])
            if rows.kind is RecordKind.ACCOUNTS:
                account_id = id_
            else:
                transfer_id, timestamp = id_, int(rows.rows["timestamp"][-1])
        return MirrorCursor(record.position_last, record.sha256, account_id, transfer_id, timestamp)

    def is_after(self, rows: Mirrored) -> bool:
        """Whether ``rows``, which come next, are transfers from before the last one.

        An expiry is mirrored as a transfer, and then a transfer may be imported with a time before
        it. A cluster takes none that is older than its newest.
        """
        first = int(rows.rows["timestamp"][0])
        return rows.kind is RecordKind.TRANSFERS and first <= self.transfers_timestamp


def projection_name(cluster_id: int) -> str:
    """Under which a mirror's cursors lie among the checkpoints."""
    return f"tigerbeetle_{cluster_id}"


def read_cursor(storage: Storage, reader: Reader, cluster_id: int) -> MirrorCursor | None:
    """The newest cursor that fits the journal; None when there is none."""
    ledger_id = reader.head().ledger_id
    name = projection_name(cluster_id)
    for path in reversed(checkpoint_paths(storage, reader.directory, name)):
        try:
            found, state = read_checkpoint(storage, path, ledger_id=ledger_id)
        except CorruptCheckpoint:
            continue
        if found.projection_version != VERSION or state.get("cluster") != _bytes(cluster_id):
            continue
        if holds_frame(reader, found.position, found.frame_sha256):
            return MirrorCursor(
                found.position,
                found.frame_sha256,
                int.from_bytes(state["account"], "big"),
                int.from_bytes(state["transfer"], "big"),
                state["time"],
            )
    return None


def write_cursor(
    storage: Storage,
    directory: Directory,
    cursor: MirrorCursor,
    *,
    ledger_id: bytes,
    cluster_id: int,
) -> None:
    """Raises OSError when it could not be written; the one before is as it was."""
    write_checkpoint(
        storage,
        directory,
        projection=projection_name(cluster_id),
        projection_version=VERSION,
        ledger_id=ledger_id,
        position=cursor.position,
        frame_sha256=cursor.frame_sha256,
        encoded=[
            codec.encode_cbor(
                {
                    "account": _bytes(cursor.account_id),
                    "cluster": _bytes(cluster_id),
                    "time": cursor.transfers_timestamp,
                    "transfer": _bytes(cursor.transfer_id),
                }
            )
        ],
    )


def forget_cursor(storage: Storage, directory: Directory, cluster_id: int) -> None:
    """So that the next mirror asks the cluster how far it is."""
    for path in checkpoint_paths(storage, directory, projection_name(cluster_id)):
        storage.unlink(path)


def _bytes(id_: int) -> bytes:
    return id_.to_bytes(16, "big")
