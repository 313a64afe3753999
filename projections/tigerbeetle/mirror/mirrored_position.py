"""Finding the position up to which the cluster mirrors the journal, by asking the cluster.

Records are mirrored in order, so the newest rows in the cluster mark the position. They must be the
journal's; the record that comes next may be there in part.
"""

from __future__ import annotations

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader
from nostro.projections.tigerbeetle.errors import ClusterAhead, ClusterBehind, ForeignData
from nostro.projections.tigerbeetle.mirror.cursor import MirrorCursor
from nostro.projections.tigerbeetle.operations import EVENT_KINDS
from nostro.projections.tigerbeetle.rows.compare import ids_of, require_equal
from nostro.projections.tigerbeetle.rows.translation import mirrored
from nostro.projections.tigerbeetle.session.cluster import Cluster
from nostro.projections.tigerbeetle.session.coverage import Coverage, find_coverage


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
    coverage = find_coverage(reader, cluster)
    count_max = cluster.configuration.batch_events_max
    if known is not None and coverage.position < known.position:
        found = _advance(reader, MirrorCursor(), coverage, count_max)
        raise ClusterBehind(known.position, found.position)
    cursor = _advance(reader, known or MirrorCursor(), coverage, count_max)
    for kind in coverage.unknown:
        name, [id_], timestamp = (
            EVENT_KINDS[kind].name, ids_of(coverage.newest[kind]), coverage.timestamp(kind)
        )  # fmt: skip
        if cursor.position:
            raise ClusterAhead(name, id_, timestamp, cursor.position)
        raise ForeignData(name, id_, timestamp)
    return cursor


def _advance(
    reader: Reader, cursor: MirrorCursor, coverage: Coverage, count_max: int
) -> MirrorCursor:
    """The cursor after the last record that is mirrored whole.

    Raises:
        RowsDiffer: the cluster has other values in its newest account or transfer.
    """
    last: dict[RecordKind, Rows] = {}
    for record in reader.records(Cursor(position=cursor.position + 1)):
        if record.position_last > coverage.position:
            break
        for part in record.parts:
            wanted = mirrored(part, chain_events_max=count_max)
            if wanted is not None:
                cursor = cursor.after(record, wanted)
                last[wanted.kind] = wanted.rows[-1:]
    for kind, ours in last.items():
        theirs = coverage.newest[kind]
        if ids_of(ours) == ids_of(theirs):
            require_equal(kind, ours, theirs, position=cursor.position)
    return cursor
