"""How much of the journal a cluster holds, whatever else is in it.

Events are mirrored in order, so the newest row of the cluster that the journal knows says it. What
is newer in the cluster and unknown to the journal is passed over; who compares will meet it.
"""

from __future__ import annotations

from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.projections.tigerbeetle.configuration import BATCH_EVENTS_MAX
from nostro.projections.tigerbeetle.errors import ForeignData
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.pairing import pair_places
from nostro.projections.tigerbeetle.rows.translation import mirrored
from nostro.projections.tigerbeetle.session.cluster import Cluster, by_time

_NAMES: Final = {RecordKind.ACCOUNTS: "account", RecordKind.TRANSFERS: "transfer"}


@attrs.frozen
class Extent:
    """A cluster at one moment."""

    position: int
    """It holds every event up to there; of the record there perhaps not all."""
    accounts_timestamp: int
    """When its newest account was created, known to the journal or not, ns; 0 if there is none."""
    transfers_timestamp: int
    """The same of its newest transfer."""


def find_extent(reader: Reader, cluster: Cluster) -> Extent:
    """Ask the cluster how far it is.

    Raises:
        ConnectionFailed: no answer.
        ForeignData: it is not empty, and nothing of the journal is in it.
        Damage: the journal cannot be read there.
    """
    newest = {kind: _page(cluster, kind, limit=1) for kind in _NAMES}
    found = [_position_of_newest(reader, cluster, kind, page) for kind, page in newest.items()]
    position = _after_nothing(reader, max(found))
    times = (int(page["timestamp"].max(initial=0)) for page in newest.values())
    return Extent(position, *times)


def has_row(reader: Reader, kind: RecordKind, row: Rows) -> bool:
    """Whether the journal has a row of the cluster's, by id and time."""
    return _position_in(reader, kind, row) > 0


def mirrored_positions(record: Record) -> npt.NDArray[np.int64]:
    """``i64[n]``: where the events stand that :func:`mirrored` makes rows of, in the same order."""
    if record.kind is RecordKind.EVENTS:
        events = record.events()
        return np.array([it.position for it in events if isinstance(it, PendingExpired)], np.int64)
    positions = np.arange(record.position_first, record.position_last + 1)
    return positions if record.statuses is None else positions[record.statuses == CREATED]


def _position_of_newest(reader: Reader, cluster: Cluster, kind: RecordKind, page: Rows) -> int:
    """The position of the newest row in the cluster that the journal has; 0 if there is none."""
    newest = page
    while len(page):
        position = _position_in(reader, kind, page)
        if position:
            return position
        if page is newest:
            _check_lineage(reader, cluster, kind, newest)
        oldest = int(page["timestamp"][-1])
        if oldest <= 1:
            return 0
        page = _page(cluster, kind, timestamp_max=oldest - 1)
    return 0


def _position_in(reader: Reader, kind: RecordKind, page: Rows) -> int:
    """The last position that holds a row of ``page``, rows by falling timestamp; 0 if none does."""
    page = page[::-1]
    first, last = int(page["timestamp"][0]), int(page["timestamp"][-1])
    position = 0
    for record in reader.records(Cursor(timestamp=first)):
        is_accounts = record.kind is RecordKind.ACCOUNTS
        if is_accounts != (kind is RecordKind.ACCOUNTS) or record.timestamp_max < first:
            continue
        wanted = mirrored(record)
        if wanted is None:
            continue
        if record.timestamp_min > last:
            break
        _, found = pair_places(wanted.rows, page)
        if found.any():
            position = int(mirrored_positions(record)[found][-1])
            if len(page) == 1:
                break
    return position


def _check_lineage(reader: Reader, cluster: Cluster, kind: RecordKind, newest: Rows) -> None:
    """The journal's first row must be in a cluster that holds something unknown."""
    for record in reader.records():
        wanted = mirrored(record)
        if wanted is None:
            continue
        lookup = cluster.lookup_accounts
        if wanted.kind is RecordKind.TRANSFERS:
            lookup = cluster.lookup_transfers
        first = wanted.rows[:1]
        held = lookup(ids_of(first))
        if len(held) and held["timestamp"][0] == first["timestamp"][0]:
            return
        break
    raise ForeignData(_NAMES[kind], ids_of(newest)[0], int(newest["timestamp"][0]))


def _after_nothing(reader: Reader, position: int) -> int:
    """``position``, or the last one after it before something that a cluster gets."""
    for record in reader.records(Cursor(position=position + 1)):
        later = mirrored_positions(record)
        if (later > position).any():
            break
        position = record.position_last
    return position


def _page(
    cluster: Cluster, kind: RecordKind, *, timestamp_max: int = 0, limit: int = BATCH_EVENTS_MAX
) -> Rows:
    """The newest rows up to a time, by falling timestamp."""
    query = by_time(timestamp_max=timestamp_max, limit=limit, is_reversed=True)
    if kind is RecordKind.ACCOUNTS:
        return cluster.query_accounts(query)
    return cluster.query_transfers(query)
