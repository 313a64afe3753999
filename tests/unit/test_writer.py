"""The writer: what is acknowledged is durable, in order, and callers share the cost."""

from __future__ import annotations

import hashlib
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from nostro.journal.errors import WriterPoisoned
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory, list_segments, read_head
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing.active_file import ALLOCATION_BYTES
from nostro.journal.writing.writer import QueuedRecord
from tests.journals import (
    append,
    commit,
    ids_in,
    open_writer,
    segment_names,
    wait_in_threads,
    write_journal,
)
from tests.storages import GatedStorage, RecordingStorage

SEGMENT = "00000000000000000001.segment"


def _is_durable(queued: QueuedRecord) -> bool:
    return queued.durable


# --- the order of things --------------------------------------------------------------------------


def test_a_record_is_acknowledged_after_the_sync_and_head(path: Path) -> None:
    """Write the group, sync it, write HEAD, and only then return."""
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage, segment_bytes_max=ALLOCATION_BYTES)
    commit(writer, 1)
    storage.operations.clear()
    story = [("write", SEGMENT), ("sync_data", SEGMENT), ("write", "HEAD")]
    for first in (2, 3):
        commit(writer, first)
        assert storage.story()[-3:] == story
    assert storage.story() == story * 2  # room was reserved before, so nothing else is done
    writer.close()


def test_an_idle_writer_lets_the_disk_begin_at_once(path: Path) -> None:
    """The record is written before anybody waits for it, and only once; then it is synced."""
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage, segment_bytes_max=ALLOCATION_BYTES)
    commit(writer, 1)
    storage.operations.clear()
    first = append(writer, 2)
    assert storage.story() == [("write", SEGMENT)]
    second = append(writer, 3)  # in line behind it
    assert storage.story() == [("write", SEGMENT)]
    writer.wait(second)
    assert first.durable
    assert storage.story()[1:] == [("write", SEGMENT), ("sync_data", SEGMENT), ("write", "HEAD")]
    writer.close()
    assert ids_in(path) == [1, 2, 3]


def test_what_was_begun_and_never_got_in_line_ends_the_writer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory after the first bytes: nothing is written over them; reopening finds them."""
    writer = open_writer(path)
    commit(writer, 1)

    def fail(_: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as broken:
        # private: nothing else runs out of memory just there
        broken.setattr("nostro.journal.writing.writer.frame_sha256", fail)
        with pytest.raises(MemoryError):
            append(writer, 2, 5)
    with pytest.raises(WriterPoisoned, match="MemoryError"):
        append(writer, 7)
    writer.close()
    again = open_writer(path)
    commit(again, again.head.position + 1)
    again.close()
    assert ids_in(path) in ([1, 2], [1, 2, 3, 4, 5, 6, 7])
    assert verify(path).events == len(ids_in(path))


def test_nothing_is_acknowledged_or_shown_before_the_sync(path: Path) -> None:
    """While the sync is under way the record is neither durable nor readable, for anybody."""
    storage = GatedStorage()
    writer = open_writer(path, storage=storage)
    queued = append(writer, 1)
    threads = wait_in_threads(writer, [queued])
    try:
        assert storage.arrived.wait(60)
        assert not _is_durable(queued)
        assert writer.head.position == Reader(path).head().position == 0
        assert ids_in(path) == []
    finally:
        storage.gate.set()
        threads[0].join()
    assert _is_durable(queued)
    assert ids_in(path) == [1]
    writer.close()


def test_a_new_segment_is_durable_before_anything_is_in_it(path: Path) -> None:
    """HEAD and the sealed file are synced first; then the new file, then its name."""
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage)
    first = 1
    while len(segment_names(path)) == 1:
        storage.operations.clear()
        commit(writer, first)
        first += 1
    new = segment_names(path)[1]
    story = storage.story()
    expected = [
        ("truncate", SEGMENT),
        ("sync", SEGMENT),
        ("sync_data", "HEAD"),
        ("create", new + ".tmp"),
        ("write", new + ".tmp"),
        ("sync", new + ".tmp"),
        ("close", new + ".tmp"),
        ("rename", new + ".tmp"),
        ("sync_directory", "segments"),
    ]
    assert story[: len(expected)] == expected
    assert story.index(("write", new)) > len(expected)
    writer.close()


def test_the_slots_of_head_are_written_in_turn(path: Path) -> None:
    """What a power cut may tear is the older slot, never the one that counts."""
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage)
    for first in range(1, 5):
        commit(writer, first)
        assert Reader(path).head() == writer.head
    writer.close()
    offsets = [
        one.offset_bytes
        for one in storage.operations
        if (one.name, one.path.name) == ("write", "HEAD")
    ]
    assert len(offsets) == 6
    assert all({before, after} == {0, 512} for before, after in pairwise(offsets))


def test_a_frame_says_what_was_durable_when_it_was_written(path: Path) -> None:
    """Frames of one group know the same durable position: the last one of the group before."""
    writer = open_writer(path)
    commit(writer, 1)
    records = [append(writer, first) for first in (2, 3, 4)]
    writer.wait(records[0])
    assert all(queued.durable for queued in records)
    commit(writer, 5)
    writer.close()
    durable = [record.header.position_durable for record in Reader(path).records()]
    assert durable == [0, 1, 1, 1, 4]


# --- group commit ---------------------------------------------------------------------------------


def test_callers_that_arrive_during_a_sync_share_the_next_one(path: Path) -> None:
    """However many wait, one sync makes all of them durable."""
    storage = GatedStorage()
    writer = open_writer(path, storage=storage, segment_bytes_max=1 << 20)
    threads = wait_in_threads(writer, [append(writer, 1)])
    assert storage.arrived.wait(60)
    records = [append(writer, first) for first in range(2, 52)]
    threads += wait_in_threads(writer, records)
    storage.gate.set()
    for thread in threads:
        thread.join()
    assert all(queued.durable for queued in records)
    assert storage.count("sync_data", path / "segments" / SEGMENT) == 2
    assert storage.count("write", path / "segments" / SEGMENT) == 2
    writer.close()
    assert ids_in(path) == list(range(1, 52))


def test_many_threads_write_one_unbroken_journal(path: Path) -> None:
    """Whatever order they come in, the journal is in that order, and verifies."""
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage, segment_bytes_max=16 * 1024)
    deciding = threading.Lock()
    following = iter(range(1, 401))
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        while True:
            with deciding:
                first = next(following, None)
                if first is None:
                    return
                queued = append(writer, first)
            writer.wait(queued)
            assert queued.durable

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert ids_in(path) == list(range(1, 401))
    assert verify(path).position == 400
    syncs = [
        one for one in storage.operations
        if one.name == "sync_data" and one.path.suffix == ".segment"
    ]  # fmt: skip
    assert len(syncs) < 400


# --- segments -------------------------------------------------------------------------------------


def test_segments_are_bounded_named_in_order_and_chained(path: Path) -> None:
    """Each file stays within the bound and is vouched for, byte by byte, by the next one."""
    write_journal(path, 80)
    directory = Directory(path)
    files = list_segments(Storage(), directory, ledger_id=read_head(Storage(), directory).ledger_id)
    assert len(files) > 3
    assert [file.path.name for file in files] == segment_names(path)
    for number, (before, after) in enumerate(pairwise(files)):
        content = before.path.read_bytes()
        records = [record for record in Reader(path).records() if record.segment == before.path]
        assert (before.header.number, after.header.number) == (number, number + 1)
        assert len(content) == after.header.previous_file_bytes <= 4096
        assert hashlib.sha256(content).digest() == after.header.previous_file_sha256
        assert after.header.previous_frame_sha256 == records[-1].sha256
        assert after.header.position_first == records[-1].position_last + 1


def test_a_segment_is_hashed_whole_though_several_writers_filled_it(path: Path) -> None:
    """The hash covers what earlier writers wrote as well, and what is left over is cut off."""
    for first in range(1, 81):
        writer = open_writer(path)
        commit(writer, first)
        writer.close()
    assert len(segment_names(path)) > 3
    assert verify(path).segments == len(segment_names(path))


def test_a_record_larger_than_a_segment_has_one_to_itself(path: Path) -> None:
    """The bound is where a segment is sealed; no record is refused for it."""
    writer = open_writer(path)
    commit(writer, 1)
    commit(writer, 2, count=200)
    commit(writer, 202)
    writer.close()
    assert [int(name.removesuffix(".segment")) for name in segment_names(path)] == [1, 2, 202]
    assert ids_in(path) == list(range(1, 203))
    assert verify(path).events == 202


def test_room_is_reserved_ahead_and_given_back(path: Path) -> None:
    """The active segment is longer than its frames while it is written, not afterwards."""
    writer = open_writer(path, segment_bytes_max=1 << 20)
    commit(writer, 1)
    segment = path / "segments" / SEGMENT
    assert segment.stat().st_size == 1 << 20
    writer.close()
    assert segment.stat().st_size == read_head(Storage(), Directory(path)).offset_bytes < 1024
