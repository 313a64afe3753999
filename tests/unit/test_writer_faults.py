"""The writer on a disk that is full or broken: no acknowledgement is ever false."""

from __future__ import annotations

import contextlib
import os
import threading
from errno import EDQUOT, EFBIG
from pathlib import Path

import pytest

from nostro.journal.errors import JournalFull, NoRoomToRecover, WriterPoisoned
from nostro.journal.format.codec import RecordKind
from nostro.journal.reading.reader import Reader
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing.active_file import ALLOCATION_BYTES
from tests.descriptors import open_files
from tests.journals import append, commit, files_under, ids_in, open_writer, segment_names
from tests.storages import CHANGES, EIO, ENOSPC, SYNCS, FaultyStorage

RECORDS = 42
SEGMENT = "segments/00000000000000000001.segment"
EVERYTHING = CHANGES | {"open_read", "close", "size", "read", "names", "try_lock"}


# --- a full disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [ENOSPC, EDQUOT, EFBIG], ids=["ENOSPC", "EDQUOT", "EFBIG"])
@pytest.mark.parametrize("operation", ["allocate", "write"])
def test_a_full_disk_refuses_the_batch_and_nothing_else(
    path: Path, operation: str, code: int
) -> None:
    """The journal is byte for byte as before, readable, and takes the batch once there is room."""
    storage = FaultyStorage(1, code, for_ever=True, only=())
    writer = open_writer(path, storage=storage, segment_bytes_max=1 << 20)
    commit(writer, 1)
    before = (path / SEGMENT).read_bytes().rstrip(b"\0")
    if operation == "allocate":
        # private: only then does the next record need room
        writer._file.cut()  # so that the next record needs room
    storage.only = {operation}
    for _ in range(3):
        with pytest.raises(JournalFull) as caught:
            commit(writer, 2, count=100)  # of which half reaches the file before it is full
        assert caught.value.path == path
        assert caught.value.bytes_needed > 2_000
        assert (path / SEGMENT).read_bytes().rstrip(b"\0") == before
        assert ids_in(path) == [1]
        assert writer.head.position == 1
    storage.only = ()
    commit(writer, 2)
    writer.close()
    assert ids_in(path) == [1, 2]
    assert verify(path).position == 2


def test_what_stands_behind_a_refused_batch_is_refused_with_it(path: Path) -> None:
    """Later records were decided on top of the refused one: they are void, and it is told."""
    storage = FaultyStorage(1, ENOSPC, for_ever=True, only=())
    writer = open_writer(path, storage=storage)
    commit(writer, 1)
    generation = writer.generation
    storage.only = {"write"}
    records = [append(writer, first) for first in (2, 3, 4)]
    for queued in records:
        with pytest.raises(JournalFull):
            writer.wait(queued)
    assert writer.generation > generation
    stale = writer.append(
        b"",
        kind=RecordKind.TRANSFERS,
        event_count=1,
        timestamp_min=1,
        timestamp_max=1,
        generation=generation,
    )
    assert stale is None
    storage.only = ()
    assert commit(writer, 2).position_last == 2
    writer.close()
    assert ids_in(path) == [1, 2]


def test_a_disk_that_is_full_at_rotation_refuses_too(path: Path) -> None:
    """No room for the next segment is no room for the batch: the rest is as it was."""
    storage = FaultyStorage(1, ENOSPC, for_ever=True, only=())
    writer = open_writer(path, storage=storage)
    durable = 0
    while writer.head.offset_bytes < 4096 - 192:
        durable += 1
        commit(writer, durable)
    storage.only = {"create"}
    with pytest.raises(JournalFull):
        commit(writer, durable + 1)
    assert ids_in(path) == list(range(1, durable + 1))
    storage.only = ()
    commit(writer, durable + 1)
    writer.close()
    assert ids_in(path) == list(range(1, durable + 2))
    assert verify(path).segments == 2


def test_a_rotation_that_may_have_happened_poisons(path: Path) -> None:
    """The next segment has its name, though perhaps not on disk: the sealed one must not grow."""
    storage = FaultyStorage(1, ENOSPC, only=())
    writer = open_writer(path, storage=storage)
    commit(writer, 1)
    storage.only = {"sync_directory"}
    with pytest.raises(WriterPoisoned):
        commit(writer, 2, count=200)
    assert len(segment_names(path)) == 2
    with pytest.raises(WriterPoisoned):
        append(writer, 2)  # though there would be room for it where the last one is
    writer.close()
    writer = open_writer(path)
    commit(writer, 2)
    writer.close()
    assert ids_in(path) == [1, 2]
    assert verify(path).segments == 2


def test_a_full_disk_that_cannot_be_put_back_poisons(path: Path) -> None:
    """If the half-written batch cannot be cut off, nothing may follow it."""
    storage = FaultyStorage(1, ENOSPC, for_ever=True, only=())
    writer = open_writer(path, storage=storage)
    commit(writer, 1)
    storage.only = {"write", "truncate"}
    with pytest.raises(WriterPoisoned):
        commit(writer, 2)
    storage.only = ()
    with pytest.raises(WriterPoisoned):
        append(writer, 2)
    writer.close()
    open_writer(path).close()
    assert ids_in(path) == [1]


# --- a broken disk --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [EIO, ENOSPC])
def test_a_failed_sync_poisons_and_is_never_tried_again(path: Path, code: int) -> None:
    """A second sync would report success for pages the first one lost, so there is none."""
    storage = FaultyStorage(1, code, only=())
    writer = open_writer(path, storage=storage, segment_bytes_max=ALLOCATION_BYTES)
    commit(writer, 1)
    storage.only = SYNCS
    records = [append(writer, first) for first in (2, 3)]
    for queued in records:
        with pytest.raises(WriterPoisoned, match="fdatasync") as caught:
            writer.wait(queued)
        assert caught.value.path == path / SEGMENT
        assert caught.value.reason == os.strerror(code)
    for use in (lambda: append(writer, 4), writer.sync_head):
        with pytest.raises(WriterPoisoned):
            use()
    before = files_under(path)
    writer.close()
    assert storage.calls == 1
    assert files_under(path) == before
    assert Reader(path).head().position == 1
    open_writer(path).close()
    assert ids_in(path) == [1]  # the storage lost the pages, as Linux does


def test_all_who_wait_learn_of_a_failed_sync(path: Path) -> None:
    """Leaders, followers and who comes later: nobody hangs, nobody is told yes."""
    storage = FaultyStorage(1, EIO, only=())
    writer = open_writer(path, storage=storage)
    storage.only = {"sync_data"}
    errors: list[BaseException] = []

    def work(first: int) -> None:
        try:
            writer.wait(records[first])
        except WriterPoisoned as error:
            errors.append(error)

    records = [append(writer, first) for first in range(1, 9)]
    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    assert not any(queued.durable for queued in records)
    writer.close()


# --- every operation ------------------------------------------------------------------------------


def acknowledged_by(path: Path, storage: FaultyStorage, *, written: int) -> tuple[int, int]:
    """Open, append in groups of three, close: (records acknowledged, records attempted)."""
    durable, attempted = (len(ids_in(path)) if path.exists() else 0), written
    try:
        writer = open_writer(path, storage=storage)
    except (OSError, NoRoomToRecover):
        return durable, attempted
    durable = writer.head.position
    try:
        while durable < RECORDS:
            try:
                records = [append(writer, durable + 1 + behind) for behind in range(3)]
                attempted = max(attempted, durable + 3)
                for queued in records:
                    writer.wait(queued)
                    durable += 1
            except JournalFull:
                storage.repair()
    except WriterPoisoned:
        pass
    finally:
        durable = max(durable, writer.head.position)  # all of this was answered with yes
        with contextlib.suppress(OSError):
            writer.close()
    return durable, attempted


def leave_crashed(path: Path) -> None:
    """A journal whose writer died: events past a stale HEAD, a torn frame, leftovers."""
    writer = open_writer(path)
    for first in range(1, 6):
        commit(writer, first)
    stale = (path / "HEAD").read_bytes()
    for first in range(6, 9):
        commit(writer, first)
    torn = commit(writer, 9)
    writer.close()
    (path / "HEAD").write_bytes(stale)
    segment = path / SEGMENT
    os.truncate(segment, segment.stat().st_size - 16)
    (path / "MANIFEST.tmp").touch()
    assert torn.durable


@pytest.mark.parametrize("crashed", [False, True], ids=["new", "after a crash"])
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", [EIO, ENOSPC], ids=["EIO", "ENOSPC"])
def test_no_fault_at_any_operation_makes_an_acknowledgement_false(
    tmp_path: Path, code: int, for_ever: bool, crashed: bool
) -> None:
    """Whichever operation fails, reopening on a sound disk finds all that was acknowledged.

    It finds it in order, and nothing else but what was asked for.
    """
    fail_at, acknowledged, storage = 0, 0, None
    while storage is None or storage.failed:
        fail_at += 1
        path = tmp_path / str(fail_at)
        if crashed:
            leave_crashed(path)
        storage = FaultyStorage(fail_at, code, for_ever=for_ever, only=EVERYTHING)
        acknowledged, attempted = acknowledged_by(path, storage, written=8 * crashed)
        open_writer(path).close()
        found = ids_in(path)
        assert found == list(range(1, len(found) + 1)), fail_at
        assert acknowledged <= len(found) <= attempted, (fail_at, storage.failed)
        assert verify(path).position == len(found), fail_at
        assert not open_files(tmp_path), (fail_at, storage.failed)
    assert fail_at > 100
    assert acknowledged >= RECORDS
