"""The origin of a ledger: an import continues only a ledger that it made from the same cluster.

The position up to which this was checked is saved; without it all of the journal is read.
"""

from __future__ import annotations

import contextlib

from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader, RecordPart
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.tigerbeetle.errors import NotMadeFromCluster
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.compare import differences, ids_of
from nostro.projections.tigerbeetle.rows.translation import (
    IMPORTED_ACCOUNT,
    IMPORTED_TRANSFER,
    expiry_id,
    imported_accounts,
    imported_transfers,
)
from nostro.projections.tigerbeetle.saved_position import SavedPosition
from nostro.projections.tigerbeetle.session.cluster import Cluster


def check_origin(storage: Storage, reader: Reader, cluster: Cluster) -> None:
    """Check that an import of this cluster wrote every event of the journal.

    Of the accounts and of the transfers, the first and the last are compared with the cluster's.

    Raises:
        NotMadeFromCluster: something else wrote an event.
        ConnectionFailed: no answer.
        Damage: the journal cannot be read.
    """
    saved = _saved(storage, reader.directory, cluster.configuration.cluster_id)
    known = next((found.position for found, _ in saved.read(reader)), 0)
    for part in reader.parts(Cursor(position=known + 1)):
        reason = _foreign(part)
        if reason:
            raise NotMadeFromCluster(reader.directory.path, part.record.position_first, reason)
    accounts = restore_state(storage, reader.directory).state.accounts.rows
    for rows in (accounts[:1], accounts[-1:]):
        _require_held(reader, cluster, RecordKind.ACCOUNTS, 0, rows)
    _check_transfers(reader, cluster, known)


def remember_origin(storage: Storage, directory: Directory, cluster_id: int) -> None:
    """Save that an import of the cluster wrote every event that is durable now."""
    head = Reader(directory.path, storage=storage).head()
    with contextlib.suppress(OSError):  # derived
        _saved(storage, directory, cluster_id).write(
            {}, ledger_id=head.ledger_id, position=head.position, frame_sha256=head.frame_sha256
        )


def _foreign(part: RecordPart) -> str:
    """Why no import can have written the part; empty if one can."""
    if part.record.kind is RecordKind.COMMANDS:
        return "a command was executed in the ledger itself"
    if part.kind is RecordKind.EVENTS:
        expired = any(isinstance(event, PendingExpired) for event in part.events())
        return "a pending transfer expired in the ledger itself" if expired else ""
    if part.kind is RecordKind.ACCOUNTS:
        whole = (part.rows["flags"] & IMPORTED_ACCOUNT != 0).all()
        return "" if whole else "an account was created in the ledger itself"
    if part.statuses is not None:
        return "a transfer was refused by the ledger itself"
    rows = part.rows
    whole = (rows["flags"] & IMPORTED_TRANSFER != 0).all() and not rows["timeout"].any()
    return "" if whole else "a transfer was created in the ledger itself"


def _check_transfers(reader: Reader, cluster: Cluster, known: int) -> None:
    """Compare the first and the last transfer after a position, except voids of expiries."""
    last: tuple[int, Rows] | None = None
    for part in reader.parts(Cursor(position=max(known, 1))):
        if part.kind is RecordKind.TRANSFERS:
            if last is None:
                rows = _without_expiries(part.rows)[:1]
                _require_held(reader, cluster, part.kind, part.record.position_first, rows)
            last = part.record.position_first, part.rows
    if last is not None:
        rows = _without_expiries(last[1])[-1:]
        _require_held(reader, cluster, RecordKind.TRANSFERS, last[0], rows)


def _without_expiries(rows: Rows) -> Rows:
    pairs = zip(ids_of(rows), ids_of(rows, "pending_id"), strict=True)
    return rows[[expiry_id(pending) != id_ for id_, pending in pairs]]


def _require_held(
    reader: Reader, cluster: Cluster, kind: RecordKind, position: int, rows: Rows
) -> None:
    """Raise NotMadeFromCluster unless the cluster holds the rows."""
    held = cluster.look_up(kind, ids_of(rows))
    if kind is RecordKind.ACCOUNTS:
        held = imported_accounts(held, lambda _: False)
    else:
        held = imported_transfers(held)
    if len(held) != len(rows) or any(differences(kind, rows, held)):
        reason = f"the cluster has no such {EVENT_KINDS[kind].name} {ids_of(rows)[0]}"
        raise NotMadeFromCluster(reader.directory.path, position, reason)


def _saved(storage: Storage, directory: Directory, cluster_id: int) -> SavedPosition:
    return SavedPosition(storage, directory, cluster_id, "import")
