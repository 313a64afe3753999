"""Damage: a file that is not as it was written is refused by name, or was not needed."""

from __future__ import annotations

import os
import random
import shutil
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import attrs
import pytest

from nostro.journal.upkeep.verification import verify
from tests.crash.damage import SoundLedger, check
from tests.crash.forking import as_they_end, cores
from tests.figures import Figure
from tests.journals import files_under, segment_names
from tests.ledgers import create_transfers, open_ledger

FLIPS = 2_000
"""How many bits, of some 160,000, are flipped unless all are."""
TRUNCATIONS = 800
AT_A_TIME: Final = 2_000
"""So many cases are one job, after which it is told how far the whole is."""
SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cut_short(content: bytes, size: int) -> bytes:
    return content[:size]


def try_all(
    sound: SoundLedger,
    cases: Sequence[tuple[str, int]],
    damaged: Callable[[bytes, int], bytes],
    tell: Callable[[str], None],
) -> None:
    """Damage one file after the other, in as many processes as there are cores."""
    count = max(cores(), len(cases) // AT_A_TIME)
    jobs = [partial(try_each, sound, n, cases[n::count], damaged) for n in range(count)]
    done = 0
    for tried in as_they_end(cores(), jobs):
        done += tried
        tell(f"{done:,} of {len(cases):,} tried")


def try_each(
    sound: SoundLedger,
    number: int,
    cases: Sequence[tuple[str, int]],
    damaged: Callable[[bytes, int], bytes],
) -> int:
    """Try them on a copy of the ledger; how many there were."""
    path = sound.path.with_name(f"ledger-{number}")
    shutil.copytree(sound.path, path)
    sound = attrs.evolve(sound, path=path)
    for name, where in cases:
        (path / name).write_bytes(damaged(sound.files[name], where))
        try:
            check(sound, name)
        except Exception:  # noqa: BLE001 - it is told in words: not each kind can be sent on
            raise AssertionError(f"{traceback.format_exc()}\n{name} damaged at {where}") from None
        sound.restore()
    shutil.rmtree(path)
    return len(cases)


def sample(
    everything: list[tuple[str, int]], count: int, is_long: bool
) -> Sequence[tuple[str, int]]:
    """All of it, or so many, from a seed of its own each time it is run by hand."""
    if is_long:
        return everything
    return sorted(random.Random(SEED).sample(everything, min(count, len(everything))))


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_every_flipped_bit_is_refused_or_made_good(
    sound: SoundLedger, figure: Figure, tell: Callable[[str], None], is_long: bool
) -> None:
    """Of any file: verifying names file and offset, or the file is derived and made good."""
    everything = [
        (name, bit) for name, content in sound.files.items() for bit in range(len(content) * 8)
    ]
    chosen = sample(everything, FLIPS, is_long)
    try_all(sound, chosen, flipped, tell)
    figure(
        "bits flipped", "each refused or made good", seed=SEED, files=len(sound.files),
        bits=len(chosen),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_every_truncation_is_refused_or_made_good(
    sound: SoundLedger, figure: Figure, tell: Callable[[str], None], is_long: bool
) -> None:
    """Cut at any byte: an acknowledged event is never missing without a word."""
    everything = [
        (name, size) for name, content in sound.files.items() for size in range(len(content))
    ]
    chosen = sample(everything, TRUNCATIONS, is_long)
    try_all(sound, chosen, cut_short, tell)
    figure(
        "files cut short", "each refused or made good", seed=SEED, files=len(sound.files),
        cuts=len(chosen),
    )  # fmt: skip


@pytest.mark.slow
def test_every_tear_past_head_is_recovered(
    sound: SoundLedger, figure: Figure, is_long: bool
) -> None:
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
            ends[ledger.position] = len((sound.path / active).read_bytes().rstrip(b"\0"))
    ends[head_position] = len(sound.files[active])
    after = files_under(sound.path)
    assert len(ends) > 2
    sizes = range(ends[head_position], len(after[active]) + 1, 1 if is_long else 7)
    for size in sizes:
        sound.restore()
        (sound.path / active).write_bytes(after[active][:size])
        (sound.path / "HEAD").write_bytes(stale)
        file_before = (sound.path / active).stat().st_ino
        expected = max(position for position, end in ends.items() if end <= size)
        with open_ledger(sound.path) as ledger:
            assert ledger.position == expected
            assert ledger.state_sha256() == sound.history.states[expected]
            report = ledger.report.recovery
            # What no sync is known to have covered lies in a new file, without what was torn.
            is_fresh = (sound.path / active).stat().st_ino != file_before
            assert is_fresh == (size > ends[head_position])
            assert not (sound.path / active).read_bytes()[ends[expected] :].strip(b"\0")
        assert report is not None
        torn = after[active][ends[expected] : size]
        kept = b"" if report.quarantine is None else report.quarantine.read_bytes()
        assert kept == torn.rstrip(b"\0")
        assert report.torn_bytes == len(kept)
        assert verify(sound.path).position == expected
    figure(
        "tears past HEAD", "whole records kept, the torn one set aside", seed=None,
        tears=len(sizes),
    )  # fmt: skip
