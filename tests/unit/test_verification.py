"""Verification: what it reads, in which order it tells, and what it decodes only when asked."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from journal import Damage, verify
from journal.errors import CorruptSegment
from journal.segment import SEGMENT_HEADER_BYTES, decode_segment_header, encode_segment_header
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


def test_a_sealed_file_is_hashed_whole(path: Path) -> None:
    """Also what no frame covers: a segment's header, made anew with a sound CRC, is told."""
    for name in segment_names(path)[:-1]:
        segment = path / "segments" / name
        content = segment.read_bytes()
        header = decode_segment_header(content[:SEGMENT_HEADER_BYTES], path=segment)
        forged = attrs.evolve(header, created_at_ns=header.created_at_ns + 1)
        segment.write_bytes(encode_segment_header(forged) + content[SEGMENT_HEADER_BYTES:])
        with pytest.raises(CorruptSegment, match="SHA-256") as caught:
            verify(path)
        assert caught.value.path == segment
        segment.write_bytes(content)
    verify(path)
