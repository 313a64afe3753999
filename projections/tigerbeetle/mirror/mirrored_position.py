"""Finding the position up to which the cluster mirrors the journal, by asking the cluster.

Records are mirrored in order, so "the cluster holds the record" is true up to some record and
false after it: bisection finds the boundary in some 25 look-ups. Then the newest account and the
newest transfer in the cluster must be the journal's last up to there, or belong to the next record,
which may be there in part.
"""

from __future__ import annotations

from collections.abc import Iterator

from nostro.journal.format.codec import RecordKind
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.projections.tigerbeetle.errors import ClusterAhead, ClusterBehind, ForeignData
from nostro.projections.tigerbeetle.mirror.cursor import MirrorCursor
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.compare import ids_of, require_equal
from nostro.projections.tigerbeetle.rows.translation import Mirrored, mirrored
from nostro.projections.tigerbeetle.session.cluster import Cluster


def find_mirrored_position(
    reader: Reader, cluster: Cluster, known: MirrorCursor | None = None
) -> MirrorCursor:
    """The cursor up to which the cluster holds everything; it may hold part of the next record.

    Args:
        known: a cursor that the cluster is known to have reached. Without it, this reads the
            journal from its beginning up to the cursor that it finds.

    Raises:
        ConnectionFailed: no answer.
        ClusterBehind, ClusterAhead, ForeignData, RowsDiffer: the cluster is not this journal's
            mirror. Nothing was written.
    """
    return _Search(reader, cluster).run(known or MirrorCursor())


class _Search:
    def __init__(self, reader: Reader, cluster: Cluster) -> None:
        self._reader = reader
        self._cluster = cluster
        self._end = reader.head().position

    def run(self, known: MirrorCursor) -> MirrorCursor:
        if not self._holds_newest_of(known):
            raise ClusterBehind(known.position, self._bisect(0))
        cursor = known
        while True:
            cursor, following = self._advance(cursor, self._bisect(cursor.position))
            try:
                self._check_newest(cursor, following)
            except (ClusterAhead, ForeignData):
                # Unless a late request of a closed session has only just arrived.
                if self._bisect(cursor.position) == cursor.position:
                    raise
            else:
                return cursor

    def _holds_newest_of(self, known: MirrorCursor) -> bool:
        return all(
            not id_ or len(self._cluster.look_up(kind, [id_]))
            for kind, id_ in (
                (RecordKind.ACCOUNTS, known.account_id),
                (RecordKind.TRANSFERS, known.transfer_id),
            )
        )

    def _bisect(self, low: int) -> int:
        """The end of the last record that the cluster holds, or ``low``, an end or 0 itself."""
        high = self._end + 1  # no record from there on is held
        while low + 1 < high:
            middle = (low + high) // 2
            found = next(self._mirrored(middle, high), None)
            if found is not None and self._holds(*found):
                low = found[0].position_last
            else:
                high = max(low + 1, self._record_at(middle).position_first)
        return low

    def _holds(self, record: Record, wanted: Mirrored) -> bool:
        """Whether the cluster has the record's last row, as the journal has it."""
        last = wanted.rows[-1:]
        found = self._cluster.look_up(wanted.kind, ids_of(last))
        if len(found) and found["timestamp"][0] != last["timestamp"][0]:
            name = EVENT_KINDS[wanted.kind].name
            raise ForeignData(name, ids_of(last)[0], int(found["timestamp"][0]))
        if len(found):
            require_equal(wanted.kind, last, found, position=record.position_last)
        return bool(len(found))

    def _advance(self, cursor: MirrorCursor, position: int) -> tuple[MirrorCursor, Mirrored | None]:
        """The cursor at ``position``, and what comes next."""
        for record, rows in self._mirrored(cursor.position + 1, self._end + 1):
            if record.position_first > position:
                return cursor, rows
            cursor = cursor.after(record, rows)
        return cursor, None

    def _check_newest(self, cursor: MirrorCursor, following: Mirrored | None) -> None:
        """The newest rows in the cluster must be the journal's, and no later than they can be."""
        last_ids = {
            RecordKind.ACCOUNTS: cursor.account_id,
            RecordKind.TRANSFERS: cursor.transfer_id,
        }
        for kind, last_id in last_ids.items():
            newest, name = self._cluster.newest(kind), EVENT_KINDS[kind].name
            [id_] = ids_of(newest) or [0]
            if id_ == last_id:
                continue
            if following is not None and following.kind is kind and id_ in ids_of(following.rows):
                continue
            if cursor.position:
                raise ClusterAhead(name, id_, int(newest["timestamp"][0]), cursor.position)
            raise ForeignData(name, id_, int(newest["timestamp"][0]))

    def _mirrored(self, position: int, end: int) -> Iterator[tuple[Record, Mirrored]]:
        """The records from ``position`` to before ``end`` that a cluster gets something of."""
        count_max = self._cluster.configuration.batch_events_max
        for record in self._reader.records(Cursor(position=position)):
            if record.position_first >= end:
                return
            rows = mirrored(record, chain_events_max=count_max)
            if rows is not None:
                yield record, rows

    def _record_at(self, position: int) -> Record:
        record = self._reader.record_at(position)
        assert record is not None, "positions up to HEAD are durable"
        return record
