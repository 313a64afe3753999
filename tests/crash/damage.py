"""A sound ledger to damage, and what must hold once it is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from journal.errors import (
    Damage,
    UnsupportedFormat,
)
from journal.verification import verify
from projections.ledger import Ledger
from tests.journals import files_under, segment_names
from tests.ledgers import History, open_ledger, transfers_in, write_ledger

RECORDS = 60
DERIVED = ("MANIFEST", "checkpoints", "indexes", "LOCK")
VERSIONED = ("HEAD", "segments")
"""Files whose bytes 8 to 11 (of each slot) are a format version."""


@attrs.frozen
class SoundLedger:
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


def check(sound: SoundLedger, name: str, *, version_of: str | None = None) -> None:
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


def check_open(sound: SoundLedger, *, read_only: bool) -> None:
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


def check_transfers(sound: SoundLedger, ledger: Ledger) -> None:
    """Look-ups of old and new transfers find what was written, or report damage."""
    for id_ in (sound.transfers[0], sound.transfers[len(sound.transfers) // 2]):
        assert [one.id for one in ledger.lookup_transfers([id_])] == [id_]
    assert ledger.lookup_transfers([sound.transfers[-1] + 1]) == []


def write_sound(path: Path) -> SoundLedger:
    """A closed ledger of some 20 KiB."""
    history = write_ledger(path, records=RECORDS)
    files = files_under(path)
    assert sum(map(len, files.values())) >= 16 * 1024
    assert len(segment_names(path)) >= 4
    assert len(list((path / "checkpoints").iterdir())) == 2
    assert {name.split("/")[0] for name in files} == {*DERIVED, *VERSIONED}
    return SoundLedger(path, history, files, transfers_in(path))
