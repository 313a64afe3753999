"""Projections of one's own: how far they have read, where they go on, when they start over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro import (
    Account,
    InvalidField,
    Ledger,
    NotALedger,
    Projection,
    Record,
    Runner,
    Transfer,
    TransferCreated,
)
from nostro.journal.format.codec import encode_cbor
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import write_checkpoint
from tests.clocks import HandClock
from tests.waiting import until

ONE: Final = Transfer(id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1)

Turnover = dict[int, int]


@attrs.define
class TurnoverByCode:
    """What was moved under each transfer code; counts the records it was given."""

    name: str = "turnover"
    version: int = 1
    records: int = 0

    def initial(self) -> Turnover:
        return {}

    def apply(self, state: Turnover, record: Record) -> Turnover:
        self.records += 1
        for event in record.events():
            if isinstance(event, TransferCreated):
                code = event.transfer.code
                state[code] = state.get(code, 0) + event.transfer.amount
        return state

    def dump(self, state: Turnover) -> Any:  # noqa: ANN401 - as the protocol has it
        return [[code, amount] for code, amount in sorted(state.items())]

    def load(self, dump: Any) -> Turnover:  # noqa: ANN401 - as the protocol has it
        return dict(dump)


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, clock=HandClock(), segment_bytes_max=4096) as opened:
        opened.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        move(opened, 1, 2, 3)
        yield opened


def move(ledger: Ledger, *ids: int) -> None:
    """One record for each transfer; odd ids have code 1, even ones code 2; one more fails."""
    for id_ in ids:
        ledger.create_transfers(
            [
                attrs.evolve(ONE, id=id_, code=2 - id_ % 2),
                attrs.evolve(ONE, id=1_000 + id_, debit_account_id=404),
            ]
        )


def test_a_class_of_five_methods_is_a_projection() -> None:
    """Nothing need be inherited."""
    projection: Projection[Turnover] = TurnoverByCode()
    assert projection.name == "turnover"


def test_it_catches_up_and_stays_there(path: Path, ledger: Ledger) -> None:
    """Each record is applied once, in order, beside the writer; catching up twice adds nothing."""
    projection = TurnoverByCode()
    runner = Runner(path, projection)
    assert (runner.state, runner.position) == ({}, 0)
    assert runner.catch_up() == {1: 20, 2: 10}
    assert (runner.position, projection.records) == (ledger.position, 4)
    runner.catch_up()
    move(ledger, 4)
    assert runner.catch_up() == {1: 20, 2: 20}
    assert (runner.position, projection.records) == (ledger.position, 5)


def test_it_goes_on_from_its_checkpoint(path: Path, ledger: Ledger) -> None:
    """The next runner starts with the state written down and reads only what came after."""
    first = Runner(path, TurnoverByCode())
    first.catch_up()
    written = first.checkpoint()
    assert (written.projection, written.position) == ("turnover", ledger.position)
    move(ledger, 4)
    projection = TurnoverByCode()
    second = Runner(path, projection)
    assert (second.state, second.position) == ({1: 20, 2: 10}, written.position)
    assert second.catch_up() == {1: 20, 2: 20}
    assert projection.records == 1
    second.checkpoint()
    move(ledger, 5)
    second.catch_up()
    second.checkpoint()
    assert len(list((path / "checkpoints").glob("turnover-*"))) == 2, "the last two are kept"


def test_a_record_that_could_not_be_applied_comes_again(path: Path, ledger: Ledger) -> None:
    """A failure leaves state and position as they were, so nothing is left out the next time."""

    class Failing(TurnoverByCode):
        fails = True

        def apply(self, state: Turnover, record: Record) -> Turnover:
            if self.fails and record.position_last == 6:
                raise MemoryError
            return super().apply(state, record)

    projection = Failing()
    runner = Runner(path, projection)
    with pytest.raises(MemoryError):
        runner.catch_up()
    assert (runner.position, projection.records) == (4, 2)
    assert runner.checkpoint().position == 4
    projection.fails = False
    assert runner.catch_up() == {1: 20, 2: 10}


def test_another_version_starts_over(path: Path, ledger: Ledger) -> None:
    """A checkpoint of an older version is left alone, and the state rebuilt from event one."""
    old = Runner(path, TurnoverByCode())
    old.catch_up()
    old.checkpoint()
    projection = TurnoverByCode(version=2)
    new = Runner(path, projection)
    assert (new.state, new.position) == ({}, 0)
    new.catch_up()
    assert projection.records == 4
    assert Runner(path, TurnoverByCode()).position == ledger.position


def test_a_useless_checkpoint_is_passed_over(path: Path, ledger: Ledger) -> None:
    """A damaged one falls back to the one before it, one of another journal to nothing at all."""
    runner = Runner(path, TurnoverByCode())
    runner.catch_up()
    older = runner.checkpoint()
    move(ledger, 4)
    runner.catch_up()
    newer = runner.checkpoint()
    newer.path.write_bytes(newer.path.read_bytes()[:-1])
    assert Runner(path, TurnoverByCode()).position == older.position
    for stray in (newer.path, older.path):
        stray.unlink()
    write_checkpoint(
        Storage(),
        Directory(path),
        projection="turnover",
        projection_version=1,
        ledger_id=older.ledger_id,
        position=older.position,
        frame_sha256=bytes(32),
        encoded=[encode_cbor([[1, 999]])],
    )
    assert Runner(path, TurnoverByCode()).state == {}


def test_following_shows_each_record_as_it_comes(path: Path, ledger: Ledger) -> None:
    """What is there comes at once, what is written later when it is durable; then it stops."""
    stop = threading.Event()
    seen: list[Turnover] = []

    def follow() -> None:
        seen.extend(dict(state) for state in Runner(path, TurnoverByCode()).follow(stop=stop))

    with ThreadPoolExecutor() as pool:
        following = pool.submit(follow)
        try:
            until(lambda: len(seen) == 4)
            move(ledger, 4)
            until(lambda: len(seen) == 5)
        finally:
            stop.set()
        following.result()
    assert seen == [{}, {1: 10}, {1: 10, 2: 10}, {1: 20, 2: 10}, {1: 20, 2: 20}]


def test_following_ends_when_nothing_comes(path: Path, ledger: Ledger) -> None:
    """With a time limit the iteration ends by itself, at the last record."""
    runner = Runner(path, TurnoverByCode())
    assert len(list(runner.follow(timeout_seconds=0.01))) == 4
    assert runner.position == ledger.position


@pytest.mark.parametrize("name", ["", "a b", "../up", "a-1", "ledger", "é"])
def test_a_name_that_is_no_file_name_is_refused(path: Path, ledger: Ledger, name: str) -> None:
    """The name becomes part of a file name, and the ledger's own is taken."""
    with pytest.raises(InvalidField, match="cannot name a projection"):
        Runner(path, TurnoverByCode(name=name))


def test_a_state_that_cbor_cannot_carry_is_refused(path: Path, ledger: Ledger) -> None:
    """Rather than written and then never read again."""

    class Wide(TurnoverByCode):
        def dump(self, state: Turnover) -> Any:  # noqa: ANN401 - as the protocol has it
            return [2**70, *state]

    runner = Runner(path, Wide())
    runner.catch_up()
    with pytest.raises(InvalidField, match="dump"):
        runner.checkpoint()
    assert not list((path / "checkpoints").glob("turnover-*"))


def test_there_must_be_a_journal(tmp_path: Path) -> None:
    """A runner for a directory without a ledger says so at once."""
    with pytest.raises(NotALedger):
        Runner(tmp_path, TurnoverByCode())


def test_a_checkpoint_swept_away_unfinished_is_written_again(ledger: Ledger, path: Path) -> None:
    """A writer that opens at that moment takes the runner's file for an interrupted one's."""

    class Swept(Storage):
        sweeps = 1

        def rename(self, source: Path, target: Path) -> None:
            if self.sweeps:
                self.sweeps -= 1
                source.unlink()
            super().rename(source, target)

    runner = Runner(path, TurnoverByCode(), storage=Swept())
    runner.catch_up()
    assert runner.checkpoint().path.exists()
    assert Runner(path, TurnoverByCode()).position == ledger.position
