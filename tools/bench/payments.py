"""What the benchmarks write: plain transfers between random accounts, ids in order of time."""

from __future__ import annotations

import numpy as np

from journal import TRANSFER, Account, Rows, Transfer, id
from journal.rows import u128_words
from projections import Ledger

LEDGER = 1
ACCOUNTS_PER_REQUEST = 8_189


def open_accounts(ledger: Ledger, count: int) -> None:
    """Create accounts 1 to ``count``."""
    for start in range(1, count + 1, ACCOUNTS_PER_REQUEST):
        numbers = range(start, min(start + ACCOUNTS_PER_REQUEST, count + 1))
        ledger.create_accounts([Account(id=number, ledger=LEDGER, code=1) for number in numbers])


def transfer_batch(random: np.random.Generator, count: int, *, accounts: int) -> Rows:
    """``TRANSFER[count]``, between two different accounts each."""
    rows = np.zeros(count, TRANSFER)
    rows["id"] = [u128_words(id()) for _ in range(count)]
    debit = random.integers(1, accounts + 1, count)
    rows["debit_account_id"][:, 0] = debit
    rows["credit_account_id"][:, 0] = (
        debit + random.integers(1, accounts, count) - 1
    ) % accounts + 1
    rows["amount"][:, 0] = random.integers(1, 1_000_000, count)
    rows["ledger"] = LEDGER
    rows["code"] = 1
    return rows


def transfer_objects(random: np.random.Generator, count: int, *, accounts: int) -> list[Transfer]:
    """The same as objects, each with an id of its own."""
    debits = random.integers(1, accounts + 1, count).tolist()
    steps = random.integers(1, accounts, count).tolist()
    amounts = random.integers(1, 1_000_000, count).tolist()
    return [
        Transfer(
            id=id(),
            debit_account_id=debit,
            credit_account_id=(debit + step - 1) % accounts + 1,
            amount=amount,
            ledger=LEDGER,
            code=1,
        )
        for debit, step, amount in zip(debits, steps, amounts, strict=True)
    ]
