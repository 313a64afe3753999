"""Recovery: what a crash may leave is made whole, and nothing else is taken for a crash's doing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro.journal.errors import CorruptFrame, Damage
from nostro.journal.reading.reader import Reader, Record
from nostro.journal.upkeep.verification import verify
from nostro.journal.writing.writer import Writer
from tests.journals import (
    append,
    commit,
    files_under,
    ids_in,
    open_writer,
    segment_names,
)
from tests.storages import RecordingStorage

SEGMENT: Final = "00000000000000000001.segment"
SECTOR: Final = 512


@attrs.frozen
class Crashed:
    """A journal whose HEAD on disk vouches for its first record only, and what it held."""

    path: Path
    records: list[Record]
    content: bytes

    @property
    def segment(self) -> Path:
        return self.path / "segments" / SEGMENT

    def end_of(self, number: int) -> int:
        record = self.records[number]
        return record.offset_bytes + record.header.frame_bytes


def crashed(path: Path, write: Callable[[Writer], object], *, size: int = 1 << 20) -> Crashed:
    writer = open_writer(path, segment_bytes_max=size)
    commit(writer, 1)
    stale = (path / "HEAD").read_bytes()
    write(writer)
    writer.close()
    records = list(Reader(path).records())
    (path / "HEAD").write_bytes(stale)
    return Crashed(path, records, (path / "segments" / SEGMENT).read_bytes())


def commit_one_by_one(writer: Writer) -> None:
    """Each frame was written when the one before it was known to be durable."""
    for first in (2, 102, 202):
        commit(writer, first, count=100)


def commit_as_one_group(writer: Writer) -> None:
    """None of the frames knows of another that it was durable."""
    records = [append(writer, first, count=100) for first in (2, 102, 202)]
    writer.wait(records[-1])


def with_a_hole(content: bytes, offset_bytes: int) -> bytes:
    """One whole sector, the first at or after ``offset_bytes``, never reached the disk."""
    start = -(-offset_bytes // SECTOR) * SECTOR
    return content[:start] + bytes(SECTOR) + content[start + SECTOR :]


# --- what a crash leaves --------------------------------------------------------------------------


def test_what_lies_past_head_is_copied_to_a_fresh_file(path: Path) -> None:
    """No sync is known to have covered it, and a later one of the same file proves nothing."""
    left = crashed(path, commit_one_by_one)
    inode = left.segment.stat().st_ino
    leftovers = [path / folder / "left.tmp" for folder in (".", "segments", "checkpoints")]
    for leftover in leftovers:
        leftover.touch()
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage)
    assert writer.recovery.events_past_head == 300
    assert (writer.recovery.torn_bytes, writer.recovery.quarantine) == (0, None)
    writer.close()
    assert left.segment.stat().st_ino != inode
    assert left.segment.read_bytes() == left.content
    assert not any(leftover.exists() for leftover in leftovers)
    story = storage.story()
    assert story.index(("sync", SEGMENT + ".tmp")) < story.index(("rename", SEGMENT + ".tmp"))
    assert story.index(("rename", SEGMENT + ".tmp")) < story.index(("write", "HEAD"))
    assert ids_in(path) == list(range(1, 302))


def test_a_torn_group_is_kept_aside_and_cut_off(path: Path) -> None:
    """A sector of its first frame is missing: all behind it goes, and a durable copy stays."""
    left = crashed(path, commit_as_one_group)
    end = left.end_of(0)
    torn = with_a_hole(left.content, end)
    left.segment.write_bytes(torn)
    inode = left.segment.stat().st_ino
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage)
    report = writer.recovery
    assert report.quarantine is not None
    assert report.quarantine.read_bytes() == torn[end:]
    assert (report.events_past_head, report.torn_bytes) == (0, len(torn) - end)
    assert left.segment.stat().st_ino != inode
    assert left.segment.read_bytes() == left.content[:end]
    story = storage.story()
    kept = story.index(("sync_directory", "quarantine"))
    assert story.index(("sync", report.quarantine.name + ".tmp")) < kept
    assert kept < story.index(("rename", SEGMENT + ".tmp"))
    commit(writer, 2)
    writer.close()
    assert ids_in(path) == [1, 2]
    assert verify(path).position == 2


def test_names_are_synced_before_anything_is_written(path: Path) -> None:
    """A writer killed between a rename and its sync leaves a name that the disk may not have."""
    open_writer(path).close()
    storage = RecordingStorage()
    writer = open_writer(path, storage=storage)
    story = storage.story()
    for folder in ("segments", path.name):
        assert story.index(("sync_directory", folder)) < story.index(("write", "HEAD"))
    writer.close()


def test_recovery_itself_never_overwrites_the_newest_slot(path: Path) -> None:
    """A crash while HEAD is written for the first time leaves the slot that vouches for most."""
    writer = open_writer(path)
    for first in (1, 2):
        for _ in range(first):
            commit(writer, writer.head.position + 1)
        writer.close()
        newest = Reader(path).head()
        storage = RecordingStorage()
        writer = open_writer(path, storage=storage)
        (written,) = (one for one in storage.operations if one.path.name == "HEAD" and one.data)
        assert written.offset_bytes != newest.slot_offset_bytes
        assert writer.head.sequence == newest.sequence + 1
    writer.close()


def test_a_new_ledger_is_durable_before_its_head(path: Path) -> None:
    """HEAD is the last to be there, so that where it is, everything it speaks of is."""
    storage = RecordingStorage()
    open_writer(path, storage=storage).close()
    story = storage.story()
    head = story.index(("rename", "HEAD.tmp"))
    for operation in (
        ("sync_directory", path.parent.name), ("sync_directory", path.name),
        ("sync", SEGMENT + ".tmp"), ("sync_directory", "segments"), ("sync", "HEAD.tmp"),
    ):  # fmt: skip
        assert story.index(operation) < head, operation
    assert story.index(("make_directory", "segments")) < story.index(("sync_directory", path.name))
    assert story[head + 1] == ("sync_directory", path.name)


# --- what no crash explains -----------------------------------------------------------------------


def refused(left: Crashed) -> CorruptFrame:
    """Neither opened nor changed."""
    before = files_under(left.path)
    with pytest.raises(CorruptFrame) as caught:
        open_writer(left.path)
    assert files_under(left.path) == before
    assert ids_in(left.path) == [1]  # what HEAD vouches for is read all the same
    return caught.value


def test_a_flipped_bit_past_head_is_damage(path: Path) -> None:
    """Every sector of the last frame was written, so no crash explains it: all bits are tried."""
    left = crashed(path, lambda writer: commit(writer, 2, count=3))
    start, end = left.records[1].offset_bytes, left.end_of(1)
    for bit in range(8 * start, 8 * end):
        flipped = bytearray(left.content)
        flipped[bit // 8] ^= 1 << bit % 8
        left.segment.write_bytes(flipped)
        with pytest.raises(CorruptFrame, match="no crash explains it") as caught:
            open_writer(path)
        error = caught.value
        assert (error.path, error.offset_bytes, error.position) == (left.segment, start, 2)
    refused(left)


def test_what_a_later_frame_knew_to_be_durable_is_not_torn(path: Path) -> None:
    """A sector is missing, as after a crash; but a frame behind it says that it was there."""
    left = crashed(path, commit_one_by_one)
    left.segment.write_bytes(with_a_hole(left.content, left.end_of(0)))
    error = refused(left)
    assert f"a later frame at byte {left.records[2].offset_bytes} proves" in error.cause
    assert (error.path, error.offset_bytes, error.position) == (left.segment, left.end_of(0), 2)


def test_a_hole_in_a_sealed_segment_is_damage(path: Path) -> None:
    """Sealing came after its last sync, so whatever is missing was there."""
    left = crashed(path, lambda writer: [commit(writer, first, 9) for first in range(2, 92, 9)],
                   size=4096)  # fmt: skip
    assert len(segment_names(path)) > 1
    left.segment.write_bytes(with_a_hole(left.content, len(left.content) - 2 * SECTOR))
    assert "sealed" in refused(left).cause


@pytest.mark.parametrize("is_past_head", [False, True])
def test_a_frame_of_another_history_is_refused(path: Path, is_past_head: bool) -> None:
    """The same ledger, position, size and payload; only what went before was another."""
    writer = open_writer(path)
    commit(writer, 1)
    stale = (path / "HEAD").read_bytes()
    writer.close()
    other = path.with_name("other")
    shutil.copytree(path, other)
    frames = []
    for place, second in ((path, 2), (other, 1_000)):
        writer = open_writer(place)
        commit(writer, second)
        commit(writer, 3)
        writer.close()
        third = list(Reader(place).records())[2]
        content = third.segment.read_bytes()
        frames.append(content[third.offset_bytes :])
    assert len(frames[0]) == len(frames[1])
    content = (path / "segments" / SEGMENT).read_bytes()
    (path / "segments" / SEGMENT).write_bytes(content[: -len(frames[1])] + frames[1])
    if is_past_head:
        (path / "HEAD").write_bytes(stale)
    calls: list[Callable[[], object]] = [lambda: open_writer(path)]
    if not is_past_head:
        calls = [lambda: verify(path), lambda: ids_in(path)]
    for call in calls:
        with pytest.raises(Damage, match="names a predecessor") as caught:
            call()
        assert (caught.value.path.name, caught.value.position) == (SEGMENT, 3)
