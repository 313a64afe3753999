"""Restoring: all of it is the same ledger, a part is another, and a failure leaves nothing."""

from __future__ import annotations

import bisect
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from nostro import (
    Account,
    AccountFlags,
    Ledger,
    LedgerRestored,
    Reader,
    Transfer,
    TransferFlags,
    audit,
    backup,
    restore,
)
from nostro.journal.errors import (
    CopyFailed,
    Damage,
    DestinationInside,
    DestinationTaken,
    InvalidField,
    JournalError,
    JournalFull,
    LedgerLocked,
    NotALedger,
    OutOfRange,
    WriterPoisoned,
)
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.verification import verify
from tests.clocks import HandClock
from tests.journals import commit, files_under, flip, open_writer, segment_names
from tests.ledgers import History, create_transfers, open_ledger, write_ledger
from tests.storages import EIO, ENOSPC, DyingStorage, FaultyStorage, Killed

RECORDS = 40


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, History]:
    """A backup of a ledger, and what the ledger held after each record."""
    folder = tmp_path_factory.mktemp("restore")
    history = write_ledger(folder / "ledger", records=RECORDS)
    backup(folder / "ledger", folder / "backup")
    return folder / "backup", history


def test_a_whole_backup_is_the_same_ledger(kept: tuple[Path, History], tmp_path: Path) -> None:
    """Identity, chain and bytes; it opens with the same state and goes on."""
    source, history = kept
    report = restore(source, tmp_path / "new")
    assert report.is_same_ledger
    assert report.position == report.position_backup == history.position
    assert files_under(tmp_path / "new" / "segments") == files_under(source / "segments")
    assert verify(tmp_path / "new").frame_sha256 == report.frame_sha256
    with open_ledger(tmp_path / "new") as ledger:
        assert ledger.state_sha256() == history.states[history.position]
        create_transfers(ledger, 100_000, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(position=st.integers(0, 87))
def test_a_part_ends_with_the_last_whole_request(
    kept: tuple[Path, History], tmp_path_factory: pytest.TempPathFactory, position: int
) -> None:
    """Events, times, positions and balances are those of then; the identity is new, and is told."""
    source, history = kept
    assert history.position == 87
    ends = sorted(history.states)
    end = ends[bisect.bisect_right(ends, position) - 1]
    new = tmp_path_factory.mktemp("part") / "new"
    report = restore(source, new, until_position=position)
    assert report.position == end
    inside = report.request_left_out
    assert (inside is None) == (end == position)
    assert inside is None or inside == (end + 1, ends[ends.index(end) + 1])
    assert report.is_same_ledger == (position == history.position)
    if report.is_same_ledger:
        return
    events = [event for record in Reader(new).records() for event in record.events()]
    before = [event for record in Reader(source).records() for event in record.events()]
    assert events[:-1] == before[:end]
    origin = events[-1]
    assert isinstance(origin, LedgerRestored)
    assert (origin.position, origin.position_kept) == (end + 1, end)
    assert origin.ledger_id == verify(source).ledger_id != verify(new).ledger_id
    last = Reader(source).record_at(end) if end else None
    assert origin.frame_sha256 == (last.sha256 if last is not None else bytes(32))
    assert origin.timestamp > max((event.timestamp for event in events[:-1]), default=0)
    with open_ledger(new) as ledger:
        past = ledger.at(position=end)
        assert past.state_sha256() == (history.states[end] if end else past.state_sha256())
        assert ledger.position == end + 1
        if end:
            create_transfers(ledger, 100_000, 2)
        ledger.checkpoint()
    assert audit(new).passed


def imported(id_: int, timestamp: int) -> Account:
    return Account(id=id_, ledger=1, code=1, flags=AccountFlags.IMPORTED, timestamp=timestamp)


def test_a_time_keeps_what_was_recorded_before_anything_later(tmp_path: Path) -> None:
    """Imported events bring times of their own: the first later one ends it, whatever follows."""
    clock = HandClock(10**18)
    with open_ledger(tmp_path / "ledger", clock=clock) as ledger:
        ledger.create_accounts([imported(1, 1), imported(2, 2)])
        for id_, time in ((10, 1_000), (11, 3_000), (12, 4_000)):
            ledger.create_transfers(
                [
                    Transfer(id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1,
                             code=1, flags=TransferFlags.IMPORTED, timestamp=time),
                ]
            )  # fmt: skip
        ledger.create_accounts([imported(3, 20)])
    ends = {2: 2, 1: 0, 999: 2, 1_000: 3, 3_999: 4, 4_000: 6, 9**18: 6}
    for time, position in ends.items():
        new = tmp_path / f"at-{time}"
        report = restore(tmp_path / "ledger", new, until_timestamp=time)
        assert (report.position, report.is_same_ledger) == (position, position == 6)
        assert report.timestamp == {0: 0, 2: 2, 3: 1_000, 4: 3_000, 6: 20}[position]


def test_a_whole_backup_gets_a_new_identity_when_asked(
    kept: tuple[Path, History], tmp_path: Path
) -> None:
    """For a copy that lives beside the ledger."""
    source, history = kept
    report = restore(source, tmp_path / "new", new_identity=True)
    assert not report.is_same_ledger
    assert report.position == history.position
    with open_ledger(tmp_path / "new") as ledger:
        past = ledger.at(position=history.position)
        assert past.state_sha256() == history.states[history.position]
    with open_ledger(tmp_path / "new") as ledger:
        assert ledger.report.events_replayed == 0  # the checkpoint of closing was used


def test_a_checkpoint_of_the_longer_ledger_does_not_fit_the_part(
    kept: tuple[Path, History], tmp_path: Path
) -> None:
    """Whoever copies derived files over by mistake gets the journal's answer."""
    source, _ = kept
    restore(source, tmp_path / "new", until_position=30)
    ledger = source.parent / "ledger"
    for path in (ledger / "checkpoints").iterdir():
        shutil.copy(path, tmp_path / "new" / "checkpoints")
    with Ledger.open(tmp_path / "new", read_only=True) as opened:
        assert opened.report.checkpoint is None
        assert "another ledger" in opened.report.checkpoints_refused[0]
    with pytest.raises(JournalError, match="holds ledger"):
        backup(source, tmp_path / "new")


# --- what is refused ------------------------------------------------------------------------------


def _a_ledger(source: Path, new: Path) -> Path:
    shutil.copytree(source, new)
    return new


def _a_full_directory(source: Path, new: Path) -> Path:
    new.mkdir()
    (new / "notes").write_text("mine")
    return new


def _a_file(source: Path, new: Path) -> Path:
    new.write_text("mine")
    return new


def _a_link(source: Path, new: Path) -> Path:
    (new.parent / "empty").mkdir()
    new.symlink_to(new.parent / "empty")
    return new


def _inside(source: Path, new: Path) -> Path:
    return source / "new"


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (_a_ledger, DestinationTaken),
        (_a_full_directory, DestinationTaken),
        (_a_file, DestinationTaken),
        (_a_link, DestinationTaken),
        (_inside, DestinationInside),
    ],
)
def test_nothing_is_restored_over_what_is_there(
    kept: tuple[Path, History],
    tmp_path: Path,
    prepare: Callable[[Path, Path], Path],
    error: type[JournalError],
) -> None:
    """A ledger least of all, and nothing is left beside it."""
    destination = prepare(kept[0], tmp_path / "new")
    before = files_under(tmp_path)
    with pytest.raises(error):
        restore(kept[0], destination)
    assert files_under(tmp_path) == before
    assert not list(tmp_path.rglob("*.unfinished"))


def test_what_is_asked_for_must_be_there(kept: tuple[Path, History], tmp_path: Path) -> None:
    """A position beyond the backup is no position; no backup is no backup."""
    with pytest.raises(OutOfRange, match="until_position 88"):
        restore(kept[0], tmp_path / "new", until_position=88)
    with pytest.raises(OutOfRange):
        restore(kept[0], tmp_path / "new", until_position=-1)
    with pytest.raises(InvalidField):
        restore(kept[0], tmp_path / "new", until_position=1, until_timestamp=1)
    with pytest.raises(NotALedger):
        restore(tmp_path / "none", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_backup_is_not_restored(kept: tuple[Path, History], tmp_path: Path) -> None:
    """Not even a part that lies before the damage: that is a repair."""
    shutil.copytree(kept[0], tmp_path / "backup")
    damaged = tmp_path / "backup" / "segments" / segment_names(kept[0])[-1]
    flip(damaged, -20)
    with pytest.raises(Damage) as caught:
        restore(tmp_path / "backup", tmp_path / "new", until_position=10)
    assert caught.value.path == damaged
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_two_do_not_restore_to_one_place(kept: tuple[Path, History], tmp_path: Path) -> None:
    """The second is told at once; what a kill has left is cleared away."""
    (tmp_path / "new.unfinished" / "segments").mkdir(parents=True)
    (tmp_path / "new.unfinished" / "segments" / "half").write_text("x")
    (tmp_path / "new").mkdir()
    met = 0

    def again(done: int, total: int) -> None:
        nonlocal met
        if done > total // 2:
            met += 1
            with pytest.raises(LedgerLocked):
                restore(kept[0], tmp_path / "new")

    restore(kept[0], tmp_path / "new", until_position=30, progress=again)
    assert met
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert "half" not in segment_names(tmp_path / "new")


@pytest.mark.parametrize("until", [None, 9])
@pytest.mark.parametrize("failure", ["crash", ENOSPC, EIO])
def test_a_failure_at_any_operation_leaves_no_ledger(
    tmp_path: Path, failure: str | int, until: int | None
) -> None:
    """There is the whole result or nothing under its name, and the next try succeeds."""
    source = tmp_path / "source"
    writer = open_writer(source)
    for first in range(1, 30, 2):
        commit(writer, first, 2)
    writer.close()
    new = tmp_path / "new"
    for fail_at in range(1, 150):
        if isinstance(failure, int):
            storage: FaultyStorage = FaultyStorage(fail_at, failure, for_ever=fail_at % 2 == 0)
        else:
            storage = DyingStorage(fail_at, EIO)
        try:
            restore(source, new, until_position=until, storage=storage)
        except (Killed, CopyFailed, WriterPoisoned, JournalFull):
            if failure != "crash" and fail_at % 2:
                assert not (tmp_path / "new.unfinished").exists()
        else:
            if storage.calls < fail_at:
                break
        if new.exists():
            verify(new)  # the last sync of its parent failed
            shutil.rmtree(new)
    else:
        raise AssertionError("it never came to an end")
    assert fail_at > 15
    assert verify(new).position == (30 if until is None else 9)


def test_an_empty_backup_is_restored(tmp_path: Path) -> None:
    """And nothing of a ledger is a part as well."""
    open_writer(tmp_path / "empty").close()
    assert restore(tmp_path / "empty", tmp_path / "new").is_same_ledger
    assert verify(tmp_path / "new").position == 0
    assert Storage().names(tmp_path / "new" / "segments") == ["00000000000000000001.segment"]
