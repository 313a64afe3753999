"""Readers: where they start, what they may show, and that following misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from nostro.journal.errors import (
    CorruptFrame,
    CorruptSegment,
    Damage,
    InvalidField,
    MissingSegment,
    NotALedger,
)
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.writing.writer import Writer
from tests.journals import (
    append,
    commit,
    ids_in,
    open_writer,
    segment_names,
    transfers,
    write_journal,
)


@pytest.fixture
def many(path: Path) -> Path:
    """Records of one, two and three transfers in several segments: ids 1 to 120."""
    writer = open_writer(path)
    first = 1
    while first < 120:
        for count in (1, 2, 3):
            commit(writer, first, count)
            first += count
    writer.close()
    assert len(segment_names(path)) > 3
    return path


def commit_at(writer: Writer, timestamp_min: int, timestamp_max: int) -> None:
    queued = writer.append(
        codec.encode_rows(RecordKind.TRANSFERS, transfers(1), None),
        kind=RecordKind.TRANSFERS,
        event_count=1,
        timestamp_min=timestamp_min,
        timestamp_max=timestamp_max,
        generation=writer.generation,
    )
    assert queued is not None
    writer.wait(queued)


def starts(records: Iterator[Record]) -> list[int]:
    return [record.position_first for record in records]


# --- where to start -------------------------------------------------------------------------------


def test_without_a_cursor_everything_is_read(many: Path) -> None:
    """Every record in order, across all segments, with its place and its neighbours."""
    records = list(Reader(many).records())
    assert [record.position_last + 1 for record in records[:-1]] == starts(iter(records[1:]))
    assert records[0].position_first == 1
    assert records[-1].position_last == Reader(many).head().position == 120
    assert {record.segment.name for record in records} == set(segment_names(many))
    for before, after in pairwise(records):
        assert after.header.previous_sha256 == before.sha256
        assert (before.timestamp_min, before.timestamp_max) == (
            before.position_first * 10,
            before.position_last * 10,
        )


@pytest.mark.parametrize("again", [False, True])
def test_a_position_begins_with_the_record_that_holds_it(many: Path, again: bool) -> None:
    """From any position, first or last of a record or segment, with a fresh or a used reader."""
    everything = list(Reader(many).records())
    reader = Reader(many)
    for position in range(122):
        if not again:
            reader = Reader(many)
        expected = [one.position_first for one in everything if one.position_last >= position]
        assert starts(reader.records(Cursor(position=position))) == expected, position


def test_a_timestamp_begins_with_the_first_record_that_reaches_it(many: Path) -> None:
    """From any time between records, across segments; past the last one there is nothing."""
    everything = list(Reader(many).records())
    reader = Reader(many)
    for timestamp in range(0, 1_210, 7):
        expected = [one.position_first for one in everything if one.timestamp_max >= timestamp]
        assert starts(reader.records(Cursor(timestamp=timestamp))) == expected, timestamp


def test_from_a_timestamp_on_nothing_is_left_out(path: Path) -> None:
    """Imported events may be older than what stands before them: they are read all the same."""
    writer = open_writer(path)
    for timestamp in (10, 50, 20, 60, 30):
        commit_at(writer, timestamp, timestamp)
    writer.close()
    reader = Reader(path)
    assert starts(reader.records(Cursor(timestamp=40))) == [2, 3, 4, 5]
    assert starts(reader.records(Cursor(timestamp=55))) == [4, 5]
    assert starts(reader.follow(Cursor(timestamp=40), timeout_seconds=0)) == [2, 3, 4, 5]


def test_one_record_by_position(many: Path) -> None:
    """The record that holds it, or None where nothing is durable yet."""
    reader = Reader(many)
    record = reader.record_at(6)
    assert record is not None
    assert (record.position_first, record.position_last, record.event_count) == (4, 6, 3)
    assert record.parts[0].rows["id"][:, 0].tolist() == [4, 5, 6]
    assert [event.position for event in record.events()] == [4, 5, 6]
    assert reader.record_at(121) is None


@pytest.mark.parametrize(
    "arguments", [{"position": -1}, {"timestamp": -1}, {"position": 1, "timestamp": 1}]
)
def test_an_impossible_cursor_is_refused(arguments: dict[str, int]) -> None:
    """A cursor names one place, which exists."""
    with pytest.raises(InvalidField):
        Cursor(**arguments)


def test_where_there_is_no_ledger_nothing_is_read(tmp_path: Path) -> None:
    """A missing directory, or one that holds something else, is named."""
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotALedger) as caught:
            Reader(place)
        assert caught.value.path == place


# --- what may be shown ----------------------------------------------------------------------------


def test_nothing_past_head_is_ever_shown(path: Path) -> None:
    """Records that are whole on disk, but not vouched for, do not exist for a reader."""
    writer = open_writer(path)
    for first in (1, 2, 3):
        commit(writer, first)
    stale = (path / "HEAD").read_bytes()
    commit(writer, 4)
    writer.wait(append(writer, 5))
    (path / "HEAD").write_bytes(stale)
    assert ids_in(path) == [1, 2, 3]
    assert ids_in(path, Cursor(position=4)) == []
    assert ids_in(path, Cursor(timestamp=35)) == []
    assert Reader(path).record_at(4) is None
    writer.close()


def test_an_iteration_ends_where_head_stood_when_it_began(path: Path) -> None:
    """What is written meanwhile is left for the next one."""
    writer = open_writer(path)
    commit(writer, 1)
    records = Reader(path).records()
    next(records)
    for first in range(2, 60):
        commit(writer, first)
    assert list(records) == []
    assert len(list(Reader(path).records())) == 59
    writer.close()


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("position", [1, 115])
def test_a_missing_segment_is_never_skipped(many: Path, number: int, position: int) -> None:
    """Reading stops at the gap and names it; what lies after it alone can still be read."""
    names = segment_names(many)
    gone = many / "segments" / names[number]
    gone.unlink()
    if position == 1:
        with pytest.raises(MissingSegment) as caught:
            ids_in(many)
        assert caught.value.path == gone
    else:
        assert ids_in(many, Cursor(position=position))[-1] == 120


def test_a_sealed_segment_cut_between_two_records_is_damage(many: Path) -> None:
    """A gap is noticed also where every frame that is left is sound."""
    second = [one for one in Reader(many).records() if one.segment.name == segment_names(many)[1]]
    with second[0].segment.open("r+b") as file:
        file.truncate(second[-1].offset_bytes)
    with pytest.raises(Damage) as caught:
        ids_in(many)
    assert caught.value.path == second[0].segment
    assert caught.value.offset_bytes == second[-1].offset_bytes
    assert caught.value.position == second[-1].position_first


def test_a_look_up_in_an_emptied_segment_is_damage(many: Path) -> None:
    """A sealed segment cut down to its header does not pass a look-up on to the next one."""
    record = Reader(many).record_at(60)
    assert record is not None
    with record.segment.open("r+b") as file:
        file.truncate(SEGMENT_HEADER_BYTES)
    with pytest.raises(Damage) as caught:
        Reader(many).record_at(60)
    assert (caught.value.path, caught.value.offset_bytes) == (record.segment, SEGMENT_HEADER_BYTES)


def test_a_replaced_segment_is_damage(many: Path, tmp_path: Path) -> None:
    """A sound segment that does not follow on the one before it is not read."""
    other = tmp_path / "other"
    write_journal(other, 120)
    names = segment_names(many)
    (many / "segments" / names[1]).write_bytes(
        (other / "segments" / segment_names(other)[1]).read_bytes()
    )
    with pytest.raises(Damage) as caught:
        ids_in(many)
    assert caught.value.path.name == names[1]


def test_a_file_that_is_no_segment_is_named(many: Path) -> None:
    """Something else with a segment's suffix is refused as what it is."""
    stray = many / "segments" / "copy of 1.segment"
    stray.write_bytes(b"")
    with pytest.raises(CorruptSegment) as caught:
        ids_in(many)
    assert caught.value.path == stray


def test_a_payload_that_no_writer_writes_is_damage(path: Path) -> None:
    """A sound frame around a malformed payload is refused by file, offset and position."""
    writer = open_writer(path)
    commit(writer, 1)
    queued = writer.append(
        b"\x00",
        kind=RecordKind.TRANSFERS,
        event_count=1,
        timestamp_min=2,
        timestamp_max=2,
        generation=writer.generation,
    )
    assert queued is not None
    writer.wait(queued)
    wrong_count = codec.encode_rows(RecordKind.TRANSFERS, transfers(3), None)
    queued = writer.append(
        wrong_count,
        kind=RecordKind.TRANSFERS,
        event_count=2,
        timestamp_min=3,
        timestamp_max=3,
        generation=writer.generation,
    )
    assert queued is not None
    writer.close()
    reader = Reader(path)
    for position in (2, 3):
        record = reader.record_at(position)
        assert record is not None
        with pytest.raises(CorruptFrame) as caught:
            list(record.events())
        error = caught.value
        assert (error.path, error.position) == (record.segment, position)
        assert error.offset_bytes == record.offset_bytes
