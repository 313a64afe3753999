"""Rows by position: each as it was written, whatever was read before, and damage is seen."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import CorruptFrame, MissingSegment
from nostro.journal.format import codec
from nostro.journal.format.codec import BLOCK_ROWS, CREATED, RecordKind, encode_domain_events
from nostro.journal.format.frame import HEADER_BYTES, decode_header
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES
from nostro.journal.model import TRANSFER, CreateTransferStatus, Rows
from nostro.journal.reading.row_lookup import TransferLookup
from nostro.journal.storage.files import Storage
from tests.descriptors import open_files
from tests.journals import open_writer, transfers
from tests.storages import EIO, FaultyStorage, ObservedStorage, Operation

COUNTS = (1, 3, 700, 0, 1_300, 1, 2 * BLOCK_ROWS)
"""Of transfers in a record; 0 is one domain event."""
REFUSED = {5: 5, 706: 2, 2_007: BLOCK_ROWS}
"""By the first position of a record: which of its transfers took no effect."""


class Counting(ObservedStorage):
    """Counts the bytes that are read."""

    bytes_read = 0

    def before(self, operation: Operation) -> None:
        if operation.name == "read":
            self.bytes_read += operation.count


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of several segments, with frames of all sizes."""
    path = tmp_path_factory.mktemp("lookup") / "journal"
    writer = open_writer(path, segment_bytes_max=32_768)
    first = 1
    for count in COUNTS:
        statuses = np.full(count, CREATED, np.uint32)
        if first in REFUSED:
            statuses[REFUSED[first]] = CreateTransferStatus.EXCEEDS_CREDITS
        queued = writer.append(
            codec.encode_rows(RecordKind.TRANSFERS, transfers(first, count), statuses)
            if count
            else encode_domain_events([{"t": "nothing", "v": 1}]),
            kind=RecordKind.TRANSFERS if count else RecordKind.EVENTS,
            event_count=count or 1,
            timestamp_min=first,
            timestamp_max=first,
            generation=0,
        )
        assert queued is not None
        writer.wait(queued)
        first = queued.position_last + 1
    writer.close()
    return path


def expected() -> tuple[Rows, list[bool]]:
    """What stands at each position from 1 on."""
    rows: list[Rows] = []
    took_effect: list[bool] = []
    for count in COUNTS:
        first = len(took_effect) + 1
        rows.append(transfers(first, count) if count else np.zeros(1, TRANSFER))
        took_effect += [count > 0 and REFUSED.get(first) != n for n in range(max(count, 1))]
    return np.concatenate(rows), took_effect


ROWS, TOOK_EFFECT = expected()
POSITIONS = st.lists(
    st.lists(st.integers(1, len(ROWS)), unique=True, max_size=40).map(sorted), max_size=6
)


def test_the_workload_has_what_it_is_for(path: Path) -> None:
    """Several segments, three refusals, one of them in a later block, and no transfer at 705."""
    assert len(list((path / "segments").iterdir())) > 2
    assert sum(not it for it in TOOK_EFFECT) == 4
    assert not ROWS[704]["id"].any()


def test_each_segment_is_closed_whatever_the_others_report(path: Path) -> None:
    storage = FaultyStorage(1, EIO, for_ever=True, only=())
    found = TransferLookup(path, storage)
    everything = np.arange(1, len(ROWS) + 1)
    found.rows(everything)
    storage.only = {"close"}
    with pytest.raises(OSError, match=os.strerror(EIO)):
        found.rows(everything)
    assert len(storage.failed) > 1
    assert not open_files(path)


@given(POSITIONS)
def test_rows_are_those_that_were_written(path: Path, asked: list[list[int]]) -> None:
    """In any order of look-ups, of one row or of many."""
    found = TransferLookup(path, Storage())
    for positions in asked:
        rows, took_effect = found.rows(np.array(positions, np.int64))
        at = np.array(positions, np.int64) - 1
        assert rows.tobytes() == ROWS[at].tobytes()
        assert took_effect.tolist() == [TOOK_EFFECT[n] for n in at]
        for position in positions:
            if ROWS[position - 1]["id"].any():
                row, has = found.row(position)
                assert row.tobytes() == ROWS[position - 1].tobytes()
                assert has == TOOK_EFFECT[position - 1]


@pytest.mark.parametrize("step", [1, 2, 15, 16, 17])
def test_many_rows_at_once(path: Path, step: int) -> None:
    """Whole blocks, and so many rows of each that they are picked by columns, or hardly so many."""
    at = np.arange(0, len(ROWS), step)
    rows, took_effect = TransferLookup(path, Storage()).rows(at + 1)
    assert rows.tobytes() == ROWS[at].tobytes()
    assert took_effect.tolist() == TOOK_EFFECT[::step]


def test_a_small_cache_answers_alike(path: Path) -> None:
    """Dropping frames from the cache changes no answer."""
    found = TransferLookup(path, Storage(), cache_bytes_max=2_000)
    rng = np.random.default_rng(1)
    for position in rng.integers(1, len(ROWS) + 1, 200).tolist():
        rows, _ = found.rows(np.array([position]))
        assert rows.tobytes() == ROWS[position - 1].tobytes()


def test_the_cache_is_bounded(path: Path) -> None:
    """The frame used longest ago is dropped, and read whole when a look-up needs it again."""
    storage = Counting()
    found = TransferLookup(path, storage, cache_bytes_max=2_000)  # room for two frames

    def bytes_read_for(position: int) -> int:
        storage.bytes_read = 0
        found.rows(np.array([position]))
        return storage.bytes_read

    last = len(ROWS)
    whole = bytes_read_for(last)
    bytes_read_for(1)
    assert bytes_read_for(last - BLOCK_ROWS) < whole / 2
    bytes_read_for(5)  # drops the frame of 1, for the last one was used after it
    assert bytes_read_for(last) < whole / 2
    for position in (1, 5):
        bytes_read_for(position)
    assert bytes_read_for(last) > whole / 2


def test_a_cached_frame_is_not_read_whole_again(path: Path) -> None:
    """A look-up reads only the block that holds the row."""
    storage = Counting()
    found = TransferLookup(path, storage)
    found.rows(np.array([len(ROWS)]))
    whole, storage.bytes_read = storage.bytes_read, 0
    found.rows(np.array([len(ROWS) - BLOCK_ROWS]))
    assert 0 < storage.bytes_read < whole / 2


def test_a_block_that_is_no_longer_what_it_was_is_damage(tmp_path: Path) -> None:
    """Every byte of it is checked each time, though its frame was sound when it was first read."""
    path = tmp_path / "journal"
    writer = open_writer(path)
    rows = transfers(1, 600)
    queued = writer.append(
        codec.encode_rows(RecordKind.TRANSFERS, rows, None),
        kind=RecordKind.TRANSFERS,
        event_count=600, timestamp_min=1, timestamp_max=1, generation=0,
    )  # fmt: skip
    assert queued is not None
    writer.wait(queued)
    writer.close()
    found = TransferLookup(path, Storage())
    found.rows(np.array([600]))
    [segment] = (path / "segments").iterdir()
    sound = segment.read_bytes()
    frame_start = SEGMENT_HEADER_BYTES
    header = decode_header(memoryview(sound)[frame_start:])
    payload_start = frame_start + HEADER_BYTES
    payload = memoryview(sound)[payload_start : payload_start + header.payload_bytes]
    encoded, [block_start, *_] = codec.view_payload(payload)
    start = payload_start + block_start
    for at in (start, start + 100, start + len(encoded.blocks[0]) - 1):
        segment.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        for call in (lambda: found.rows(np.array([1])), lambda: found.row(1)):
            with pytest.raises(CorruptFrame, match="its CRC") as damage:
                call()
            assert (damage.value.path, damage.value.offset_bytes) == (segment, 512)
    segment.write_bytes(sound[: start + 10])
    with pytest.raises(CorruptFrame):
        found.rows(np.array([1]))
    segment.unlink()
    with pytest.raises(MissingSegment):
        found.rows(np.array([1]))
