"""The writer: what is acknowledged is durable, in order, and callers share the cost."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from journal import writer as writer_module
from journal.directory import Directory, list_segments, read_head
from journal.errors import InvalidField, LedgerClosed, NotALedger, WriterPoisoned
from journal.reader import Reader
from journal.storage import Storage
from journal.verification import verify
from journal.writer import ALLOCATION_BYTES, HEAD_SYNC_SECONDS_MAX, Ticket, Writer
from tests.journals import append, commit, ids_in, open_writer, segment_names, write_journal
from tests.storages import SYNCS, GatedStorage, ObservedStorage, Operation, RecordingStorage

SEGMENT = "00000000000000000001.segment"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def in_threads(writer: Writer, tickets: list[Ticket]) -> list[threading.Thread]:
    threads = [threading.Thread(target=writer.wait, args=(ticket,)) for ticket in tickets]
    for thread in threads:
        thread.start()
    return threads


def _is_durable(ticket: Ticket) -> bool:
    return ticket.durable


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


def test_nothing_is_acknowledged_or_shown_before_the_sync(path: Path) -> None:
    """While the sync is under way the record is neither durable nor readable, for anybody."""
    storage = GatedStorage()
    writer = open_writer(path, storage=storage)
    ticket = append(writer, 1)
    threads = in_threads(writer, [ticket])
    assert storage.arrived.wait(60)
    assert not _is_durable(ticket)
    assert writer.head.position == Reader(path).head().position == 0
    assert ids_in(path) == []
    storage.gate.set()
    threads[0].join()
    assert _is_durable(ticket)
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


def test_a_frame_says_what_was_durable_when_it_was_written(path: Path) -> None:
    """Frames of one group know the same durable position: the last one of the group before."""
    writer = open_writer(path)
    commit(writer, 1)
    tickets = [append(writer, first) for first in (2, 3, 4)]
    writer.wait(tickets[0])
    assert all(ticket.durable for ticket in tickets)
    commit(writer, 5)
    writer.close()
    durable = [record.header.position_durable for record in Reader(path).records()]
    assert durable == [0, 1, 1, 1, 4]


# --- group commit ---------------------------------------------------------------------------------


def test_callers_that_arrive_during_a_sync_share_the_next_one(path: Path) -> None:
    """However many wait, one sync makes all of them durable."""
    storage = GatedStorage()
    writer = open_writer(path, storage=storage, segment_bytes_max=1 << 20)
    threads = in_threads(writer, [append(writer, 1)])
    assert storage.arrived.wait(60)
    tickets = [append(writer, first) for first in range(2, 52)]
    threads += in_threads(writer, tickets)
    storage.gate.set()
    for thread in threads:
        thread.join()
    assert all(ticket.durable for ticket in tickets)
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
                ticket = append(writer, first)
            writer.wait(ticket)
            assert ticket.durable

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
    write_journal(path, 60)
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
    for first in range(1, 61):
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


# --- HEAD -----------------------------------------------------------------------------------------


class _HeadSyncs(ObservedStorage):
    """Sets ``synced`` when HEAD was synced."""

    def __init__(self) -> None:
        super().__init__()
        self.synced = threading.Event()

    def after(self, operation: Operation) -> None:
        if operation.path.name == "HEAD" and operation.name in SYNCS:
            self.synced.set()


def test_head_is_synced_within_a_second(path: Path) -> None:
    """Nobody asks for it, and nobody waits for it, but it comes."""
    assert HEAD_SYNC_SECONDS_MAX <= 1.0
    storage = _HeadSyncs()
    writer = open_writer(path, storage=storage)
    storage.synced.clear()
    began = time.monotonic()
    commit(writer, 1)
    assert not storage.synced.is_set()
    assert storage.synced.wait(10)
    assert time.monotonic() - began < 1.0 + 0.5  # what a busy machine may add
    writer.close()


def test_strict_means_that_head_is_synced_with_every_group(path: Path) -> None:
    """The witness itself is on disk before anybody is told."""
    storage = RecordingStorage()
    writer = open_writer(path, sync="strict", storage=storage)
    for first in (1, 2, 3):
        commit(writer, first)
        assert storage.story()[-2:] == [("write", "HEAD"), ("sync_data", "HEAD")]
    writer.close()


def test_a_failure_to_sync_head_in_time_poisons(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind everybody's back, a failed sync means that nothing more is acknowledged."""
    monkeypatch.setattr(writer_module, "HEAD_SYNC_SECONDS_MAX", 0.001)
    failed = threading.Event()

    class Failing(ObservedStorage):
        def before(self, operation: Operation) -> None:
            if writer_is_open.is_set() and (operation.name, operation.path.name) == (
                "sync_data", "HEAD",
            ):  # fmt: skip
                failed.set()
                raise OSError(5, "Input/output error")

    writer_is_open = threading.Event()
    writer = open_writer(path, storage=Failing())
    writer_is_open.set()
    commit(writer, 1)
    assert failed.wait(60)
    assert writer._head_thread is not None
    writer._head_thread.join(60)
    with pytest.raises(WriterPoisoned, match="HEAD"):
        append(writer, 2)
    writer.close()
    assert ids_in(path) == [1]


# --- opening and closing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"segment_bytes_max": 4095}, {"segment_bytes_max": 16 * 1024**3 + 1}, {"sync": "never"}],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_done(
    path: Path, arguments: dict[str, int]
) -> None:
    """The argument is named, and no directory is made."""
    with pytest.raises(InvalidField) as caught:
        Writer.open(path, **arguments)  # type: ignore[arg-type]
    assert caught.value.field in arguments
    assert not path.exists()


def test_nothing_is_made_where_nothing_may_be(path: Path) -> None:
    """Without ``create``, a missing ledger stays missing."""
    with pytest.raises(NotALedger):
        Writer.open(path, create=False)
    assert not path.exists()


def test_a_place_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """No ledger is made among somebody's other files, or in a file's place."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(NotALedger) as caught:
            open_writer(place)
        assert caught.value.path == place
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "photos"]


def test_closing_finishes_what_is_in_line_and_may_be_repeated(path: Path) -> None:
    """What was appended is durable once the writer is closed; then nothing can be appended."""
    writer = open_writer(path)
    tickets = [append(writer, first) for first in (1, 2, 3)]
    writer.close()
    writer.close()
    assert all(ticket.durable for ticket in tickets)
    assert ids_in(path) == [1, 2, 3]
    assert Reader(path).head().closed
    with pytest.raises(LedgerClosed):
        append(writer, 4)
    with pytest.raises(LedgerClosed):
        writer.sync_head()


def test_what_is_appended_while_closing_is_durable_or_refused(path: Path) -> None:
    """Nothing is left in line for files that are closed already."""
    storage = GatedStorage()
    writer = open_writer(path, storage=storage)
    append(writer, 1)
    closing = threading.Thread(target=writer.close)
    closing.start()
    assert storage.arrived.wait(60)
    late = append(writer, 2)
    storage.gate.set()
    closing.join()
    writer.wait(late)
    assert ids_in(path) == [1, 2]


def test_an_interrupted_leader_poisons(path: Path) -> None:
    """Who is interrupted while writing cannot know how far it came, so nobody may go on."""

    class Interrupting(ObservedStorage):
        def before(self, operation: Operation) -> None:
            if operation.name == "sync_data" and operation.path.suffix == ".segment":
                raise KeyboardInterrupt

    writer = open_writer(path, storage=Interrupting())
    behind = append(writer, 1), append(writer, 2)
    with pytest.raises(KeyboardInterrupt):
        writer.wait(behind[0])
    for operation in (lambda: writer.wait(behind[1]), lambda: append(writer, 3)):
        with pytest.raises(WriterPoisoned, match="interrupted"):
            operation()
    writer.close()
    open_writer(path).close()
    assert ids_in(path) == [1, 2]  # written, though not acknowledged


class _Interrupted(Exception):
    """What a signal's handler raises, like KeyboardInterrupt in the main thread."""


def test_who_is_interrupted_while_waiting_holds_nobody_up(path: Path) -> None:
    """The record stays in line, and others lead: nothing hangs, nothing is lost."""

    def interrupt(*_: object) -> None:
        raise _Interrupted

    def send() -> None:
        while not waited_for.waiting:
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    storage = GatedStorage()
    writer = open_writer(path, storage=storage)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threads = in_threads(writer, [append(writer, 1)])
        assert storage.arrived.wait(60)
        waited_for = append(writer, 2)
        threads.append(threading.Thread(target=send))
        threads[-1].start()
        with pytest.raises(_Interrupted):
            writer.wait(waited_for)
    finally:
        signal.signal(signal.SIGUSR1, before)
    threads += in_threads(writer, [append(writer, 3)])
    storage.gate.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    writer.close()
    assert ids_in(path) == [1, 2, 3]
