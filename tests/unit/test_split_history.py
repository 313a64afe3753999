"""Two lives of one ledger, each gone on from the same events, are told from any other damage."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import attrs
import pytest

from nostro import SplitHistory, verify
from nostro.journal.reading.reader import Reader, Record
from tests.journals import commit, open_writer, segment_names, write_journal

SHARED = 30


@attrs.frozen
class Lives:
    """Two directories with the same first events."""

    one: Path
    other: Path


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    one, other = tmp_path / "one", tmp_path / "other"
    write_journal(one, SHARED)
    shutil.copytree(one, other)
    for path, first in ((one, 1_000), (other, 2_000)):
        writer = open_writer(path)
        for number in range(first, first + 30):
            commit(writer, number)
        writer.close()
    assert segment_names(one)[:-2] == segment_names(other)[:-2]
    return Lives(one, other)


def refuse(path: Path) -> None:
    """Verifying, reading and opening name it."""
    with pytest.raises(SplitHistory, match="two copies of this ledger were both written to"):
        verify(path)
    with pytest.raises(SplitHistory):
        list(Reader(path).records())
    with pytest.raises(SplitHistory):
        open_writer(path)


def test_head_of_the_other_life(lives: Lives) -> None:
    """As when only HEAD was copied: nothing may be appended after a frame that is not there."""
    shutil.copy(lives.other / "HEAD", lives.one)
    with pytest.raises(SplitHistory, match="two copies of this ledger were both written to"):
        verify(lives.one)
    with pytest.raises(SplitHistory):
        open_writer(lives.one)


def test_segments_of_both_lives(lives: Lives) -> None:
    """The last segment of one, on top of those before it of the other."""
    name = segment_names(lives.one)[-1]
    shutil.copy(lives.other / "segments" / name, lives.one / "segments" / name)
    (lives.one / "MANIFEST").unlink()
    refuse(lives.one)


def test_frames_of_both_lives_in_one_segment(lives: Lives) -> None:
    """As two writers at once would leave them."""
    name = segment_names(lives.one)[-1]
    paths = [path / "segments" / name for path in (lives.one, lives.other)]
    mine, others = (path.read_bytes() for path in paths)
    ends = [r.offset_bytes for r in Reader(lives.one).records() if r.segment == paths[0]]
    assert len(mine) == len(others)
    paths[0].write_bytes(mine[: ends[-1]] + others[ends[-1] :])
    refuse(lives.one)


@pytest.mark.parametrize("longer", [True, False])
def test_a_follower_notices_that_the_ledger_is_another(lives: Lives, *, longer: bool) -> None:
    """What it read is no more: another copy was put in place of the directory, further or not."""
    stop = threading.Event()
    following = Reader(lives.one).follow(stop=stop, timeout_seconds=60)
    read: list[Record] = [next(following) for _ in range(SHARED + 30)]
    if longer:
        writer = open_writer(lives.other)
        commit(writer, 3_000)
        writer.close()
    else:
        shutil.rmtree(lives.other)
        write_journal(lives.other, SHARED)
    shutil.rmtree(lives.one)
    lives.other.rename(lives.one)
    with pytest.raises(SplitHistory) as caught:
        next(following)
    assert caught.value.position == read[-1].position_first
