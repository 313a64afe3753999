"""A preview answers requests as the ledger would, and leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostro import Account, AccountFlags, Ledger, Transfer, TransferFlags
from nostro.journal import NotALedger
from nostro.journal.model import Rows
from nostro.journal.rows import account_rows, transfer_rows
from nostro.projections import LedgerPreview

SECOND = 10**9
START = 1_700_000_000 * SECOND
ACCOUNT_FLAGS = [
    AccountFlags.NONE,
    AccountFlags.NONE,
    AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS,
    AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS,
    AccountFlags.LINKED,
]
TRANSFER_FLAGS = [
    TransferFlags.NONE,
    TransferFlags.NONE,
    TransferFlags.PENDING,
    TransferFlags.POST_PENDING_TRANSFER,
    TransferFlags.VOID_PENDING_TRANSFER,
    TransferFlags.BALANCING_DEBIT,
    TransferFlags.LINKED,
]


class Clock:
    """Stands still until it is moved: both sides are asked at the same times."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def requests(seed: int, count: int) -> Iterator[Rows]:
    """Requests to create few accounts and many transfers between them, good and bad."""
    chance = random.Random(seed)
    for number in range(count):
        imported = chance.random() < 0.2
        first = chance.randrange(1, 40) + number * 50
        if number == 0 or chance.random() < 0.2:
            yield account_rows(
                [
                    Account(
                        id=chance.randrange(8),
                        ledger=chance.choice([1, 1, 1, 2]),
                        code=1,
                        flags=chance.choice(ACCOUNT_FLAGS) | imported * AccountFlags.IMPORTED,
                        timestamp=imported * (first + index),
                    )
                    for index in range(chance.randrange(1, 6))
                ]
            )
            continue
        yield transfer_rows(
            [
                transfer(chance, imported * (first + index))
                for index in range(chance.randrange(1, 12))
            ]
        )


def transfer(chance: random.Random, timestamp: int) -> Transfer:
    flags = chance.choice(TRANSFER_FLAGS)
    resolving = flags & (TransferFlags.POST_PENDING_TRANSFER | TransferFlags.VOID_PENDING_TRANSFER)
    return Transfer(
        id=chance.randrange(30),
        debit_account_id=0 if resolving else chance.randrange(9),
        credit_account_id=0 if resolving else chance.randrange(9),
        amount=chance.choice([0, 1, 5, 20]),
        pending_id=chance.randrange(30) if resolving else 0,
        timeout=int(bool(flags & TransferFlags.PENDING) and not timestamp),
        ledger=0 if resolving else 1,
        code=0 if resolving else 1,
        flags=flags | (TransferFlags.IMPORTED if timestamp else 0),
        timestamp=timestamp,
    )


def create(target: Ledger | LedgerPreview, rows: Rows) -> Rows:
    is_accounts = "debits_posted" in (rows.dtype.names or ())
    return target.create_accounts(rows) if is_accounts else target.create_transfers(rows)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), before=st.integers(0, 12), after=st.integers(1, 12))
def test_a_preview_answers_as_the_ledger_does(
    tmp_path_factory: pytest.TempPathFactory, seed: int, before: int, after: int
) -> None:
    """Whatever the ledger holds and whatever comes: the same statuses, times and balances."""
    books, clock = tmp_path_factory.mktemp("preview") / "books", Clock()
    steps = list(requests(seed, before + after))
    with Ledger.open(books, clock=clock, expiry_seconds=3_600) as ledger:
        for rows in steps[:before]:
            clock.now += SECOND // 3
            create(ledger, rows)
        with LedgerPreview(books, clock=clock) as preview:
            for rows in steps[before:]:
                clock.now += SECOND // 3
                assert create(preview, rows).tolist() == create(ledger, rows).tolist()
            assert preview.lookup_accounts(range(1, 9)) == ledger.lookup_accounts(range(1, 9))


def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    """The ledger's directory stays as it was, byte by byte."""
    books = tmp_path / "books"
    with Ledger.open(books) as ledger:
        for rows in requests(7, 5):
            create(ledger, rows)
    before = contents(books)
    with LedgerPreview(books) as preview:
        for rows in requests(8, 5):
            create(preview, rows)
    assert contents(books) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_a_ledger_a_preview_begins_empty(tmp_path: Path) -> None:
    """Where no ledger is yet, one can still see what would become of the first requests."""
    with LedgerPreview() as preview:
        results = preview.create_accounts(account_rows([Account(id=1, ledger=1, code=1)]))
        assert len(preview.lookup_accounts([1, 2])) == len(results) == 1
    with pytest.raises(NotALedger):
        LedgerPreview(tmp_path / "nowhere")


def test_many_transfers_are_found_again_in_the_file(tmp_path: Path) -> None:
    """Transfers of a long preview leave the memory and are still known."""
    pair = [Account(id=id, ledger=1, code=1) for id in (1, 2)]
    transfers = [
        Transfer(
            id=id, debit_account_id=1, credit_account_id=2, amount=id, ledger=1, code=1
        )
        for id in range(1, 8_001)
    ]  # fmt: skip
    rows = transfer_rows(transfers)
    with LedgerPreview(in_memory_bytes_max=1_000) as preview:
        preview.create_accounts(account_rows(pair))
        first = preview.create_transfers(rows)
        again = preview.create_transfers(rows)
    assert np.array_equal(first["timestamp"], again["timestamp"])
