"""A sound ledger to damage, and what must hold once it is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from nostro.journal.errors import Damage
from nostro.journal.upkeep.verification import verify
from nostro.projections.ledger.ledger import Ledger
from tests.journals import files_under, segment_names
from tests.ledgers import History, open_ledger, transfers_in, write_ledger

RECORDS = 60
DERIVED = ("MANIFEST", "checkpoints", "indexes", "LOCK")
ORIGINAL = ("HEAD", "segments")


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


def refusal(call: Callable[[], object]) -> Damage | None:
    """The damage that ``call`` reports; None if it reports none. Anything else is a failure."""
    try:
        call()
    except Damage as damage:
        return damage
    return None


def check(sound: SoundLedger, name: str) -> None:
    """With the file ``name`` damaged, no way in gives a wrong answer."""
    found = refusal(lambda: verify(sound.path))
    assert str(refusal(lambda: verify(sound.path, quick=True))) == str(found)
    if name.startswith(DERIVED[1:]):
        assert found is None
    else:
        assert found is not None, name
        assert found.path == sound.path / name
        assert found.offset_bytes >= 0
    refusal(lambda: check_open(sound, read_only=True))
    refused = refusal(lambda: check_open(sound, read_only=False))
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
    assert {name.split("/")[0] for name in files} == {*DERIVED, *ORIGINAL}
    return SoundLedger(path, history, files, transfers_in(path))
