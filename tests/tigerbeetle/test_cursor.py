"""The cursor's file: bound to its ledger, its cluster and its history; derived."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from nostro import Ledger, Transfer
from nostro.journal.format import codec
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.restoration import restore
from nostro.projections.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from nostro.projections.tigerbeetle.mirror.cursor import (
    MirrorCursor,
    forget_cursor,
    read_cursor,
    write_cursor,
)
from nostro.projections.tigerbeetle.rows.translation import mirrored
from tests.clocks import HandClock
from tests.journals import flip
from tests.tigerbeetle.journals import ends, write_small

HIGH = 2**128 - 1


def cursor_at(path: Path, position: int) -> MirrorCursor:
    cursor = MirrorCursor()
    for record in Reader(path).records():
        if record.position_last <= position:
            cursor = cursor.after(record, mirrored(record.parts[0]))
    return cursor


def write(path: Path, cursor: MirrorCursor, *, cluster_id: int = 7) -> None:
    write_cursor(
        Storage(), Directory(path), cursor, ledger_id=Reader(path).head().ledger_id,
        cluster_id=cluster_id,
    )  # fmt: skip


def read(path: Path, *, cluster_id: int = 7) -> MirrorCursor | None:
    return read_cursor(Storage(), Reader(path), cluster_id)


def files(path: Path) -> list[Path]:
    return sorted((path / "checkpoints").glob("tigerbeetle_*"))


@pytest.mark.usefixtures("clock")
def test_it_comes_back_as_it_was_written(path: Path) -> None:
    assert read(path) is None
    position, cursor = 0, MirrorCursor()
    for position in ends(path)[:4]:
        cursor = cursor_at(path, position)
        write(path, cursor)
        assert read(path) == cursor
    assert len(files(path)) == 2
    assert cursor.transfer_id
    assert cursor.account_id == 2
    *_, record = (it for it in Reader(path).records() if it.position_last <= position)
    assert cursor.transfers_timestamp == record.timestamp_max
    assert cursor.frame_sha256 == record.sha256


@pytest.mark.usefixtures("clock")
def test_it_belongs_to_one_cluster(path: Path) -> None:
    """Whatever its file is called."""
    cursor = cursor_at(path, ends(path)[3])
    write(path, cursor, cluster_id=HIGH)
    assert read(path, cluster_id=HIGH) == cursor
    assert read(path) is None
    [file] = files(path)
    file.rename(file.with_name(file.name.replace(str(HIGH), "7")))
    assert read(path) is None


@pytest.mark.usefixtures("clock")
def test_it_belongs_to_one_ledger(path: Path, tmp_path: Path) -> None:
    """Another's is passed over, though it holds the very same events."""
    write(path, cursor_at(path, ends(path)[3]))
    other = tmp_path / "other"
    write_small(other, clock=HandClock(10**15))
    [file] = files(path)
    (other / "checkpoints" / file.name).write_bytes(file.read_bytes())
    assert read(other) is None


@pytest.mark.usefixtures("clock")
def test_it_belongs_to_one_history(path: Path, tmp_path: Path) -> None:
    """One of an event that the journal does not have is passed over for an older one."""
    late = cursor_at(path, ends(path)[5])
    copy = tmp_path / "copy"
    restore(path, copy, until_position=ends(path)[3])
    with closing(Ledger.open(copy)) as ledger:
        for id_ in range(2_000, 2_030):
            ledger.create_transfers(
                [Transfer(id=id_, debit_account_id=1, credit_account_id=2, ledger=1, code=1)]
            )
        assert ledger.position > late.position
    write(copy, late)
    assert read(copy) is None
    early = cursor_at(copy, ends(copy)[2])
    write(copy, early)
    assert read(copy) == early


@pytest.mark.usefixtures("clock")
def test_a_damaged_one_is_passed_over(path: Path) -> None:
    """For the one before it, or for asking the cluster."""
    early, late = (cursor_at(path, end) for end in (ends(path)[2], ends(path)[5]))
    write(path, early)
    write(path, late)
    flip(files(path)[1])
    assert read(path) == early
    files(path)[0].write_bytes(b"")
    assert read(path) is None


@pytest.mark.usefixtures("clock")
def test_one_of_another_version_is_passed_over(path: Path) -> None:
    """It may mean something else."""
    cursor = cursor_at(path, ends(path)[2])
    write(path, cursor)
    assert read(path) == cursor
    [file] = files(path)
    ledger_id = Reader(path).head().ledger_id
    found, state = read_checkpoint(Storage(), file, ledger_id=ledger_id)
    file.unlink()
    write_checkpoint(
        Storage(), Directory(path), projection="tigerbeetle_7",
        projection_version=found.projection_version + 1, ledger_id=ledger_id,
        position=found.position, frame_sha256=found.frame_sha256,
        encoded=[codec.encode_cbor(state)],
    )  # fmt: skip
    assert len(files(path)) == 1
    assert read(path) is None


@pytest.mark.usefixtures("clock")
def test_it_can_be_forgotten(path: Path) -> None:
    """That of one cluster, and no other's."""
    for cluster_id in (7, 77):
        for end in ends(path)[:2]:
            write(path, cursor_at(path, end), cluster_id=cluster_id)
    forget_cursor(Storage(), Directory(path), 7)
    assert read(path) is None
    assert read(path, cluster_id=77) is not None
    forget_cursor(Storage(), Directory(path), 7)
    assert not list((path / "checkpoints").glob("tigerbeetle_7-*"))
