"""Verification: what it reads, in which order it tells, and what it decodes only when asked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
import pytest

from nostro import Damage, verify
from nostro.journal.errors import CorruptSegment, InvalidField
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.segment import (
    SEGMENT_HEADER_BYTES,
    decode_segment_header,
    encode_segment_header,
)
from tests.journals import commit, flip, open_writer, segment_names
from tests.ledgers import write_ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of several segments."""
    write_ledger(tmp_path / "ledger", records=60)
    return tmp_path / "ledger"


def test_the_first_damage_is_told_whatever_thread_finds_it(path: Path) -> None:
    """Segments are read at once; what stands first in the journal is what is raised."""
    segments = sorted((path / "segments").iterdir())
    assert len(segments) > 3
    for file in reversed(segments[1:]):
        flip(file, 700)
        with pytest.raises(Damage) as caught:
            verify(path)
        assert caught.value.path == file


def test_progress_rises_to_the_end(path: Path) -> None:
    """It is told in bytes of the segments."""
    heard: list[tuple[int, int]] = []
    report = verify(path, progress=lambda done, total: heard.append((done, total)))
    assert heard == sorted(heard)
    assert heard[-1][0] == report.size_bytes
    assert {total for _, total in heard} == {
        sum(file.stat().st_size for file in (path / "segments").iterdir())
    }


@pytest.mark.parametrize("position", [1, 30, 61])
def test_what_was_written_but_cannot_be_decoded(tmp_path: Path, position: int) -> None:
    """The hashes are those of what a writer wrote; only decoding shows that it is no payload."""
    path = tmp_path / "ledger"
    writer = open_writer(path)
    for number in range(1, 62):
        if number != position:
            commit(writer, number)
            continue
        queued = writer.append(
            b"no payload",
            kind=RecordKind.TRANSFERS,
            event_count=1,
            timestamp_min=number,
            timestamp_max=number,
            generation=writer.generation,
        )
        assert queued is not None
        writer.wait(queued)
    writer.close()
    report = verify(path)
    assert (report.events, report.segments > 1) == (61, True)
    with pytest.raises(Damage) as caught:
        verify(path, decode=True)
    assert caught.value.position == position


def test_what_was_decoded_is_counted_alike(path: Path) -> None:
    """A sound journal gives one report, decoded or not."""
    assert verify(path, decode=True) == verify(path)


def test_quick_finds_what_a_walk_finds(path: Path) -> None:
    """Each byte of each segment counts, and the place that is named is the same."""
    report = verify(path, quick=True)
    assert report == attrs.evolve(verify(path), records=None)
    for file in sorted((path / "segments").iterdir()):
        content = file.read_bytes()
        for offset in range(0, len(content), 199):
            flip(file, offset)
            with pytest.raises(Damage) as walked:
                verify(path)
            with pytest.raises(Damage) as caught:
                verify(path, quick=True)
            assert str(caught.value) == str(walked.value)
            file.write_bytes(content)


def test_quick_trusts_the_hash_of_a_sealed_segment(path: Path) -> None:
    """A broken frame passes if its successor names the file's new hash; a full check finds it."""
    *_, sealed, last = (path / "segments" / name for name in segment_names(path))
    flip(sealed, 600)
    header = decode_segment_header(last.read_bytes(), path=last)
    forged = attrs.evolve(header, previous_file_sha256=hashlib.sha256(sealed.read_bytes()).digest())
    last.write_bytes(encode_segment_header(forged) + last.read_bytes()[SEGMENT_HEADER_BYTES:])
    (path / "MANIFEST").unlink()  # derived; it names the old hash
    verify(path, quick=True)
    with pytest.raises(Damage, match="CRC"):
        verify(path)


def test_quick_decodes_nothing(path: Path) -> None:
    """Both cannot be had."""
    with pytest.raises(InvalidField, match="quick"):
        verify(path, quick=True, decode=True)


@pytest.mark.parametrize("quick", [False, True])
def test_a_sealed_file_is_hashed_whole(path: Path, *, quick: bool) -> None:
    """Also what no frame covers: a segment's header, made anew with a sound CRC, is told."""
    for name in segment_names(path)[:-1]:
        segment = path / "segments" / name
        content = segment.read_bytes()
        header = decode_segment_header(content[:SEGMENT_HEADER_BYTES], path=segment)
        forged = attrs.evolve(header, created_at_ns=header.created_at_ns + 1)
        segment.write_bytes(encode_segment_header(forged) + content[SEGMENT_HEADER_BYTES:])
        with pytest.raises(CorruptSegment, match="SHA-256") as caught:
            verify(path, quick=quick)
        assert caught.value.path == segment
        segment.write_bytes(content)
    verify(path, quick=quick)
