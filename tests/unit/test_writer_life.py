"""A writer from opening to closing: HEAD, arguments, interruptions, and who comes late."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from nostro.journal.errors import InvalidField, LedgerClosed, NotALedger, WriterPoisoned
from nostro.journal.reading.reader import Reader
from nostro.journal.writing import writer as writer_module
from nostro.journal.writing.writer import HEAD_SYNC_SECONDS_MAX, Writer
from tests.journals import append, commit, ids_in, open_writer, wait_in_threads
from tests.storages import (
    EIO,
    SYNCS,
    FaultyStorage,
    GatedStorage,
    ObservedStorage,
    Operation,
    RecordingStorage,
)

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


def test_opening_and_closing_sync_head(path: Path) -> None:
    """Whoever looks after a crash sees that a writer was at work, or that it had finished."""
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage)
    assert storage.story()[-2:] == [("write", "HEAD"), ("sync_data", "HEAD")]
    assert not Reader(path).head().closed
    writer.close()
    assert storage.story()[-6:-4] == [("write", "HEAD"), ("sync_data", "HEAD")]
    assert Reader(path).head().closed


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
    # private: HEAD is synced too seldom for a test
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
    # private: only its end says that it has noted the failure
    assert writer._head_thread is not None
    writer._head_thread.join(60)  # private: only its end says that it has noted the failure
    with pytest.raises(WriterPoisoned, match="HEAD"):
        append(writer, 2)
    writer.close()
    assert ids_in(path) == [1]


def test_a_failure_to_sync_head_on_demand_poisons(path: Path) -> None:
    """Who asks for it, as each checkpoint does, is told, and so is everybody after."""
    storage = FaultyStorage(1, EIO, only=())
    writer = open_writer(path, storage=storage)
    commit(writer, 1)
    storage.only = {"sync_data"}
    with pytest.raises(WriterPoisoned, match="HEAD"):
        writer.sync_head()
    storage.repair()
    for use in (lambda: append(writer, 2), writer.sync_head):
        with pytest.raises(WriterPoisoned, match="HEAD"):
            use()
    writer.close()
    assert ids_in(path) == []  # the storage lost what HEAD said, as Linux does
    open_writer(path).close()
    assert ids_in(path) == [1]


# --- opening and closing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"segment_bytes_max": 4095}, {"segment_bytes_max": 1024**3 + 1}, {"sync": "never"}],
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
    records = [append(writer, first) for first in (1, 2, 3)]
    writer.close()
    writer.close()
    assert all(queued.durable for queued in records)
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
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise _Interrupted

    def send() -> None:
        while not waited_for.waiters:
            pass
        while not interrupted.wait(0.01):  # a signal just before a lock is waited for is not seen
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    storage = GatedStorage()
    writer = open_writer(path, storage=storage)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threads = wait_in_threads(writer, [append(writer, 1)])
        assert storage.arrived.wait(60)
        waited_for = append(writer, 2)
        threads.append(threading.Thread(target=send))
        threads[-1].start()
        with pytest.raises(_Interrupted):
            writer.wait(waited_for)
    finally:
        signal.signal(signal.SIGUSR1, before)
    threads += wait_in_threads(writer, [append(writer, 3)])
    storage.gate.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    writer.close()
    assert ids_in(path) == [1, 2, 3]
