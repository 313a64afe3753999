"""The mirror's cursor: the last known position up to which the cluster holds every event.

It is derived: without it :mod:`mirrored_position` finds the position by asking the cluster.
"""

from __future__ import annotations

import attrs

from nostro.journal.format.codec import RecordKind
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import Mirrored
from nostro.projections.tigerbeetle.saved_position import SavedPosition


@attrs.frozen
class MirrorCursor:
    """The cluster holds every event up to ``position``, which ends a record."""

    position: int = 0
    frame_sha256: bytes = bytes(32)
    account_id: int = 0
    """The last account up to there; 0 if the journal has none."""
    transfer_id: int = 0
    transfers_timestamp: int = 0
    """The time of the last transfer, ns."""

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

        An expiry is mirrored as a transfer, and a later transfer may be imported with an earlier
        time. A cluster takes no transfer that is older than its newest.
        """
        first = int(rows.rows["timestamp"][0])
        return rows.kind is RecordKind.TRANSFERS and first <= self.transfers_timestamp


def read_cursor(storage: Storage, reader: Reader, cluster_id: int) -> MirrorCursor | None:
    """The newest cursor that fits the journal; None if there is none."""
    for found, state in SavedPosition(storage, reader.directory, cluster_id).read(reader):
        if state.get("cluster") == _bytes(cluster_id):
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
    """Save the cursor. Raises OSError on failure; the older one is then unchanged."""
    state = {
        "account": _bytes(cursor.account_id),
        "cluster": _bytes(cluster_id),
        "time": cursor.transfers_timestamp,
        "transfer": _bytes(cursor.transfer_id),
    }
    SavedPosition(storage, directory, cluster_id).write(
        state, ledger_id=ledger_id, position=cursor.position, frame_sha256=cursor.frame_sha256
    )


def forget_cursor(storage: Storage, directory: Directory, cluster_id: int) -> None:
    """Delete the cursor: the next mirror asks the cluster for its position."""
    SavedPosition(storage, directory, cluster_id).forget()


def _bytes(id_: int) -> bytes:
    return id_.to_bytes(16, "big")
