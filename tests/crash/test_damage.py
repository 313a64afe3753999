"""Damage: a file that is not as it was written is refused by name, or was not needed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs
import pytest

from journal.directory import Directory
from journal.errors import (
    CorruptHead,
    CorruptManifest,
    CorruptSegment,
    Damage,
    ForeignSegment,
    JournalTruncated,
    MissingSegment,
    UnsupportedFormat,
)
from journal.segment import SEGMENT_HEADER_BYTES
from journal.verification import verify
from projections.ledger import Ledger
from tests.journals import files_under, segment_names
from tests.ledgers import History, create_transfers, open_ledger, transfers_in, write_ledger

RECORDS = 60
FLIPS = 2_000
"""How many bits, of some 160,000, are flipped unless all are."""
TRUNCATIONS = 800

DERIVED = ("MANIFEST", "checkpoints", "indexes", "LOCK")
VERSIONED = ("HEAD", "segments")
"""Files whose bytes 8 to 11 (of each slot) are a format version."""


@attrs.frozen
class Fixture:
    """A sound ledger in a directory, and how to get it back."""

    path: Path
    history: History
    files: dict[str, bytes]
    transfers: list[int]

    def restore(self) -> None:
        """Put every file back, and remove what was added."""
        for name in files_under(self.path).keys() - self.files.keys():
            (self.path / name).unlink()
        for name, content in self.files.items():
            file = self.path / name
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)

    @property
    def state_sha256(self) -> bytes:
        return self.history.states[self.history.position]


@pytest.fixture
def sound(ram: Path) -> Fixture:
    """A closed ledger of some 20 KiB."""
    path = ram / "ledger"
    history = write_ledger(path, records=RECORDS)
    files = files_under(path)
    assert sum(map(len, files.values())) >= 16 * 1024
    assert len(segment_names(path)) >= 4
    assert len(list((path / "checkpoints").iterdir())) == 2
    assert {name.split("/")[0] for name in files} == {*DERIVED, *VERSIONED}
    return Fixture(path, history, files, transfers_in(path))


def refusal(call: Callable[[], object], *, version_of: str | None = None) -> Damage | None:
    """The damage that ``call`` reports; None if it reports none. Anything else is a failure.

    Args:
        version_of: the file whose version was altered, so that it may pass for a newer one.
    """
    try:
        call()
    except Damage as damage:
        return damage
    except UnsupportedFormat as error:
        if version_of is None or not str(error.path).endswith(version_of):
            raise
        return Damage(error.path, 8, "a newer version")
    return None


def check(sound: Fixture, name: str, *, version_of: str | None = None) -> None:
    """With the file ``name`` damaged, no way in gives a wrong answer."""
    found = refusal(lambda: verify(sound.path), version_of=version_of)
    if name.startswith(DERIVED[1:]):
        assert found is None
    else:
        assert found is not None, name
        assert found.path == sound.path / name
        assert found.offset_bytes >= 0
    refusal(lambda: check_open(sound, read_only=True), version_of=version_of)
    refused = refusal(lambda: check_open(sound, read_only=False), version_of=version_of)
    assert refused is None or not name.startswith(DERIVED)


def check_open(sound: Fixture, *, read_only: bool) -> None:
    """Opens, or raises Damage; what has opened is exactly the ledger that was written."""
    ledger = Ledger.open(sound.path, read_only=True) if read_only else open_ledger(sound.path)
    try:
        position = ledger.position
        # One slot of HEAD may be lost: a reader then sees what the other one vouches for.
        assert read_only or position == sound.history.position
        assert ledger.state_sha256() == sound.history.states[position]
        refusal(lambda: check_transfers(sound, ledger))
    finally:
        ledger.close()


def check_transfers(sound: Fixture, ledger: Ledger) -> None:
    """Look-ups of old and new transfers find what was written, or report damage."""
    for id_ in (sound.transfers[0], sound.transfers[len(sound.transfers) // 2]):
        assert [one.id for one in ledger.lookup_transfers([id_])] == [id_]
    assert ledger.lookup_transfers([sound.transfers[-1] + 1]) == []


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def sample(
    everything: list[tuple[str, int]], count: int, is_long: bool
) -> Iterable[tuple[str, int]]:
    """All of it, or so many, from a seed of its own each time it is run by hand."""
    if is_long:
        return everything
    seed = int(os.environ.get("NOSTRO_SEED", "1"))
    return sorted(random.Random(seed).sample(everything, min(count, len(everything))))


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_every_flipped_bit_is_refused_or_made_good(sound: Fixture, is_long: bool) -> None:
    """Of any file: verifying names file and offset, or the file is derived and made good."""
    everything = [
        (name, bit) for name, content in sound.files.items() for bit in range(len(content) * 8)
    ]
    for name, bit in sample(everything, FLIPS, is_long):
        (sound.path / name).write_bytes(flipped(sound.files[name], bit))
        is_version = name.startswith(VERSIONED) and 8 <= bit // 8 % 512 < 12
        check(sound, name, version_of=name if is_version and bit // 8 < 1024 else None)
        sound.restore()


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_every_truncation_is_refused_or_made_good(sound: Fixture, is_long: bool) -> None:
    """Cut at any byte: an acknowledged event is never missing without a word."""
    everything = [
        (name, size) for name, content in sound.files.items() for size in range(len(content))
    ]
    for name, size in sample(everything, TRUNCATIONS, is_long):
        (sound.path / name).write_bytes(sound.files[name][:size])
        check(sound, name)
        sound.restore()


@pytest.mark.slow
def test_every_tear_past_head_is_recovered(sound: Fixture, is_long: bool) -> None:
    """What HEAD had not heard of may end anywhere: whole records stay, the torn one is kept."""
    active = f"segments/{segment_names(sound.path)[-1]}"
    with open_ledger(sound.path) as ledger:
        stale = (sound.path / "HEAD").read_bytes()
        head_position = ledger.position
        first = sound.transfers[-1] + 1
        ends = {head_position: (sound.path / active).stat().st_size}
        while ends[max(ends)] < 4096 - 700:
            create_transfers(ledger, first, 2)
            sound.history.note(ledger)
            first += 2
            ends[ledger.position] = ledger._writer.head.offset_bytes  # type: ignore[union-attr]
    ends[head_position] = len(sound.files[active])
    after = files_under(sound.path)
    assert len(ends) > 2
    for size in range(ends[head_position], len(after[active]) + 1, 1 if is_long else 7):
        sound.restore()
        (sound.path / active).write_bytes(after[active][:size])
        (sound.path / "HEAD").write_bytes(stale)
        expected = max(position for position, end in ends.items() if end <= size)
        with open_ledger(sound.path) as ledger:
            assert ledger.position == expected
            assert ledger.state_sha256() == sound.history.states[expected]
            report = ledger.report.recovery
        assert report is not None
        torn = after[active][ends[expected] : size]
        kept = b"" if report.quarantine is None else report.quarantine.read_bytes()
        assert kept == torn.rstrip(b"\0")
        assert report.torn_bytes == len(kept)
        assert verify(sound.path).position == expected


# --- whole files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(4))
def test_a_deleted_segment_is_missed(sound: Fixture, number: int) -> None:
    """First, middle or last: opening and verifying say which one is not there."""
    name = segment_names(sound.path)[number]
    (sound.path / "segments" / name).unlink()
    (sound.path / "MANIFEST").unlink()  # without its help
    for call in (verify, open_ledger):
        with pytest.raises((MissingSegment, JournalTruncated)) as caught:
            call(sound.path)
        assert any(part in str(caught.value) for part in (name, "missing", "before it"))


def test_a_segment_under_another_name_is_refused(sound: Fixture) -> None:
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


def test_swapped_segments_are_refused(sound: Fixture) -> None:
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
def test_a_foreign_segment_is_refused(sound: Fixture, ram: Path, number: int) -> None:
    """A sound segment of another ledger, at the same place, is told by its ledger."""
    write_ledger(ram / "other", records=RECORDS)
    name = segment_names(sound.path)[number]
    assert segment_names(ram / "other") == segment_names(sound.path)
    shutil.copy(ram / "other" / "segments" / name, sound.path / "segments" / name)
    for call in (verify, open_ledger):
        with pytest.raises(ForeignSegment) as caught:
            call(sound.path)
        assert caught.value.path == sound.path / "segments" / name


def test_head_of_another_ledger_is_refused(sound: Fixture, ram: Path) -> None:
    """HEAD and segments must be of one ledger."""
    write_ledger(ram / "other", records=RECORDS)
    shutil.copy(ram / "other" / "HEAD", sound.path / "HEAD")
    for call in (verify, open_ledger):
        with pytest.raises((ForeignSegment, CorruptManifest), match="ledger"):
            call(sound.path)


def test_derived_files_of_another_ledger_are_passed_over(sound: Fixture, ram: Path) -> None:
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
def test_whatever_is_derived_can_be_deleted(sound: Fixture, what: str, read_only: bool) -> None:
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


def test_a_stale_head_loses_nothing(sound: Fixture) -> None:
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
def test_without_head_nothing_is_guessed(sound: Fixture, content: bytes | None) -> None:
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


def test_a_checkpoint_ahead_of_the_journal_is_a_witness(sound: Fixture) -> None:
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
def test_a_newer_format_is_refused_untouched(sound: Fixture, what: str) -> None:
    """A file of a later version asks for a newer program, and nothing is changed."""
    name = "HEAD" if what == "HEAD" else f"segments/{segment_names(sound.path)[-1]}"
    content = bytearray(sound.files[name])
    for start in range(0, 1024 if what == "HEAD" else SEGMENT_HEADER_BYTES, 512):
        content[start + 8 : start + 12] = (2).to_bytes(4, "little")
    (sound.path / name).write_bytes(content)
    before = files_under(sound.path)
    for call in (verify, open_ledger, lambda path: Ledger.open(path, read_only=True)):
        with pytest.raises(UnsupportedFormat, match="version 2") as caught:
            call(sound.path)
        assert caught.value.path == sound.path / name
    assert files_under(sound.path) == before


def test_a_refused_ledger_is_not_touched(sound: Fixture) -> None:
    """Opening for writing changes nothing before it knows that all is well."""
    active = Directory(sound.path).segments / segment_names(sound.path)[-1]
    active.write_bytes(active.read_bytes()[:-16])
    (sound.path / "MANIFEST").unlink()
    (sound.path / "checkpoints" / "left.tmp").touch()
    before = files_under(sound.path)
    with pytest.raises(JournalTruncated):
        open_ledger(sound.path)
    assert files_under(sound.path) == before
