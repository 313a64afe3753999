"""Whole files missing, doubled, swapped, foreign, stale or newer: each is told for what it is."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import pytest

from nostro.journal.errors import (
    CorruptHead,
    CorruptManifest,
    CorruptSegment,
    ForeignSegment,
    JournalTruncated,
    MissingSegment,
    UnsupportedFormat,
)
from nostro.journal.format import head, segment
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES
from nostro.journal.storage.directory import Directory
from nostro.journal.upkeep.verification import verify
from nostro.projections.ledger.ledger import Ledger
from tests.crash.damage import (
    RECORDS,
    SoundLedger,
    check_open,
)
from tests.journals import files_under, segment_names
from tests.ledgers import create_transfers, open_ledger, write_ledger


@pytest.mark.parametrize("number", range(4))
def test_a_deleted_segment_is_missed(sound: SoundLedger, number: int) -> None:
    """First, middle or last: opening and verifying say which one is not there."""
    name = segment_names(sound.path)[number]
    (sound.path / "segments" / name).unlink()
    (sound.path / "MANIFEST").unlink()  # without its help
    for call in (verify, open_ledger):
        with pytest.raises((MissingSegment, JournalTruncated)) as caught:
            call(sound.path)
        assert any(part in str(caught.value) for part in (name, "missing", "before it"))


@pytest.mark.parametrize("change", [-16, 16])
def test_a_sealed_segment_of_another_size_is_not_opened(sound: SoundLedger, change: int) -> None:
    """Also where a checkpoint makes reading it unnecessary, its successor knows its size."""
    segment = sound.path / "segments" / segment_names(sound.path)[0]
    size = segment.stat().st_size
    os.truncate(segment, size + change)
    for call in (verify, open_ledger):
        with pytest.raises(CorruptSegment, match=f"{size:,} bytes") as caught:
            call(sound.path)
        assert caught.value.path == segment
        assert caught.value.offset_bytes == min(size, size + change)


def test_a_segment_under_another_name_is_refused(sound: SoundLedger) -> None:
    """A copy is told from the original by the name it should have."""
    segments = sound.path / "segments"
    names = segment_names(sound.path)
    for copy in ("00000000000000000002.segment", "copy.segment", f"{names[1]}.segment"):
        shutil.copy(segments / names[1], segments / copy)
        for call in (verify, open_ledger):
            with pytest.raises(CorruptSegment, match=names[1]) as caught:
                call(sound.path)
            assert caught.value.path == segments / copy
        sound.restore()


def test_swapped_segments_are_refused(sound: SoundLedger) -> None:
    """Two sealed segments under each other's name."""
    one, other = (sound.path / "segments" / name for name in segment_names(sound.path)[1:3])
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    for call in (verify, open_ledger):
        with pytest.raises(CorruptSegment) as caught:
            call(sound.path)
        assert caught.value.path == one


@pytest.mark.parametrize("number", range(4))
def test_a_foreign_segment_is_refused(sound: SoundLedger, ram: Path, number: int) -> None:
    """A sound segment of another ledger, at the same place, is told by its ledger."""
    write_ledger(ram / "other", records=RECORDS)
    name = segment_names(sound.path)[number]
    assert segment_names(ram / "other") == segment_names(sound.path)
    shutil.copy(ram / "other" / "segments" / name, sound.path / "segments" / name)
    for call in (verify, open_ledger):
        with pytest.raises(ForeignSegment) as caught:
            call(sound.path)
        assert caught.value.path == sound.path / "segments" / name


def test_head_of_another_ledger_is_refused(sound: SoundLedger, ram: Path) -> None:
    """HEAD and segments must be of one ledger."""
    write_ledger(ram / "other", records=RECORDS)
    shutil.copy(ram / "other" / "HEAD", sound.path / "HEAD")
    for call in (verify, open_ledger):
        with pytest.raises((ForeignSegment, CorruptManifest), match="ledger"):
            call(sound.path)


def test_derived_files_of_another_ledger_are_passed_over(sound: SoundLedger, ram: Path) -> None:
    """Checkpoints and indexes of another ledger, or from another time, change nothing."""
    write_ledger(ram / "other", records=RECORDS)
    for folder in ("checkpoints", "indexes"):
        shutil.rmtree(sound.path / folder)
        shutil.copytree(ram / "other" / folder, sound.path / folder)
    shutil.copy(ram / "other" / "MANIFEST", sound.path / "MANIFEST")
    check_open(sound, read_only=True)
    check_open(sound, read_only=False)
    assert verify(sound.path).position == sound.history.position


@pytest.mark.parametrize("what", ["MANIFEST", "LOCK", "checkpoints", "indexes", "quarantine"])
@pytest.mark.parametrize("read_only", [False, True])
def test_whatever_is_derived_can_be_deleted(sound: SoundLedger, what: str, read_only: bool) -> None:
    """A derived file or folder that is gone is made anew, and the state is as it was."""
    path = sound.path / what
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    check_open(sound, read_only=read_only)
    with open_ledger(sound.path) as ledger:
        create_transfers(ledger, sound.transfers[-1] + 1, 2)
        ledger.checkpoint()
    assert verify(sound.path).position == sound.history.position + 2


def test_a_stale_head_loses_nothing(sound: SoundLedger) -> None:
    """What was written after an old HEAD is whole, so it stays; also across segments."""
    for records in (5, 40):
        path = sound.path.parent / f"older-{records}"
        shutil.copytree(sound.path, path)
        with open_ledger(path) as ledger:
            stale = (path / "HEAD").read_bytes()
            first = sound.transfers[-1] + 1
            for number in range(records):
                create_transfers(ledger, first + number, 1)
            state, position = ledger.state_sha256(), ledger.position
        shutil.rmtree(path / "checkpoints")
        shutil.copytree(sound.path / "checkpoints", path / "checkpoints")
        (path / "HEAD").write_bytes(stale)
        with open_ledger(path) as ledger:
            assert ledger.report.recovery is not None
            assert ledger.report.recovery.events_past_head == records
            assert (ledger.position, ledger.state_sha256()) == (position, state)
        assert verify(path).position == position


@pytest.mark.parametrize("content", [None, b"", bytes(1024), bytes(512)])
def test_without_head_nothing_is_guessed(sound: SoundLedger, content: bytes | None) -> None:
    """Only HEAD knows what was acknowledged, so a journal without it is not opened."""
    head = sound.path / "HEAD"
    head.unlink()
    if content is not None:
        head.write_bytes(content)
    before = files_under(sound.path)
    for call in (verify, open_ledger, lambda path: Ledger.open(path, read_only=True)):
        with pytest.raises(CorruptHead) as caught:
            call(sound.path)
        assert caught.value.path == head
    assert files_under(sound.path) == before


def test_a_checkpoint_ahead_of_the_journal_is_a_witness(sound: SoundLedger) -> None:
    """When journal and HEAD are both put back, a newer checkpoint tells of it."""
    with open_ledger(sound.path) as ledger:
        create_transfers(ledger, sound.transfers[-1] + 1, 3)
    newer = files_under(sound.path / "checkpoints")
    sound.restore()
    for name, content in newer.items():
        (sound.path / "checkpoints" / name).write_bytes(content)
    with pytest.raises(JournalTruncated, match=r"\.checkpoint") as caught:
        open_ledger(sound.path)
    assert caught.value.position == sound.history.position + 1


@pytest.mark.parametrize("what", ["HEAD", "segments"])
def test_a_newer_format_is_refused_untouched(sound: SoundLedger, what: str) -> None:
    """A file of a later version asks for a newer program, and nothing is changed."""
    name = "HEAD" if what == "HEAD" else f"segments/{segment_names(sound.path)[-1]}"
    content = bytearray(sound.files[name])
    version = 1 + (head.FORMAT_VERSION if what == "HEAD" else segment.FORMAT_VERSION)
    for start in range(0, 1024 if what == "HEAD" else SEGMENT_HEADER_BYTES, 512):
        content[start + 12 : start + 16] = version.to_bytes(4, "little")
        crc = zlib.crc32(content[start + 12 : start + 512])
        content[start + 8 : start + 12] = crc.to_bytes(4, "little")
    (sound.path / name).write_bytes(content)
    before = files_under(sound.path)
    for call in (verify, open_ledger, lambda path: Ledger.open(path, read_only=True)):
        with pytest.raises(UnsupportedFormat, match=f"version {version}") as caught:
            call(sound.path)
        assert caught.value.path == sound.path / name
    assert files_under(sound.path) == before


def test_a_refused_ledger_is_not_touched(sound: SoundLedger) -> None:
    """Opening for writing changes nothing before it knows that all is well."""
    active = Directory(sound.path).segments / segment_names(sound.path)[-1]
    active.write_bytes(active.read_bytes()[:-16])
    (sound.path / "MANIFEST").unlink()
    (sound.path / "checkpoints" / "left.tmp").touch()
    before = files_under(sound.path)
    with pytest.raises(JournalTruncated):
        open_ledger(sound.path)
    assert files_under(sound.path) == before
