"""The audit: whatever was kept is held against a replay from the first event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pytest

from nostro import (
    ACCOUNT,
    Account,
    Checkpoint,
    CorruptFrame,
    DecodeError,
    Ledger,
    NotALedger,
    Transfer,
    audit,
)
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind, encode_cbor
from nostro.journal.rows import account_rows, transfer_rows
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import (
    checkpoint_paths,
    read_checkpoint,
    write_checkpoint,
)
from nostro.projections.state.ledger_state import LedgerState
from tests.clocks import HandClock
from tests.journals import open_writer

ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed ledger: two accounts, four transfers, checkpoints at positions 4 and 6."""
    with Ledger.open(tmp_path / "ledger", clock=HandClock(1_000)) as ledger:
        ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        ledger.create_transfers([ONE, attrs.evolve(ONE, id=2)])
        ledger.checkpoint()
        ledger.create_transfers([attrs.evolve(ONE, id=3, amount=2**70)])
        ledger.create_transfers([attrs.evolve(ONE, id=4)])
    return tmp_path / "ledger"


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], which: int = -1) -> Checkpoint:
    """Change a checkpoint's state and make all its hashes fit again."""
    storage, directory = Storage(), Directory(path)
    file = checkpoint_paths(storage, directory, LedgerState.name)[which]
    with Ledger.open(path, read_only=True) as ledger:
        old, state = read_checkpoint(storage, file, ledger_id=ledger.ledger_id)
    change(state)
    return write_checkpoint(
        storage,
        directory,
        projection=old.projection,
        projection_version=old.projection_version,
        ledger_id=old.ledger_id,
        position=old.position,
        frame_sha256=old.frame_sha256,
        encoded=[encode_cbor(state)],
    )


def move_money(state: dict[str, Any]) -> None:
    """Debits and credits still agree."""
    rows = np.frombuffer(state["accounts"]["rows"], ACCOUNT).copy()
    rows["debits_posted"][:, 0] += np.uint64(5)
    rows["credits_posted"][:, 0] += np.uint64(5)
    state["accounts"]["rows"] = rows.tobytes()


def relabel(state: dict[str, Any]) -> None:
    rows = np.frombuffer(state["accounts"]["rows"], ACCOUNT).copy()
    rows["code"][0] = 2
    state["accounts"]["rows"] = rows.tobytes()


def miscount(state: dict[str, Any]) -> None:
    state["transfer_count"] += 1


def test_a_sound_ledger_passes(path: Path) -> None:
    """Checkpoints and the ledger as it opens agree with the replay; debits equal credits."""
    report = audit(path)
    assert report.passed
    assert (report.position, report.events, report.accounts, report.transfers) == (6, 6, 2, 4)
    assert report.debits_posted == report.credits_posted == 30 + 2**70
    assert [one.position for one in report.comparisons] == [4, 6, 6]
    with Ledger.open(path, read_only=True) as ledger:
        assert report.state_sha256 == ledger.state_sha256()
        assert report.timestamp == ledger.timestamp


@pytest.mark.parametrize("change", [move_money, relabel, miscount])
@pytest.mark.parametrize("which", [0, 1])
def test_a_consistent_forgery_is_caught(
    path: Path, change: Callable[[dict[str, Any]], None], which: int
) -> None:
    """A checkpoint whose state was changed and whose hashes were all made to fit is found out."""
    forged = rewrite(path, change, which)
    report = audit(path)
    assert not report.passed
    wrong = [one for one in report.comparisons if not one.agrees]
    assert wrong[0].name == forged.path.name
    assert wrong[0].position == forged.position
    if which == 1:  # the newest is what opening begins with
        assert wrong[1].name == "the ledger as it opens"
        with Ledger.open(path, read_only=True) as ledger:
            assert ledger.report.checkpoint == forged, "the forgery was good enough to be used"


def test_a_damaged_checkpoint_is_reported_with_its_reason(path: Path) -> None:
    """What cannot be read fails the audit, though opening only passes it over."""
    file = max((path / "checkpoints").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    report = audit(path)
    assert not report.passed
    (wrong,) = [one for one in report.comparisons if not one.agrees]
    assert wrong.sha256_kept is None
    assert "unreadable" in wrong.reason


@pytest.mark.parametrize("position", range(7))
def test_a_bounded_audit_stops_there(path: Path, position: int) -> None:
    """Up to a position it is the past ledger's state, and later checkpoints are left out."""
    report = audit(path, until_position=position)
    with Ledger.open(path, read_only=True) as ledger:
        past = ledger.at(position=position)
    assert report.passed
    assert (report.position, report.events) == (position, position)
    assert report.state_sha256 == past.state_sha256()
    assert [one.position for one in report.comparisons] == [p for p in (4, 6) if p <= position]


def test_an_audit_up_to_a_time_is_the_past_at_that_time(path: Path) -> None:
    """Each moment of the ledger's life can be rebuilt and compared."""
    for timestamp in range(998, 1_008):
        with Ledger.open(path, read_only=True) as ledger:
            past = ledger.at(timestamp=timestamp)
        report = audit(path, until_timestamp=timestamp)
        assert report.state_sha256 == past.state_sha256()
        assert report.transfers == past.transfer_count


def test_progress_reaches_the_end(path: Path) -> None:
    """The callback is told of every record, with where the replay will end."""
    heard: list[tuple[int, int]] = []
    audit(path, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(2, 6), (4, 6), (5, 6), (6, 6)]


def test_there_must_be_a_ledger_to_audit(tmp_path: Path) -> None:
    """An empty directory is no ledger that passes."""
    with pytest.raises(NotALedger):
        audit(tmp_path)


def test_the_state_in_a_checkpoint_is_canonical(path: Path) -> None:
    """The hash that a checkpoint names is that of its state, and of nothing else."""
    storage, directory = Storage(), Directory(path)
    file = checkpoint_paths(storage, directory, LedgerState.name)[-1]
    with Ledger.open(path, read_only=True) as ledger:
        checkpoint, state = read_checkpoint(storage, file, ledger_id=ledger.ledger_id)
        assert checkpoint.state_sha256 == ledger.state_sha256()
    assert LedgerState.load(state).dump() == state
    assert codec.decode_cbor(codec.encode_cbor(state)) == state


@pytest.mark.parametrize(
    "stretches",
    [
        pytest.param([], id="nowhere"),
        pytest.param([(1, 1)], id="the first is not there"),
        pytest.param([(1, 0), (1, 1)], id="two at one position"),
        pytest.param([(5, 0), (3, 1)], id="falling"),
        pytest.param([(1, 0), (9, 99)], id="more than there are"),
        pytest.param([(1,)], id="cut short"),
    ],
)
def test_accounts_that_stand_nowhere_are_refused(
    path: Path, stretches: list[tuple[int, ...]]
) -> None:
    """A checkpoint that says so would let accounts appear in a past they had no part in."""
    with Ledger.open(path, read_only=True) as ledger:
        dump = ledger._state.dump()  # private: the file on disk has a checksum over it
    words = [word for stretch in stretches for word in stretch]
    dump["accounts"]["positions"] = np.array(words, "<u8").tobytes()
    with pytest.raises(DecodeError):
        LedgerState.load(dump)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amount": 2**128 - 1}, id="more than 128 bits"),
        pytest.param({"debit_account_id": 9}, id="an account that does not exist"),
        pytest.param({"pending_id": 9, "flags": 4}, id="a pending transfer that does not exist"),
    ],
)
def test_events_that_do_not_follow_from_each_other_are_damage(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """Frames may be sound, and say what no ledger decides: the frame is named."""
    accounts = account_rows([Account(id=id_, ledger=1, code=1, timestamp=id_) for id_ in (1, 2)])
    fields: dict[str, Any] = {
        "debit_account_id": 1,
        "credit_account_id": 2,
        "ledger": 1,
        "code": 1,
        "amount": 1,
    }
    transfers = [
        transfer_rows([Transfer(**{**fields, **change, "id": id_, "timestamp": id_ + 2})])
        for id_ in (1, 2)
    ]
    writer = open_writer(tmp_path / "data")
    for kind, rows in (
        (RecordKind.ACCOUNTS, accounts),
        *[(RecordKind.TRANSFERS, one) for one in transfers],
    ):
        queued = writer.append(
            codec.encode_rows(kind, rows, None),
            kind=kind,
            event_count=len(rows),
            timestamp_min=1,
            timestamp_max=4,
            generation=writer.generation,
        )
        assert queued is not None
        writer.wait(queued)
    writer.close()
    for call in (audit, Ledger.open):
        with pytest.raises(CorruptFrame, match="do not follow") as caught:
            call(tmp_path / "data")
        assert caught.value.position in (3, 4)
