"""Verification: what it reads, in which order it tells, and what it decodes only when asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from nostro import Damage, verify
from nostro.journal.errors import CorruptSegment, InvalidField
from nostro.journal.format.segment import (
    SEGMENT_HEADER_BYTES,
    decode_segment_header,
    encode_segment_header,
    segment_name,
)
from nostro.journal.reading.bulk_scan import Stretch, stretches
from nostro.journal.reading.scan import Place
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep import verification
from tests.journals import commit, open_writer, segment_names
from tests.ledgers import write_ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of several segments."""
    write_ledger(tmp_path / "ledger", records=60)
    return tmp_path / "ledger"


def flip(file: Path, offset_bytes: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset_bytes] ^= 1
    file.write_bytes(data)


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
        ticket = writer.append(
            b"no payload",
            event_count=1,
            timestamp_min=number,
            timestamp_max=number,
            generation=writer.generation,
        )
        assert ticket is not None
        writer.wait(ticket)
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


def test_quick_walks_no_sealed_segment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last one, which nothing but HEAD vouches for."""
    walked: list[int] = []

    def noted(
        storage: Storage, fd: int, start: Place, *, end_bytes: int, ledger_id: bytes
    ) -> Iterator[Stretch]:
        walked.append(start.position)
        return stretches(storage, fd, start, end_bytes=end_bytes, ledger_id=ledger_id)

    monkeypatch.setattr(verification, "stretches", noted)
    verify(path, quick=True)
    assert [segment_name(position) for position in walked] == segment_names(path)[-1:]


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
