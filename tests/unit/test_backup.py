"""Backups: each is the journal as it was durable, and the one before survives every failure."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from nostro import backup, verify
from nostro.journal.errors import (
    CopyFailed,
    CorruptFrame,
    CorruptSegment,
    DestinationInside,
    DestinationTaken,
    InvalidField,
    JournalError,
    LedgerLocked,
    NotALedger,
    OtherHistory,
    OtherLedger,
)
from nostro.journal.format.head import encode_slots
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory, read_head
from nostro.journal.storage.files import Storage
from tests.journals import (
    append,
    commit,
    files_under,
    flip,
    ids_in,
    open_writer,
    segment_names,
    write_journal,
)
from tests.ledgers import open_ledger, write_ledger
from tests.storages import (
    CHANGES,
    EIO,
    ENOSPC,
    DyingStorage,
    FaultyStorage,
    Killed,
    RecordingStorage,
)

RECORDS = 65


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A closed journal of several segments."""
    write_journal(tmp_path / "source", RECORDS)
    return tmp_path / "source"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def extend(path: Path, records: int) -> None:
    writer = open_writer(path)
    first = writer.head.position + 1
    for number in range(first, first + records):
        commit(writer, number)
    writer.close()


# --- what a backup holds --------------------------------------------------------------------------


def test_a_backup_is_a_ledger_with_the_same_bytes(source: Path, copy: Path) -> None:
    """It verifies, reads the same, opens for writing, and its files are only the owner's."""
    report = backup(source, copy)
    assert files_under(copy / "segments") == files_under(source / "segments")
    found = verify(copy)
    assert (found.ledger_id, found.position) == (report.ledger_id, RECORDS)
    assert found.frame_sha256 == report.frame_sha256 == verify(source).frame_sha256
    assert (report.segments_copied, report.position_before) == (report.segments, None)
    assert report.bytes_copied == report.size_bytes == found.size_bytes
    for path in (copy, *copy.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0
    writer = open_writer(copy)
    assert writer.recovery.closed
    assert writer.recovery.events_past_head == 0
    writer.close()


def test_a_backup_beside_a_writer_ends_where_head_does(source: Path, copy: Path) -> None:
    """Reserved room, frames in line and what is written later are not in it; no lock is asked."""
    writer = open_writer(source)
    commit(writer, RECORDS + 1)
    append(writer, RECORDS + 2)  # in the file already, and not durable
    storage = RecordingStorage()
    report = backup(source, copy, storage=storage)
    assert report.position == verify(copy).position == RECORDS + 1
    assert verify(copy).bytes_past_head == 0
    assert ids_in(copy) == list(range(1, RECORDS + 2))
    assert {one.path for one in storage.operations if one.name == "open_write"} == set()
    assert all(source not in one.path.parents for one in storage.operations if one.name in CHANGES)
    writer.close()


def test_the_second_backup_copies_only_what_came_since(source: Path, copy: Path) -> None:
    """Sealed segments that are there are read, not written; the active one is written anew."""
    first = backup(source, copy)
    inodes = {name: (copy / "segments" / name).stat().st_ino for name in segment_names(copy)}
    again = backup(source, copy)
    assert (again.segments_copied, again.bytes_copied) == (0, 0)
    extend(source, 30)
    report = backup(source, copy)
    assert (report.position_before, report.position) == (RECORDS, RECORDS + 30)
    sealed = segment_names(source)[: first.segments - 1]
    assert report.segments_copied == report.segments - len(sealed)
    for name in sealed:
        assert (copy / "segments" / name).stat().st_ino == inodes[name]
    assert files_under(copy / "segments") == files_under(source / "segments")
    assert verify(copy).position == RECORDS + 30


def test_a_damaged_copy_is_made_again(source: Path, copy: Path) -> None:
    """A sealed segment that is there but has another hash counts as not there."""
    backup(source, copy)
    damaged = copy / "segments" / segment_names(copy)[0]
    flip(damaged, 1_000)
    report = backup(source, copy)
    assert report.segments_copied == 1
    assert verify(copy).position == RECORDS


def test_segments_are_linked_only_when_asked(source: Path, copy: Path, tmp_path: Path) -> None:
    """Sealed ones only: the last is written to, and must be a file of its own."""
    backup(source, copy)
    linked = tmp_path / "linked"
    report = backup(source, linked, link=True)
    assert report.segments_linked == report.segments - 1
    links = [path.stat().st_nlink for path in sorted((linked / "segments").iterdir())]
    assert links == [2] * (report.segments - 1) + [1]
    assert {path.stat().st_nlink for path in (copy / "segments").iterdir()} == {1}
    extend(source, 30)
    assert ids_in(linked) == list(range(1, RECORDS + 1))
    assert verify(linked).position == RECORDS


def test_linking_over_file_systems_is_refused(source: Path, copy: Path) -> None:
    """What the system says about it is told, with the file."""
    apart = FaultyStorage(1, errno.EXDEV, only={"link"})
    with pytest.raises(CopyFailed, match=r"segment: .*cross-device"):
        backup(source, copy, link=True, storage=apart)
    assert segment_names(copy) == []


def test_an_empty_journal_is_backed_up(tmp_path: Path, copy: Path) -> None:
    """Nothing is a journal, too."""
    write_journal(tmp_path / "empty", 0)
    assert backup(tmp_path / "empty", copy).position == 0
    assert verify(copy).position == 0
    extend(tmp_path / "empty", 3)
    assert backup(tmp_path / "empty", copy).position == 3


def test_head_in_a_segment_that_is_sealed_meanwhile(source: Path, copy: Path) -> None:
    """Between a rotation and the next frame HEAD names the segment before: it is copied whole."""
    files = segment_names(source)
    position = int(Path(files[-1]).stem)
    early = Reader(source).record_at(position - 1)
    assert early is not None
    writer = open_writer(source)
    head = writer.head
    while len(segment_names(source)) == len(files):
        head = writer.head
        commit(writer, head.position + 1)
    writer.close()
    # A HEAD as it was just before the frame that went into the new segment.
    (source / "HEAD").write_bytes(encode_slots(head._replace(closed=True)))
    report = backup(source, copy)
    assert (report.position, report.segments) == (head.position, len(files))
    assert verify(copy).position == head.position


# --- what is refused ------------------------------------------------------------------------------


def _inside(source: Path, copy: Path) -> Path:
    return source / "segments" / "deeper" / "backup"


def _itself(source: Path, copy: Path) -> Path:
    return source / "segments" / ".."


def _through_a_link(source: Path, copy: Path) -> Path:
    (copy.parent / "link").symlink_to(source / "segments")
    return copy.parent / "link" / "backup"


@pytest.mark.parametrize("place", [_inside, _itself, _through_a_link])
def test_a_destination_in_the_source_is_refused(
    source: Path, copy: Path, place: Callable[[Path, Path], Path]
) -> None:
    """By whatever path it is reached."""
    destination = place(source, copy)
    before = files_under(source)
    with pytest.raises(DestinationInside):
        backup(source, destination)
    assert files_under(source) == before
    assert not (source / "segments" / "deeper").exists()


def test_what_is_no_ledger_is_not_backed_up(tmp_path: Path, copy: Path) -> None:
    """And nothing is made for it."""
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "folder", tmp_path / "nothing"):
        with pytest.raises(NotALedger):
            backup(source, copy)
    assert not copy.exists()


def _foreign_file(source: Path, copy: Path) -> None:
    copy.mkdir()
    (copy / "notes.txt").write_text("mine")


def _foreign_segment(source: Path, copy: Path) -> None:
    backup(source, copy)
    (copy / "segments" / "00000000000000009999.segment").write_bytes(b"x")


def _other_ledger(source: Path, copy: Path) -> None:
    write_journal(copy, 3)


def _ahead(source: Path, copy: Path) -> None:
    shutil.copytree(source, copy)
    extend(copy, 1)


def _another_history(source: Path, copy: Path) -> None:
    backup(source, copy)
    writer = open_writer(copy)
    append(writer, 7_000)
    writer.close()
    extend(source, 2)


def _not_closed(source: Path, copy: Path) -> None:
    backup(source, copy)
    writer = open_writer(copy)
    writer._file.cut()  # private: zeros behind the last record would be copied
    head = (copy / "HEAD").read_bytes()
    writer.close()
    (copy / "HEAD").write_bytes(head)


def _without_head(source: Path, copy: Path) -> None:
    shutil.copytree(source, copy)
    (copy / "HEAD").unlink()


def _begun_from_another(source: Path, copy: Path) -> None:
    write_journal(copy, 3)
    (copy / "HEAD").unlink()
    (copy / "MANIFEST").unlink()


def _a_link(source: Path, copy: Path) -> None:
    (copy.parent / "elsewhere").mkdir()
    copy.symlink_to(copy.parent / "elsewhere")


@pytest.mark.parametrize(
    ("prepare", "error", "cause"),
    [
        (_foreign_file, DestinationTaken, r"it holds 'notes\.txt'"),
        (_foreign_segment, DestinationTaken, r"it holds '0+9999\.segment'"),
        (_other_ledger, OtherLedger, "holds ledger"),
        (_ahead, OtherHistory, "ends at position 65"),
        (_another_history, OtherHistory, "another frame at its end"),
        (_not_closed, DestinationTaken, "not closed properly"),
        (_without_head, DestinationTaken, "lost its HEAD"),
        (_begun_from_another, DestinationTaken, "not a segment of this ledger"),
        (_a_link, NotALedger, "symbolic link"),
    ],
)
def test_a_destination_that_holds_something_else_is_refused(
    source: Path,
    copy: Path,
    prepare: Callable[[Path, Path], None],
    error: type[JournalError],
    cause: str,
) -> None:
    """And it stays as it is, to the last byte."""
    prepare(source, copy)
    before = files_under(copy.resolve())
    with pytest.raises(error, match=cause):
        backup(source, copy)
    assert files_under(copy.resolve()) == before


def test_a_destination_that_is_open_for_writing_is_refused(source: Path, copy: Path) -> None:
    """Nobody writes to it but the backup; and nobody opens it while it is made."""
    backup(source, copy)
    writer = open_writer(copy)
    before = files_under(copy)
    with pytest.raises(LedgerLocked):
        backup(source, copy)
    assert files_under(copy) == before
    writer.close()
    seen: list[type[BaseException]] = []

    def try_to_open(done: int, total: int) -> None:
        assert 0 < done <= total
        with contextlib.suppress(LedgerLocked):
            open_writer(copy)
            seen.append(LedgerLocked)

    extend(source, 5)
    backup(source, copy, progress=try_to_open)
    assert seen == []


# --- damage and failure ---------------------------------------------------------------------------


@pytest.mark.parametrize("last", [False, True])
def test_a_damaged_source_is_not_copied(source: Path, copy: Path, *, last: bool) -> None:
    """The damage is named, and the backup before stays usable."""
    backup(source, copy)
    extend(source, 60)
    damaged = source / "segments" / segment_names(source)[-1 if last else -2]
    flip(damaged, 700)
    with pytest.raises(CorruptFrame if last else CorruptSegment) as caught:
        backup(source, copy)
    assert caught.value.path == damaged
    assert ids_in(copy) == list(range(1, RECORDS + 1))
    assert verify(copy).position == RECORDS


def test_what_does_not_read_back_is_not_put_in_place(source: Path, copy: Path) -> None:
    """A disk that keeps something else than it was given is caught before the rename."""

    class Altering(Storage):
        def write(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> None:
            altered = len(data) > 1_500
            super().write(fd, bytes(data[:-1]) + b"?" if altered else data, offset_bytes)

    with pytest.raises(CopyFailed, match="reads back differently"):
        backup(source, copy, storage=Altering())
    assert segment_names(copy) == []


def state_of(copy: Path) -> list[int] | None:
    """The ids in a backup that verifies, by reader and by writer; None if there is none."""
    if not (copy / "HEAD").exists():
        return None
    verify(copy)
    ids = ids_in(copy)
    trial = copy.with_name("trial")
    shutil.copytree(copy, trial)
    writer = open_writer(trial)
    assert writer.head.position >= len(ids)
    writer.close()
    verify(trial)
    assert ids_in(trial)[: len(ids)] == ids
    shutil.rmtree(trial)
    return ids


@pytest.mark.parametrize(
    ("failure", "incremental", "link"),
    [
        ("crash", False, False),
        ("crash", True, False),
        ("crash", True, True),
        (ENOSPC, True, False),
        (ENOSPC, True, True),
        (EIO, True, False),
    ],
)
def test_a_failure_at_any_operation_leaves_the_backup_before(
    tmp_path: Path, failure: str | int, *, incremental: bool, link: bool
) -> None:
    """A crash, a full or a broken disk at every step: the old one or the new, and it goes on."""
    source = tmp_path / "source"
    write_journal(source, 15)
    start = tmp_path / "start"
    if incremental:
        backup(source, start)
    before = list(range(1, 16)) if incremental else None
    extend(source, 55)
    outcomes = set()
    for fail_at in range(1, 200):
        copy = tmp_path / f"copy-{fail_at}"
        if incremental:
            shutil.copytree(start, copy)
        if failure == "crash":
            storage: FaultyStorage = DyingStorage(fail_at, EIO)
        else:
            assert isinstance(failure, int)
            storage = FaultyStorage(fail_at, failure, for_ever=fail_at % 2 == 0)
        try:
            backup(source, copy, link=link, storage=storage)
        except (Killed, CopyFailed):
            pass
        else:
            assert storage.calls < fail_at  # it was not reached
            assert state_of(copy) == list(range(1, 71))
            break
        found = state_of(copy)
        outcomes.add(None if found is None else len(found))
        assert found in (before, list(range(1, 71)))
        assert backup(source, copy, link=link).position == 70
        assert state_of(copy) == list(range(1, 71))
        assert not list(copy.rglob("*.tmp"))
    else:
        raise AssertionError("it never came to an end")
    assert fail_at > 15
    assert outcomes == {None if before is None else 15, 70}


def test_a_ledger_that_expires_and_checkpoints_is_backed_up(tmp_path: Path, copy: Path) -> None:
    """The state that the backup opens with is the state there was; derived files are left out."""
    history = write_ledger(tmp_path / "ledger", records=30)
    backup(tmp_path / "ledger", copy)
    assert not any((copy / "checkpoints").iterdir())
    with open_ledger(copy) as ledger:
        assert ledger.state_sha256() == history.states[history.position]
    assert read_head(Storage(), Directory(copy)).closed
    assert attrs.evolve(backup(tmp_path / "ledger", copy), seconds=0).segments_copied == 0


def test_a_journal_that_is_written_is_copied_at_a_share_of_the_time(
    source: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a writer, pauses nine times as long as the work; at full speed otherwise."""
    now, paused = 0.0, [0.0]

    def worked() -> float:
        nonlocal now
        now += 0.01
        return now

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        paused.append(seconds)

    monkeypatch.setattr("time.perf_counter", worked)
    monkeypatch.setattr("time.sleep", sleep)
    backup(source, copy, pace=0.1)
    assert paused == [0.0]
    writer = open_writer(source)
    try:
        backup(source, copy.with_name("beside"), pace=1.0)
        assert paused == [0.0]
        backup(source, copy.with_name("slowly"), pace=0.1)
    finally:
        writer.close()
    assert len(paused) > len(segment_names(source)), "each file is copied and read back in pieces"
    assert paused[1:] == pytest.approx([0.09] * len(paused[1:]))


@pytest.mark.parametrize("pace", [0, -1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(source: Path, copy: Path, pace: float) -> None:
    """Before anything is made."""
    with pytest.raises(InvalidField, match="pace"):
        backup(source, copy, pace=pace)
    assert not copy.exists()
