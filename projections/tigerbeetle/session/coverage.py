"""The coverage of a cluster: the position up to which it holds the journal's events.

Events are mirrored in order, so the newest row that both have marks the position. Newer rows that
only the cluster has are skipped here; the comparison finds them.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.format.events import PendingExpired
from nostro.journal.format.parts import as_array
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader, RecordPart
from nostro.projections.tigerbeetle.errors import ForeignData
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.pairing import pair_places
from nostro.projections.tigerbeetle.rows.translation import mirrored
from nostro.projections.tigerbeetle.session.cluster import Cluster, by_time


@attrs.frozen
class Coverage:
    """The coverage of a cluster at one time."""

    position: int
    """It holds every event up to there, perhaps only part of the record that ends later."""
    newest: dict[RecordKind, Rows]
    """Its newest ``ACCOUNT[n]`` and ``TRANSFER[n]``; n is 0 if it has none, else 1."""
    unknown: tuple[RecordKind, ...]
    """The kinds whose newest row is not in the journal."""

    def timestamp(self, kind: RecordKind) -> int:
        """The time of the newest row, known to the journal or not, ns; 0 if there is none."""
        return int(self.newest[kind]["timestamp"].max(initial=0))


def find_coverage(reader: Reader, cluster: Cluster) -> Coverage:
    """The coverage of the cluster now.

    Raises:
        ConnectionFailed: no answer.
        ForeignData: it is not empty, and nothing of the journal is in it.
        Damage: the journal cannot be read there.
    """
    newest = {kind: cluster.newest(kind) for kind in EVENT_KINDS}
    positions = {kind: _position_in(reader, kind, row) for kind, row in newest.items()}
    unknown = tuple(kind for kind in EVENT_KINDS if len(newest[kind]) and not positions[kind])
    for kind in unknown:
        _check_lineage(reader, cluster, kind, newest[kind])
        positions[kind] = _position_before(reader, cluster, kind, newest[kind])
    return Coverage(_after_nothing(reader, max(positions.values())), newest, unknown)


def has_row(reader: Reader, kind: RecordKind, row: Rows) -> bool:
    """Whether the journal has a row of the cluster's, by id and time."""
    return _position_in(reader, kind, row) > 0


def mirrored_positions(part: RecordPart) -> npt.NDArray[np.int64]:
    """``i64[n]``: the positions of the rows that :func:`mirrored` returns, in the same order."""
    if part.kind is RecordKind.EVENTS:
        events = part.events()
        return np.array([it.position for it in events if isinstance(it, PendingExpired)], np.int64)
    positions = as_array(part.positions).astype(np.int64)
    return positions if part.statuses is None else positions[part.statuses == CREATED]


def _position_before(reader: Reader, cluster: Cluster, kind: RecordKind, page: Rows) -> int:
    """The position of the newest row older than ``page`` that the journal has; 0 if none is."""
    position = 0
    while not position and len(page) and (oldest := int(page["timestamp"][-1])) > 1:
        page = cluster.query(kind, by_time(timestamp_max=oldest - 1, is_reversed=True))
        position = _position_in(reader, kind, page)
    return position


def _position_in(reader: Reader, kind: RecordKind, page: Rows) -> int:
    """The last position that holds a row of ``page``, rows by falling timestamp; 0 if none does."""
    if not len(page):
        return 0
    page = page[::-1]
    first, last = int(page["timestamp"][0]), int(page["timestamp"][-1])
    position = 0
    for part in reader.parts(Cursor(timestamp=first)):
        is_accounts = part.kind is RecordKind.ACCOUNTS
        if is_accounts != (kind is RecordKind.ACCOUNTS) or part.record.timestamp_max < first:
            continue
        wanted = mirrored(part)
        if wanted is None:
            continue
        if part.record.timestamp_min > last:
            break
        _, found = pair_places(wanted.rows, page)
        if found.any():
            position = int(mirrored_positions(part)[found][-1])
            if len(page) == 1:
                break
    return position


def _check_lineage(reader: Reader, cluster: Cluster, kind: RecordKind, newest: Rows) -> None:
    """Raise ForeignData unless the journal's first row is in the cluster."""
    for part in reader.parts():
        wanted = mirrored(part)
        if wanted is None:
            continue
        first = wanted.rows[:1]
        held = cluster.look_up(wanted.kind, ids_of(first))
        if len(held) and held["timestamp"][0] == first["timestamp"][0]:
            return
        break
    raise ForeignData(EVENT_KINDS[kind].name, ids_of(newest)[0], int(newest["timestamp"][0]))


def _after_nothing(reader: Reader, position: int) -> int:
    """``position``, moved on past events that are never mirrored."""
    for record in reader.records(Cursor(position=position + 1)):
        if any((mirrored_positions(part) > position).any() for part in record.parts):
            break
        position = record.position_last
    return position
