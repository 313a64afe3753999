"""A disk that is full: the batch is refused, and everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro import (
    Account,
    CreateTransferStatus,
    JournalFull,
    Ledger,
    NoRoomToRecover,
    Transfer,
    audit,
)
from tests.clocks import HandClock
from tests.disks import FullDisk
from tests.journals import files_under
from tests.ledgers import copy_while_open

ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)
ABSENT: Final = attrs.evolve(ONE, id=2, debit_account_id=404)
S: Final = CreateTransferStatus


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def ledger(tmp_path: Path, disk: FullDisk) -> Iterator[Ledger]:
    with Ledger.open(
        tmp_path / "ledger", storage=disk, clock=HandClock(), segment_bytes_max=4096
    ) as opened:
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        yield opened
        disk.full = False


def test_a_batch_without_room_is_refused_whole(disk: FullDisk, ledger: Ledger) -> None:
    """Nothing of it happened, not even the use of an id; the same batch succeeds later."""
    before = ledger.state_sha256(), ledger.position
    disk.full = True
    for _ in range(3):
        with pytest.raises(JournalFull, match="no space left"):
            ledger.create_transfers([ONE, ABSENT])
    assert (ledger.state_sha256(), ledger.position) == before
    assert ledger.lookup_transfers([1, 2]) == []
    disk.full = False
    results = ledger.create_transfers([ONE, ABSENT, ABSENT])
    assert [result.status for result in results] == [
        S.CREATED, S.DEBIT_ACCOUNT_NOT_FOUND, S.ID_ALREADY_FAILED,
    ]  # fmt: skip


def test_reading_goes_on_while_the_disk_is_full(disk: FullDisk, ledger: Ledger) -> None:
    """Look-ups, past ledgers and refusals that write nothing need no room."""
    ledger.create_transfers([ONE])
    disk.full = True
    assert ledger.lookup_accounts([1])[0].debits_posted == 10
    assert ledger.lookup_transfers([1])[0].amount == 10
    assert ledger.at(position=2).transfer_count == 0
    assert ledger.create_transfers([ONE])[0].status is S.EXISTS
    assert ledger.create_transfers([attrs.evolve(ONE, id=0)])[0].status is S.ID_MUST_NOT_BE_ZERO


def test_a_disk_that_fills_up_between_segments(
    tmp_path: Path, disk: FullDisk, ledger: Ledger
) -> None:
    """Whether the segment ends here or in a moment, each refused batch leaves no gap behind."""
    taken = []
    for id_ in range(1, 60):
        batch = [attrs.evolve(ONE, id=100 * id_ + n, user_data_128=id_**17) for n in range(9)]
        disk.full = True
        with pytest.raises(JournalFull):
            ledger.create_transfers(batch)
        disk.full = False
        if id_ % 2:
            assert ledger.create_transfers(batch)[0].status is S.CREATED
            taken += [transfer.id for transfer in batch]
    assert len(list((tmp_path / "ledger" / "segments").iterdir())) > 2
    assert [t.id for t in ledger.lookup_transfers(range(100, 6_100))] == taken
    live = ledger.state_sha256()
    ledger.close()
    report = audit(tmp_path / "ledger")
    assert report.passed
    assert report.state_sha256 == live


def test_a_new_account_refused_is_not_there(disk: FullDisk, ledger: Ledger) -> None:
    """A transfer cannot rest on an account whose record found no room."""
    disk.full = True
    with pytest.raises(JournalFull):
        ledger.create_accounts([Account(id=3, ledger=1, code=1)])
    disk.full = False
    onto = attrs.evolve(ONE, credit_account_id=3)
    assert ledger.create_transfers([onto])[0].status is S.CREDIT_ACCOUNT_NOT_FOUND


def test_closing_on_a_full_disk_loses_nothing(
    tmp_path: Path, disk: FullDisk, ledger: Ledger
) -> None:
    """There may be no room for a checkpoint, but what was acknowledged is there."""
    ledger.create_transfers([ONE])
    disk.suffix = ".tmp"
    disk.full = True
    ledger.close()
    with Ledger.open(tmp_path / "ledger") as again:
        assert again.report.events_replayed == 3
        assert again.lookup_transfers([1])[0].amount == 10


def test_closing_after_a_refusal_says_nothing_of_it_again(
    tmp_path: Path, disk: FullDisk, ledger: Ledger
) -> None:
    """Whoever asked was told; the ledger is closed in good order."""
    disk.full = True
    with pytest.raises(JournalFull):
        ledger.create_transfers([ONE])
    disk.full = False
    ledger.close()
    with Ledger.open(tmp_path / "ledger") as again:
        assert again.report.recovery is not None
        assert again.report.recovery.closed
        assert again.lookup_transfers([1]) == []


def test_a_manifest_that_finds_no_room_keeps_nobody_out(
    tmp_path: Path, disk: FullDisk, ledger: Ledger
) -> None:
    """It is derived, and may lag until there is room again."""
    path = tmp_path / "ledger"
    for id_ in range(1, 40):
        ledger.create_transfers([attrs.evolve(ONE, id=id_, user_data_128=id_**17)])
    ledger.close()
    (path / "MANIFEST").unlink()
    disk.suffix = ".tmp"
    disk.full = True
    with Ledger.open(path, storage=disk) as again:
        assert again.transfer_count == 39
        disk.full = False
        again.create_transfers([attrs.evolve(ONE, id=40)])
    assert not (path / "MANIFEST").exists()
    Ledger.open(path).close()
    assert (path / "MANIFEST").exists()


def test_what_a_crash_left_is_recovered_once_there_is_room(
    tmp_path: Path, disk: FullDisk, ledger: Ledger
) -> None:
    """Until then opening for writing says why not, and changes nothing; reading goes on."""
    path, crashed = tmp_path / "ledger", tmp_path / "crashed"
    stale = (path / "HEAD").read_bytes()
    ledger.create_transfers([ONE])
    copy_while_open(path, crashed)
    (crashed / "HEAD").write_bytes(stale)
    segment = next((crashed / "segments").iterdir())
    content = segment.read_bytes().rstrip(b"\0")
    segment.write_bytes(content[:-40])
    before = files_under(crashed)
    disk.full = True
    with pytest.raises(NoRoomToRecover, match="no space left to recover"):
        Ledger.open(crashed, storage=disk)
    assert files_under(crashed) == before
    with Ledger.open(crashed, storage=disk, read_only=True) as reading:
        assert reading.position == 2
    disk.full = False
    with Ledger.open(crashed, storage=disk) as again:
        assert again.report.recovery is not None
        assert again.report.recovery.torn_bytes > 0
