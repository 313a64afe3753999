"""Whether a ledger was made from a cluster and from nothing else, so that an import may go on.

How far that was seen to is remembered beside the checkpoints; else all of the journal is read.
"""

from __future__ import annotations

import contextlib
from typing import Final

import numpy as np

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import (
    checkpoint_paths,
    read_checkpoint,
    write_checkpoint,
)
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.checkpoints.runner import holds_frame
from nostro.projections.tigerbeetle.errors import NotMadeFromCluster
from nostro.projections.tigerbeetle.importing.imported_rows import (
    adopted_accounts,
    adopted_transfers,
)
from nostro.projections.tigerbeetle.mirror.cursor import projection_name
from nostro.projections.tigerbeetle.rows.compare import differences, ids_of
from nostro.projections.tigerbeetle.rows.translation import (
    IMPORTED_ACCOUNT,
    IMPORTED_TRANSFER,
    expiry_id,
)
from nostro.projections.tigerbeetle.session.cluster import Cluster

VERSION: Final = 1


def check_origin(storage: Storage, reader: Reader, cluster: Cluster) -> None:
    """Return if every event of the journal is one that an import of the cluster writes.

    Of the rows, the first and the last that are looked at are compared with the cluster's.

    Raises:
        NotMadeFromCluster: it is not.
        ConnectionFailed: no answer.
        Damage: the journal cannot be read.
    """
    path = reader.directory.path
    known = _known(storage, reader, cluster.configuration.cluster_id)
    for record in reader.records(Cursor(position=known + 1)):
        reason = _foreign(record)
        if reason:
            raise NotMadeFromCluster(path, record.position_first, reason)
    accounts = restore_state(storage, reader.directory).state.accounts.rows
    for row in (accounts[:1], accounts[-1:]):
        if len(row) and not _is_account_of(cluster, row):
            reason = f"the cluster has no such account {ids_of(row)[0]}"
            raise NotMadeFromCluster(path, 0, reason)
    _check_transfers(reader, cluster, known)


def remember_origin(storage: Storage, directory: Directory, cluster_id: int) -> None:
    """All that is durable now was written by an import of the cluster."""
    reader = Reader(directory.path, storage=storage)
    head = reader.head()
    with contextlib.suppress(OSError):  # derived
        write_checkpoint(
            storage,
            directory,
            projection=_name(cluster_id),
            projection_version=VERSION,
            ledger_id=head.ledger_id,
            position=head.position,
            frame_sha256=head.frame_sha256,
            encoded=[codec.encode_cbor({})],
        )


def _known(storage: Storage, reader: Reader, cluster_id: int) -> int:
    """The position up to which it was seen before; 0 if that is not known."""
    ledger_id = reader.head().ledger_id
    for path in reversed(checkpoint_paths(storage, reader.directory, _name(cluster_id))):
        try:
            found, _ = read_checkpoint(storage, path, ledger_id=ledger_id)
        except CorruptCheckpoint:
            continue
        if found.projection_version == VERSION and holds_frame(
            reader, found.position, found.frame_sha256
        ):
            return found.position
    return 0


def _foreign(record: Record) -> str:
    """What in a record no import has written; empty if nothing."""
    if record.kind is RecordKind.EVENTS:
        expired = any(isinstance(event, PendingExpired) for event in record.events())
        return "a pending transfer expired in the ledger itself" if expired else ""
    if record.kind is RecordKind.ACCOUNTS:
        whole = (record.rows["flags"] & IMPORTED_ACCOUNT != 0).all()
        return "" if whole else "an account was created in the ledger itself"
    if record.statuses is not None:
        return "a transfer was refused by the ledger itself"
    rows = record.rows
    whole = (rows["flags"] & IMPORTED_TRANSFER != 0).all() and not rows["timeout"].any()
    return "" if whole else "a transfer was created in the ledger itself"


def _check_transfers(reader: Reader, cluster: Cluster, known: int) -> None:
    """The first and the last transfer that stand after a position, but for what expired."""
    first: Rows | None = None
    last: tuple[int, Rows] | None = None
    for record in reader.records(Cursor(position=max(known, 1))):
        if record.kind is not RecordKind.TRANSFERS:
            continue
        rows = record.rows
        if first is not None:
            last = record.position_first, rows
            continue
        first = rows
        _require_transfers(reader, cluster, record.position_first, _told(rows)[:1])
        last = record.position_first, rows
    if last is not None:
        _require_transfers(reader, cluster, last[0], _told(last[1])[-1:])


def _told(rows: Rows) -> Rows:
    """Those that the cluster has."""
    own = [
        expiry_id(pending) != id_
        for id_, pending in zip(ids_of(rows), ids_of(rows, "pending_id"), strict=True)
    ]
    return rows[np.array(own, np.bool_)]


def _require_transfers(reader: Reader, cluster: Cluster, position: int, rows: Rows) -> None:
    held = adopted_transfers(cluster.lookup_transfers(ids_of(rows)))
    if len(held) != len(rows) or any(differences(RecordKind.TRANSFERS, rows, held)):
        reason = f"the cluster has no such transfer {ids_of(rows)[0]}"
        raise NotMadeFromCluster(reader.directory.path, position, reason)


def _is_account_of(cluster: Cluster, row: Rows) -> bool:
    held = cluster.lookup_accounts(ids_of(row))
    if len(held) != 1:
        return False
    return not any(differences(RecordKind.ACCOUNTS, row, adopted_accounts(held, lambda _: False)))


def _name(cluster_id: int) -> str:
    return f"{projection_name(cluster_id)}_import"
