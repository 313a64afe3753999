"""A bulk scan refuses frames exactly where a walk, frame by frame, refuses them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.format.frame import (
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    TRAILER_BYTES,
    FrameHeader,
    encode_frame,
    frame_sha256,
)
from nostro.journal.reading.bulk_scan import scan_chunks
from nostro.journal.reading.scan import FrameBreak, Place, scan
from nostro.journal.storage.files import Storage

LEDGER = bytes(range(16))
GENESIS = bytes(32)
START = Place(0, 1, GENESIS)
FD = 0


class BytesStorage(Storage):
    """One file, which is these bytes; counts how often it is read."""

    reads = 0

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def read(self, fd: int, count: int, offset_bytes: int) -> bytes:
        assert fd == FD
        self.reads += 1
        return self._data[offset_bytes : offset_bytes + count]


def header_of(payload: bytes, previous: bytes, position: int) -> FrameHeader:
    return FrameHeader(
        payload_bytes=len(payload),
        event_count=1 + position % 3,
        position_first=position,
        position_durable=position - 1,
        timestamp_min=1,
        timestamp_max=2,
        ledger_id=LEDGER,
        previous_sha256=previous,
    )


def frames(payloads: list[bytes]) -> list[bytes]:
    """A frame for each, following on one another from position 1."""
    made: list[bytes] = []
    previous, position = GENESIS, 1
    for payload in payloads:
        header = header_of(payload, previous, position)
        made.append(encode_frame(header, payload))
        previous, position = frame_sha256(made[-1]), header.position_last + 1
    return made


SOUND = frames([bytes([n]) * (n * 5 % 19) for n in range(9)])


def walked(data: bytes, start: Place, end_bytes: int) -> tuple[int, int, Place, tuple[str, Place]]:
    """What a walk finds: records, events, the place reached and what is wrong there."""
    return _reached(
        (
            (1, scanned.header.event_count, scanned.next_place)
            for scanned in scan(
                BytesStorage(data), FD, start, end_bytes=end_bytes, ledger_id=LEDGER
            )
        ),
        start,
    )


def scanned_in_bulk(
    data: bytes, start: Place, end_bytes: int, chunk_bytes: int
) -> tuple[int, int, Place, tuple[str, Place]]:
    """What the bulk scan finds; its chunks hold the bytes of the file."""
    found = scan_chunks(
        BytesStorage(data), FD, start,
        end_bytes=end_bytes, ledger_id=LEDGER, chunk_bytes=chunk_bytes,
    )  # fmt: skip

    def steps() -> Iterator[tuple[int, int, Place]]:
        begin = start.offset_bytes
        for chunk in found:
            assert chunk.data == data[begin : chunk.next_place.offset_bytes]
            begin = chunk.next_place.offset_bytes
            yield chunk.records, chunk.events, chunk.next_place

    return _reached(steps(), start)


def _reached(
    steps: Iterator[tuple[int, int, Place]], start: Place
) -> tuple[int, int, Place, tuple[str, Place]]:
    records, events, end = 0, 0, start
    try:
        for more, counted, place in steps:
            records, events, end = records + more, events + counted, place
    except FrameBreak as broken:
        return records, events, end, (broken.cause, broken.place)
    return records, events, end, ("", end)


def same(data: bytes, start: Place = START, chunk_bytes: int = 4096) -> tuple[str, Place]:
    """The cause that both ways name."""
    expected = walked(data, start, len(data))
    assert scanned_in_bulk(data, start, len(data), chunk_bytes) == expected
    return expected[3]


@given(
    payloads=st.lists(st.binary(max_size=300), max_size=12),
    chunk_bytes=st.integers(1, 2_000),
)
def test_sound_frames_are_found_whatever_the_chunks(
    payloads: list[bytes], chunk_bytes: int
) -> None:
    """Also frames larger than a chunk."""
    data = b"".join(frames(payloads))
    assert same(data, chunk_bytes=chunk_bytes)[0] == ""
    assert walked(data, START, len(data))[0] == len(payloads)


def test_every_flipped_bit_is_told_as_a_walk_tells_it() -> None:
    """Place and cause are the same, and so is what comes before."""
    data = b"".join(SOUND[:4])
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert same(bytes(changed))[0]


def test_every_truncation_is_told_as_a_walk_tells_it() -> None:
    """Whether the file ends there, or only what is to be read of it."""
    data = b"".join(SOUND[:4])
    ends = {sum(map(len, SOUND[:n])) for n in range(5)}
    for size in range(len(data)):
        assert bool(same(data[:size])[0]) == (size not in ends)
        expected = walked(data[:size], START, len(data))
        assert expected[3][0]
        assert scanned_in_bulk(data[:size], START, len(data), 4096) == expected


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"ledger_id": bytes(16)}, "belongs to ledger"),
        ({"position_first": 99}, "starts at position 99"),
        ({"previous_sha256": bytes(32)}, "names a predecessor that is not in the journal"),
        ({"position_durable": 98}, "durable before it was written"),
    ],
)
@pytest.mark.parametrize("number", [3, 8])
def test_a_whole_frame_that_does_not_belong(
    changed: dict[str, object], cause: str, number: int
) -> None:
    """Its checksums are right, and where it stands is wrong."""
    before = b"".join(SOUND[:number])
    end = walked(before, START, len(before))[2]
    payload = b"payload"
    header = header_of(payload, frame_sha256(SOUND[number - 1]), end.position)
    assert same(before + encode_frame(header, payload))[0] == ""
    header = header._replace(**changed)  # type: ignore[arg-type]
    found, place = same(before + encode_frame(header, payload))
    assert cause in found
    assert place == end


def test_a_payload_whose_crc_was_wrong_when_it_was_written() -> None:
    """The chain goes on from it, so no hash tells."""
    wrong = bytearray(SOUND[1])
    wrong[-8] ^= 1  # of the CRC in the trailer
    end = walked(SOUND[0], START, len(SOUND[0]))[2]
    after = header_of(b"", frame_sha256(bytes(wrong)), end.position + 1)
    found, place = same(SOUND[0] + wrong + encode_frame(after, b""))
    assert ("payload fails its CRC" in found, place) == (True, end)


@pytest.mark.parametrize(
    ("changed", "position_last", "cause"),
    [
        ({"event_count": 0}, 0, "impossible size"),
        ({"event_count": 5 << 24 | 1}, 1, "impossible size or kind"),
        ({"position_first": 2, "position_durable": 1}, 1, "starts at position 2"),
        ({"payload_bytes": PAYLOAD_BYTES_MAX + 1}, 1, "impossible size"),
        ({"payload_bytes": 2**32 - 1}, 1, "impossible size"),
    ],
)
def test_what_no_writer_writes(changed: dict[str, int], position_last: int, cause: str) -> None:
    """Though every checksum in it is right, and its end mark is where it should be."""
    header = header_of(b"", GENESIS, 1)._replace(event_count=1)
    assert same(forged(header, 1))[0] == ""
    header = header._replace(**changed)  # type: ignore[arg-type]
    found, place = same(forged(header, position_last), chunk_bytes=2 * PAYLOAD_BYTES_MAX)
    assert (cause in found, place) == (True, START)


def test_positions_do_not_wrap() -> None:
    """After the last one that eight bytes hold there is none."""
    start = Place(0, 2**64 - 1, GENESIS)
    header = header_of(b"", GENESIS, start.position)._replace(event_count=1)
    assert same(forged(header, 2**64 - 1), start)[0] == ""
    found, _ = same(forged(header._replace(event_count=2), 0), start)
    assert "end mark is wrong" in found


def forged(header: FrameHeader, position_last: int) -> bytes:
    """A frame of zeros with this header, which a writer would refuse to write."""
    payload = bytes(min(header.payload_bytes, PAYLOAD_BYTES_MAX + 1))
    rest = struct.pack("<IIQQQQ16s32s", *header[:-1])
    room = bytes(-(len(payload) + HEADER_BYTES + TRAILER_BYTES) % 16)
    trailer = struct.pack("<QI4s", position_last, zlib.crc32(payload), b"END.")
    return b"".join([b"NSTR", struct.pack("<I", zlib.crc32(rest)), rest, payload, room, trailer])


def test_a_start_in_the_middle_follows_on_anything() -> None:
    """Where the frame before was not read."""
    data = b"".join(SOUND)
    _, _, place, _ = walked(data, START, len(SOUND[0]))
    middle = attrs.evolve(place, previous_sha256=None)
    assert same(data, middle)[0] == ""
    assert walked(data, middle, len(data))[0] == len(SOUND) - 1


def test_sound_frames_are_not_walked() -> None:
    """The bulk scan reads a sound chunk once; a walk after it would read it again."""
    storage = BytesStorage(b"".join(SOUND))
    found = list(scan_chunks(storage, FD, START, end_bytes=sum(map(len, SOUND)), ledger_id=LEDGER))
    assert [chunk.records for chunk in found] == [len(SOUND)]
    assert storage.reads == 1


def test_a_file_is_read_as_it_is_on_disk(tmp_path: Path) -> None:
    """From where the first frame begins, up to the end that is given."""
    path = tmp_path / "file"
    path.write_bytes(bytes(512) + b"".join(SOUND) + bytes(64))
    storage = Storage()
    fd = storage.open_read(path)
    end_bytes = 512 + sum(map(len, SOUND))
    found = list(
        scan_chunks(storage, fd, Place(512, 1, GENESIS), end_bytes=end_bytes, ledger_id=LEDGER)
    )
    storage.close(fd)
    assert [one.records for one in found] == [len(SOUND)]
    assert found[0].next_place == Place(end_bytes, 15, frame_sha256(SOUND[-1]))
