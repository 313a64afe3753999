"""The ledger's public contract: opening, sharing, closing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from nostro import (
    Account,
    CreateTransferStatus,
    InvalidField,
    Ledger,
    LedgerClosed,
    LedgerLocked,
    NotALedger,
    QueryFilter,
    ReadOnly,
    Transfer,
)
from tests.clocks import HandClock

S: Final = CreateTransferStatus
ACCOUNTS: Final = [Account(id=id_, ledger=1, code=1) for id_ in (1, 2, 3)]
ONE: Final = Transfer(
    id=1, debit_account_id=1, credit_account_id=2, amount=10, ledger=1, code=1
)  # fmt: skip
YEAR: Final = 365 * 24 * 3600 * 10**9


@pytest.fixture
def ledger(path: Path, clock: HandClock) -> Iterator[Ledger]:
    with Ledger.open(path, clock=clock) as opened:
        opened.create_accounts(ACCOUNTS)
        yield opened


def test_a_ledger_remembers_what_it_answered(path: Path, ledger: Ledger) -> None:
    """Accounts, balances, transfers and counts are there again after closing and opening."""
    ledger.create_transfers([ONE])
    told = ledger.lookup_accounts([1, 2]), ledger.lookup_transfers([1]), ledger.state_sha256()
    ledger.close()
    with Ledger.open(path, create=False) as again:
        assert (
            again.lookup_accounts([1, 2]), again.lookup_transfers([1]), again.state_sha256(),
        ) == told  # fmt: skip
        assert (again.position, again.timestamp, again.transfer_count) == (4, 1003, 1)
        assert again.account_count == 3
        again.check_writable()
        assert again.ledger_id == ledger.ledger_id


def test_a_transfer_is_where_the_journal_has_it(path: Path, ledger: Ledger) -> None:
    """Created or refused for good, before closing and after; an unused id is nowhere."""
    ledger.create_transfers([ONE, attrs.evolve(ONE, id=2, credit_account_id=99)])
    ledger.create_transfers([attrs.evolve(ONE, id=3, amount=11)])
    wanted = [4, 5, 6, None]
    assert [ledger.transfer_position(id_) for id_ in (1, 2, 3, 4)] == wanted
    ledger.close()
    with Ledger.open(path, read_only=True) as again:
        assert [again.transfer_position(id_) for id_ in (1, 2, 3, 4)] == wanted


def test_closing_twice_is_closing(ledger: Ledger) -> None:
    """The second close does nothing."""
    ledger.close()
    ledger.close()
    assert not ledger.is_open


USES: Final[dict[str, Callable[[Ledger], object]]] = {
    "create_accounts": lambda ledger: ledger.create_accounts(ACCOUNTS),
    "create_transfers": lambda ledger: ledger.create_transfers([ONE]),
    "transfer_position": lambda ledger: ledger.transfer_position(1),
    "an empty request": lambda ledger: ledger.create_transfers([]),
    "lookup_accounts": lambda ledger: ledger.lookup_accounts([1]),
    "lookup_transfers": lambda ledger: ledger.lookup_transfers([1]),
    "accounts": lambda ledger: ledger.accounts(),
    "at": lambda ledger: ledger.at(position=1),
    "state_sha256": lambda ledger: ledger.state_sha256(),
    "checkpoint": lambda ledger: ledger.checkpoint(),
    "check_writable": lambda ledger: ledger.check_writable(),
    "query_accounts": lambda ledger: ledger.query_accounts(QueryFilter()),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_closed_ledger_says_so(path: Path, use: Callable[[Ledger], object]) -> None:
    """Every method of a closed ledger raises the error that names its directory."""
    with Ledger.open(path) as ledger:
        pass
    with pytest.raises(LedgerClosed, match="the ledger is closed") as caught:
        use(ledger)
    assert caught.value.path == path


def test_a_second_writer_is_refused_and_leaves_no_trace(path: Path, ledger: Ledger) -> None:
    """Whoever comes second gets an error at once; the first goes on."""
    before = sorted(path.rglob("*"))
    with pytest.raises(LedgerLocked, match="already open for writing"):
        Ledger.open(path)
    assert sorted(path.rglob("*")) == before
    assert ledger.create_transfers([ONE])[0].status is S.CREATED


def test_readers_need_no_lock_and_cannot_write(path: Path, ledger: Ledger) -> None:
    """A ledger opened for reading shows what is durable beside the writer, and changes nothing."""
    ledger.create_transfers([ONE])
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    with Ledger.open(path, read_only=True) as reader:
        assert reader.lookup_transfers([1]) == ledger.lookup_transfers([1])
        assert reader.state_sha256() == ledger.state_sha256()
        assert reader.at(position=3).transfer_count == 0
        for write in (
            lambda: reader.create_accounts(ACCOUNTS),
            lambda: reader.create_transfers([]),
            reader.checkpoint,
            reader.check_writable,
        ):
            with pytest.raises(ReadOnly, match="opened for reading"):
                write()
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@pytest.mark.parametrize(("create", "read_only"), [(False, False), (True, True)])
def test_no_ledger_is_made_unless_asked_for(path: Path, create: bool, read_only: bool) -> None:
    """Opening what is not there is an error, and the directory stays missing."""
    with pytest.raises(NotALedger, match="no such directory"):
        Ledger.open(path, create=create, read_only=read_only)
    assert not path.exists()


BAD_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "checkpoint_events": {"checkpoint_events": 0},
    "checkpoint_seconds": {"checkpoint_seconds": 0.0},
    "checkpoint_seconds=nan": {"checkpoint_seconds": float("nan")},
    "segment_bytes_max": {"segment_bytes_max": 4095},
    "sync": {"sync": "never"},
}


@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_an_option_out_of_range_is_named(path: Path, options: dict[str, Any]) -> None:
    """A bad argument to open is refused before anything is touched."""
    with pytest.raises(InvalidField, match=next(iter(options))):
        Ledger.open(path, **options)
    assert not path.exists()


def test_a_forked_child_can_neither_write_nor_keep_the_lock(path: Path, ledger: Ledger) -> None:
    """In a child the ledger is closed; the parent's lock ends with the parent's close."""
    told, tell = os.pipe()
    hold, let_go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any thread
        child = os.fork()
    if child == 0:
        said = b"wrote"
        try:
            ledger.create_transfers([ONE])
        except LedgerClosed:
            said = b"closed"
        finally:
            ledger.close()
            os.write(tell, said)
            os.close(let_go)
            os.read(hold, 1)  # ends when the parent closes its side
            os._exit(0)
    assert os.read(told, 10) == b"closed"
    assert ledger.create_transfers([ONE])[0].status is S.CREATED
    ledger.close()
    with Ledger.open(path) as again:
        assert again.transfer_count == 1
    for fd in (told, tell, hold, let_go):
        os.close(fd)
    assert os.waitpid(child, 0)[1] == 0
