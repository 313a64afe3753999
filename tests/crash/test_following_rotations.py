"""Readers in other processes, while the writer begins a new segment with every record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.figures import Figure
from tests.journals import commit, open_writer, segment_names

READERS: Final = 4
ROTATIONS: Final = 1_000
ROTATIONS_LONG: Final = 10_000
SIZE: Final = 100
"""Transfers in a record: so many that no second one fits into the smallest segment."""

FOLLOWER: Final = """
import sys
from nostro import Cursor, Reader

last = int(sys.argv[2])
position, chain, segments = 0, bytes(32), set()
print("ready", flush=True)
for record in Reader(sys.argv[1]).follow(timeout_seconds=120):
    assert record.position_first == position + 1, (record.position_first, position)
    assert record.header.previous_sha256 == chain, record.position_first
    assert record.parts[0].rows["id"][0, 0] == record.position_first
    position, chain = record.position_last, record.sha256
    segments.add(record.segment)
    if position == last:
        break
print(position, chain.hex(), len(segments))
"""


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_nothing_is_missed_through_thousands_of_rotations(
    ram: Path, figure: Figure, is_long: bool
) -> None:
    """No gap, no repetition, no other order; two began before the writer, two in the middle."""
    path, rotations = ram / "ledger", ROTATIONS_LONG if is_long else ROTATIONS
    writer = open_writer(path)
    command = [sys.executable, "-c", FOLLOWER, str(path), str((rotations + 1) * SIZE)]
    followers: list[subprocess.Popen[str]] = []
    try:
        for number in range(rotations + 1):
            if number in (0, rotations // 2):
                for _ in range(READERS // 2):
                    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                    followers.append(follower)
                    assert follower.stdout is not None
                    assert follower.stdout.readline() == "ready\n"
            commit(writer, number * SIZE + 1, SIZE)
        head = writer.head
        writer.close()
        assert len(segment_names(path)) == rotations + 1
        expected = f"{head.position} {head.frame_sha256.hex()} {rotations + 1}\n"
        assert [follower.communicate(timeout=600)[0] for follower in followers] == [
            expected
        ] * READERS
    finally:
        for follower in followers:
            follower.kill()
            follower.wait()
    figure(
        "following", "no gap, repetition or other order", seed=None, readers=READERS,
        rotations=rotations,
    )  # fmt: skip
