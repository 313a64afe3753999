"""Checkpoints: when they are written, how many are kept, and what becomes of a damaged one."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    TRANSFER,
    Account,
    CreateTransferStatus,
    Damage,
    DecodeError,
    Ledger,
    LedgerClosed,
    OpenReport,
    QueryFilter,
    Transfer,
    audit,
)
from nostro.journal.format import codec, container
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpointer import STATE_REST
from nostro.projections.state.ledger_state import LedgerState
from tests.clocks import HandClock
from tests.descriptors import open_files
from tests.disks import FullDisk
from tests.journals import flip
from tests.ledgers import copy_while_open
from tests.storages import RecordingStorage
from tests.waiting import TIMEOUT_SECONDS, until

ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, clock=HandClock()) as opened:
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        yield opened


def move(ledger: Ledger, *ids: int) -> None:
    for id_ in ids:
        (result,) = ledger.create_transfers([attrs.evolve(ONE, id=id_)])
        assert result.status is CreateTransferStatus.CREATED


def checkpoints(path: Path) -> list[Path]:
    return sorted((path / "checkpoints").glob("*.checkpoint"))


def reopened(path: Path) -> OpenReport:
    """What opening the ledger for reading says; it must always find the same state."""
    with Ledger.open(path, read_only=True) as again:
        assert [t.id for t in again.lookup_transfers([1, 2, 3])] == [1, 2, 3]
        assert again.lookup_accounts([1])[0].debits_posted == 30
        return again.report


def test_the_last_two_are_kept(path: Path, ledger: Ledger) -> None:
    """A third checkpoint removes the first; asking again without news writes none."""
    written = []
    for id_ in (1, 2, 3):
        move(ledger, id_)
        written.append(ledger.checkpoint())
    assert [one.position for one in written] == [3, 4, 5]
    assert ledger.checkpoint() == written[-1]
    assert checkpoints(path) == [one.path for one in written[1:]]
    assert written[-1].state_sha256 == ledger.state_sha256()


def test_closing_leaves_a_checkpoint_of_everything(path: Path, ledger: Ledger) -> None:
    """A ledger closed in order opens without replaying anything."""
    move(ledger, 1, 2, 3)
    ledger.close()
    report = reopened(path)
    assert report.checkpoint is not None
    assert (report.checkpoint.position, report.events_replayed) == (5, 0)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, empty, flip, Path.unlink])
@pytest.mark.parametrize("count", [1, 2])
def test_a_damaged_checkpoint_is_passed_over(
    path: Path, ledger: Ledger, damage: Callable[[Path], None], count: int
) -> None:
    """The one before it serves, and without any the journal does: nothing is lost but time."""
    move(ledger, 1, 2)
    ledger.checkpoint()
    move(ledger, 3)
    ledger.close()
    older, newer = checkpoints(path)
    for file in (newer, older)[:count]:
        damage(file)
    report = reopened(path)
    if count == 1:
        assert report.checkpoint is not None
        assert (report.checkpoint.path, report.events_replayed) == (older, 1)
    else:
        assert (report.checkpoint, report.events_replayed) == (None, 5)
    refused = 0 if damage is Path.unlink else count
    assert len(report.checkpoints_refused) == refused
    with Ledger.open(path) as writing:
        assert writing.create_transfers([ONE])[0].status is CreateTransferStatus.EXISTS
        move(writing, 4)
    assert audit(path).comparisons[-1].agrees


def test_another_ledgers_checkpoint_is_not_used(path: Path, ledger: Ledger, tmp_path: Path) -> None:
    """A sound checkpoint of a different ledger is refused by name."""
    move(ledger, 1, 2, 3)
    ledger.close()
    with Ledger.open(tmp_path / "other", clock=HandClock()) as other:
        other.create_accounts([Account(id=9, ledger=1, code=1)] * 1)
    (own,), (foreign,) = checkpoints(path), checkpoints(tmp_path / "other")
    own.write_bytes(foreign.read_bytes())
    report = reopened(path)
    assert report.checkpoint is None
    assert "belongs to another ledger" in report.checkpoints_refused[0]


def test_what_follows_from_another_history_is_not_used(
    path: Path, ledger: Ledger, tmp_path: Path
) -> None:
    """Sound files of the same ledger, as it would be had it gone on otherwise: told by the chain.

    Such are left when a copy is written to by mistake, and files of both come together.
    """
    other = tmp_path / "other"
    move(ledger, 1)
    ledger.close()
    shutil.copytree(path, other)
    for place, ids in ((path, (2, 3)), (other, (7, 8))):
        with Ledger.open(place, clock=HandClock()) as written:
            if place == other:
                written.create_transfers([attrs.evolve(ONE, id=ids[0], amount=999)])
                move(written, ids[1])
            else:
                move(written, *ids)
    for folder in ("checkpoints", "indexes"):
        shutil.rmtree(path / folder)
        shutil.copytree(other / folder, path / folder)
    report = reopened(path)
    assert report.checkpoint is not None
    assert (report.checkpoint.position, report.events_replayed) == (3, 2)
    assert "another frame" in report.checkpoints_refused[0]
    with Ledger.open(path) as writing:
        assert everything(writing) == [1, 2, 3]
        assert writing.lookup_transfers([7, 8]) == []
    assert audit(path).passed


def test_a_state_of_another_hash_is_not_used(path: Path, ledger: Ledger) -> None:
    """The state is held against its own hash: that of the file is made of whatever is in it."""
    move(ledger, 1, 2)
    ledger.checkpoint()
    move(ledger, 3)
    ledger.close()
    older, newer = (
        container.unpack(file.read_bytes(), file_type="checkpoint") for file in checkpoints(path)
    )
    checkpoints(path)[1].write_bytes(container.pack({**newer, "state": older["state"]}))
    report = reopened(path)
    assert report.checkpoint is not None
    assert report.checkpoint.path == checkpoints(path)[0]
    assert "SHA-256" in report.checkpoints_refused[0]


def test_head_is_synced_before_a_checkpoint_is_written(path: Path) -> None:
    """What is derived never rests on events that HEAD, on disk, does not vouch for."""
    storage = RecordingStorage()
    with Ledger.open(path, clock=HandClock(), storage=storage) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        move(ledger, 1)
        storage.operations.clear()
        ledger.checkpoint()
        story = [(one.name, one.path.name) for one in storage.operations]
        written = [one.path.parent.name for one in storage.operations if one.name == "create"]
        assert set(written) == {"checkpoints", "indexes"}
        first = next(number for number, (name, _) in enumerate(story) if name == "create")
        assert ("sync_data", "HEAD") in story[:first]


class Vanishing(Storage):
    """Lists one more checkpoint and one more run than there are: removed since, by a writer."""

    def names(self, path: Path) -> list[str]:
        vanished = {"checkpoints": f"ledger-{2:020}.checkpoint", "indexes": f"{1:020}-{2:020}.ids"}
        return sorted([*super().names(path), *filter(None, [vanished.get(path.name)])])


def test_a_reader_may_see_files_vanish(path: Path, ledger: Ledger) -> None:
    """What the writer replaces while others open or audit the ledger disturbs neither."""
    move(ledger, 1, 2, 3)
    ledger.checkpoint()
    with Ledger.open(path, read_only=True, storage=Vanishing()) as reader:
        assert [t.id for t in reader.lookup_transfers([1, 2, 3])] == [1, 2, 3]
    assert audit(path, storage=Vanishing()).passed


def test_a_checkpoint_comes_after_so_many_events(path: Path) -> None:
    """The background thread writes one once the events add up."""
    with Ledger.open(path, checkpoint_events=5) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        move(ledger, 1, 2)
        assert checkpoints(path) == []
        move(ledger, 3)
        until(lambda: len(checkpoints(path)) == 1)
        assert checkpoints(path)[0].stem.endswith("-00000000000000000005")


def test_a_checkpoint_comes_after_so_many_seconds(path: Path) -> None:
    """A few events too are written down in time, and then nothing until there is news."""
    with Ledger.open(path, checkpoint_seconds=0.05) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        until(lambda: checkpoints(path))
        move(ledger, 1)
        until(lambda: len(checkpoints(path)) == 2)
        assert checkpoints(path)[-1].stem.endswith("-00000000000000000003")


def test_a_full_disk_costs_the_new_checkpoint_only(path: Path, ledger: Ledger) -> None:
    """The older ones stay, nothing half written is left, and the ledger goes on."""
    ledger.close()
    disk = FullDisk()
    with Ledger.open(path, storage=disk, clock=HandClock()) as full:
        before = checkpoints(path)
        move(full, 1, 2, 3)
        disk.full = True
        with pytest.raises(OSError, match="No space left"):
            full.checkpoint()
        assert checkpoints(path) == before
        assert not list(path.rglob("*.tmp"))
        disk.full = False
        assert full.checkpoint().position == full.position == 5
    assert reopened(path).events_replayed == 0


def test_the_background_tries_again_and_says_why(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed checkpoint is logged, not raised; once there is room the next one succeeds."""
    disk = FullDisk(suffix=".tmp")
    with (
        caplog.at_level(logging.WARNING, "nostro"),
        Ledger.open(path, storage=disk, checkpoint_seconds=0.02) as ledger,
    ):
        disk.full = True
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        until(lambda: caplog.records)
        assert "no checkpoint at position 2" in caplog.records[0].getMessage()
        disk.full = False
        until(lambda: checkpoints(path))
        move(ledger, 1)


# --- what could not be written ---


class NoIndexes(Storage):
    """Takes no index while ``is_full``, for want of room; counts how often it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or OSError(errno.ENOSPC, "no room")
        self.is_full = False
        self.asked = 0

    def create(self, path: Path) -> int:
        if self.is_full and path.parent.name == "indexes":
            self.asked += 1
            raise self.error
        return super().create(path)


def everything(ledger: Ledger) -> list[int]:
    return [transfer.id for transfer in ledger.query_transfers(QueryFilter())]


@pytest.mark.parametrize(
    "place",
    [
        "nostro.projections.indexes.transfer_index.run_of_records",
        "nostro.projections.indexes.posting_index.run_of_chunks",
        "nostro.projections.indexes.reservation_index._grouped",
    ],
)
def test_a_run_that_could_not_be_made_is_made_the_next_time(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """For want of memory, say: what was set aside is not lost, and not in the way.

    Patched: memory runs out where a run is made, and nothing outside can bring that about.
    """
    move(ledger, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(place, _out_of_memory)  # private: nothing else runs out of memory just there
        for _ in range(2):
            with pytest.raises(MemoryError):
                ledger.checkpoint()
            if "balance" not in place:
                assert everything(ledger) == [1, 2]
    move(ledger, 3)
    assert ledger.checkpoint().position == 5
    assert everything(ledger) == [1, 2, 3]
    ledger.close()
    assert reopened(path).events_replayed == 0
    with Ledger.open(path, read_only=True) as again:
        assert everything(again) == [1, 2, 3]
        assert [r.id for r in again.lookup_transfers([3, 1])] == [3, 1]


def _out_of_memory(*_: object) -> None:
    raise MemoryError


def test_the_background_outlives_whatever_a_checkpoint_meets(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what happened, and tries again."""
    storage = NoIndexes(MemoryError())
    storage.is_full = True
    with Ledger.open(
        path, clock=HandClock(), storage=storage, checkpoint_events=1, checkpoint_seconds=0.01
    ) as ledger:
        with caplog.at_level(logging.WARNING, "nostro"):
            ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
            until(lambda: "MemoryError" in caplog.text)
        storage.is_full = False
        until(lambda: bool(checkpoints(path)))


def test_a_full_disk_is_not_stormed(path: Path) -> None:
    """After a checkpoint failed, requests do not each make another attempt."""
    storage = NoIndexes()
    with Ledger.open(
        path, clock=HandClock(), storage=storage, checkpoint_events=2, checkpoint_seconds=3_600
    ) as ledger:
        storage.is_full = True
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        until(lambda: storage.asked > 0)
        move(ledger, *range(1, 60))
        assert storage.asked < 5
        storage.is_full = False
        assert ledger.checkpoint().position == 61


def test_a_failed_checkpoint_is_tried_again_in_time(path: Path) -> None:
    """One that was asked for and failed does not keep the next from being due."""
    storage = NoIndexes()
    with Ledger.open(path, clock=HandClock(), storage=storage, checkpoint_seconds=0.3) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        storage.is_full = True
        with pytest.raises(OSError, match="no room"):
            ledger.checkpoint()
        storage.is_full = False
        until(lambda: bool(checkpoints(path)))


@pytest.mark.parametrize("close", [True, False])
def test_lost_indexes_are_written_again_though_the_checkpoint_is_current(
    path: Path, ledger: Ledger, close: bool
) -> None:
    """Or every opening would read the whole journal for them."""
    move(ledger, 1, 2, 3)
    ledger.close()
    names = sorted(file.name for file in (path / "indexes").iterdir())
    shutil.rmtree(path / "indexes")
    with Ledger.open(path) as again:
        if not close:
            again.checkpoint()
            assert sorted(file.name for file in (path / "indexes").iterdir()) == names
    assert sorted(file.name for file in (path / "indexes").iterdir()) == names
    reopened(path)


@pytest.mark.parametrize("read_only", [True, False])
def test_closing_lets_go_of_every_file(path: Path, ledger: Ledger, read_only: bool) -> None:
    """Mapped indexes too, though the ledger object is kept; who still asks is told."""
    move(ledger, 1, 2, 3)
    ledger.close()
    again = Ledger.open(path, read_only=read_only)
    assert everything(again) == [1, 2, 3]
    assert open_files(path) != []
    again.close()
    assert not open_files(path)
    with pytest.raises(LedgerClosed):
        again.lookup_transfers([1])


def test_a_look_up_that_meets_the_closing_is_told(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not find nothing because the indexes are gone."""
    move(ledger, 1, 2, 3)
    ledger.checkpoint()
    index = ledger._indexes.transfers  # private: no close() from outside falls between two steps
    find = index.find

    def closed_meanwhile(id_: int) -> int | None:
        ledger.close()
        return find(id_)

    # private: no close() from outside falls between two steps
    monkeypatch.setattr(index, "find", closed_meanwhile)
    with pytest.raises(LedgerClosed):
        ledger.lookup_transfers([1])
    assert reopened(path).events_replayed == 0


class SlowIndexes(Storage):
    """Takes as long for the files of the indexes as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.is_broken = False

    def create(self, path: Path) -> int:
        if path.parent.name == "indexes":
            assert self.go.wait(TIMEOUT_SECONDS)
            if self.is_broken:
                raise OSError("no room")
        return super().create(path)


@pytest.mark.parametrize("is_broken", [False, True])
def test_writers_wait_for_indexes_that_fall_far_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_broken: bool
) -> None:
    """What is in no run yet is in memory; but nobody waits for indexes that cannot be written."""
    # Patched: writers wait after 1.5 million events, too many for a test.
    # private: 1.5 million events are too many for a test
    monkeypatch.setattr("nostro.projections.checkpoints.checkpointer._AHEAD_EVENTS", 0)
    storage = SlowIndexes()
    with Ledger.open(path, storage=storage, checkpoint_events=10) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        writer = threading.Thread(target=move, args=(ledger, *range(1, 101)))
        writer.start()
        try:
            until(lambda: ledger.position > 30)
            writer.join(0.3)
            assert writer.is_alive()
            # private: nothing outside shows how far the indexes are
            indexed = ledger._checkpointer._indexed
            assert ledger.position <= indexed + 31 + 3, (
                "the first checkpoint's, three times as many, and one"
            )
        finally:
            storage.is_broken = is_broken
            storage.go.set()  # or closing would wait for ever
        writer.join(TIMEOUT_SECONDS)
        assert ledger.position == 102
        storage.is_broken = False


def test_a_state_that_takes_long_to_write_is_written_less_often(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs are written all the same; a restart replays the rest, and finds everything."""
    # Patched: how long a small state takes to write, and so its rest, depends on the machine.
    # private: how long a small state takes depends on the machine
    monkeypatch.setattr("nostro.projections.checkpoints.checkpointer.STATE_REST", 10**6)
    with Ledger.open(path, checkpoint_events=2, checkpoint_seconds=0.01) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        until(lambda: len(checkpoints(path)) == 1)
        # private: nothing outside shows how far the indexes are
        indexed = ledger._indexes.transfers.stack
        for first in (1, 2, 3):
            move(ledger, first, first + 10)
            ledger.lookup_accounts([1])
            until(lambda: indexed.position == ledger.position and indexed.is_stored)
        assert len(checkpoints(path)) == 1
        copy_while_open(path, tmp_path / "killed")
        with Ledger.open(tmp_path / "killed", read_only=True) as again:
            assert again.report.events_replayed == 6
            assert everything(again) == [1, 11, 2, 12, 3, 13]
            assert [t.id for t in again.lookup_transfers([1, 13])] == [1, 13]
            assert again.state_sha256() == ledger.state_sha256()
        assert ledger.checkpoint().position == 8
        assert len(checkpoints(path)) == 2
        move(ledger, 4)
    assert checkpoints(path)[-1].stem.endswith("-00000000000000000009")


class SlowCheckpoints(Storage):
    """Takes 0.1 s to begin the file of a checkpoint, and notes when."""

    def __init__(self) -> None:
        super().__init__()
        self.began: list[float] = []

    def create(self, path: Path) -> int:
        if path.parent.name == "checkpoints":
            self.began.append(time.monotonic())
            threading.Event().wait(0.1)
        return super().create(path)


def test_a_state_is_written_once_its_rest_is_over(path: Path) -> None:
    """Though no event comes any more that would make the next checkpoint due."""
    storage = SlowCheckpoints()
    with Ledger.open(
        path, storage=storage, checkpoint_events=2, checkpoint_seconds=3_600
    ) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        until(lambda: len(checkpoints(path)) == 1)
        move(ledger, 1, 2)
        until(lambda: len(checkpoints(path)) == 2)
        first, second = storage.began
        assert second - first >= 0.1 + STATE_REST * 0.1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": None}, id="no bytes as the state"),
        pytest.param({"position": "1"}, id="a position as text"),
        pytest.param({"position": -1}, id="a position below 0"),
        pytest.param({"frame_sha256": bytes(31)}, id="a hash too short"),
        pytest.param({"projection_version": True}, id="a version that is no number"),
        pytest.param({"more": 1}, id="an unknown field"),
    ],
)
def test_a_malformed_checkpoint_is_passed_over(
    path: Path, ledger: Ledger, change: dict[str, object]
) -> None:
    """Its SHA-256 fits, and still it is none: nothing but that is raised, also by recovery."""
    move(ledger, 1, 2, 3)
    ledger.close()
    file = checkpoints(path)[-1]
    body = container.unpack(file.read_bytes(), file_type="checkpoint")
    file.write_bytes(container.pack({**body, **change}))
    report = reopened(path)
    assert report.checkpoint is None
    assert "malformed" in report.checkpoints_refused[0]


def test_a_state_larger_than_the_journal_explains_is_not_decompressed(
    path: Path, ledger: Ledger
) -> None:
    """A few bytes may declare a gigabyte; what a ledger holds is bounded by its events."""
    move(ledger, 1, 2, 3)
    ledger.close()
    file = checkpoints(path)[-1]
    body = container.unpack(file.read_bytes(), file_type="checkpoint")
    bomb = codec.compress(bytes(2**20))
    file.write_bytes(container.pack({**body, "state": bomb}))
    assert "more than it may hold" in reopened(path).checkpoints_refused[0]


def _state(change: dict[str, object]) -> dict[str, object]:
    """The dump of a state with one open pending transfer at position 3, changed."""
    row = np.zeros(1, TRANSFER)
    row["id"][:, 0] = 7
    dump: dict[str, Any] = LedgerState().dump()
    dump["pendings"] = {
        "open": row.tobytes() + (3).to_bytes(8, "little"),
        "statuses": b"\0\0\0\1",
    }
    assert len(LedgerState.load(dump).pending_transfers) == 1
    return {**dump, "pendings": {**dump["pendings"], **change}}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"open": bytes(128) + (2**62).to_bytes(8, "little")}, id="far away"),
        pytest.param({"open": b""}, id="open and not there"),
        pytest.param({"statuses": b"\0\0\0\2"}, id="there and not open"),
        pytest.param({"statuses": b"\0\0\0\1\5"}, id="an unknown status"),
        pytest.param({"statuses": b"\0\0\0\1\0"}, id="zeros at the end"),
        pytest.param({"statuses": b"\2\0\0\1"}, id="an event at position 0"),
        pytest.param({"statuses": b""}, id="no statuses"),
        pytest.param({"open": 5}, id="a number"),
        pytest.param({"more": b""}, id="an unknown field"),
    ],
)
def test_pending_transfers_stand_where_their_statuses_say(change: dict[str, object]) -> None:
    """Else a checkpoint could ask for as much memory as it likes."""
    with pytest.raises(DecodeError):
        LedgerState.load(_state(change))


@pytest.mark.parametrize(
    "step", ["checkpoints.restore.restore_state", "checkpoints.index_set.holds_frame"]
)
def test_an_opening_that_fails_lets_go_of_every_file(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Of mapped indexes as well, while whoever asked still looks at the error."""

    def damaged(*_: object, **__: object) -> bool:
        raise Damage(path, 0, "as if", 1)

    move(ledger, 1, 2, 3)
    ledger.close()
    # private: files damaged in this way are found before these steps
    monkeypatch.setattr(f"nostro.projections.{step}", damaged)
    with pytest.raises(Damage) as caught:
        Ledger.open(path)
    assert not open_files(path)
    assert caught.value.cause == "as if"
