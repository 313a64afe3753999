"""The transfers that benchmarks write: between random accounts, with ids in order of time."""

from __future__ import annotations

from typing import Final

import numpy as np

from nostro.journal import ACCOUNT, TRANSFER, Rows, Transfer, id
from nostro.projections import Ledger

LEDGER: Final = 1
_LOW: Final = 2**64 - 1
ACCOUNTS_PER_REQUEST: Final = 8_189


def open_accounts(ledger: Ledger, count: int, *, flags: int = 0) -> None:
    """Create accounts 1 to ``count``."""
    for start in range(1, count + 1, ACCOUNTS_PER_REQUEST):
        numbers = np.arange(start, min(start + ACCOUNTS_PER_REQUEST, count + 1), dtype=np.uint64)
        rows = np.zeros(len(numbers), ACCOUNT)
        rows["id"][:, 0] = numbers
        rows["ledger"], rows["code"], rows["flags"] = LEDGER, 1, flags
        ledger.create_accounts(rows)


class _Ids:
    """Many ids in order of time at once. Millions of calls of :func:`id` would take too long."""

    def __init__(self) -> None:
        self._next = (id() >> 64 << 64) + 1

    def take(self, count: int) -> int:
        """Return the first of ``count`` consecutive ids; they are greater than all earlier ones."""
        self._next += count
        return self._next - count


_IDS: Final = _Ids()


def transfer_batch(random: np.random.Generator, count: int, *, accounts: int) -> Rows:
    """Return ``TRANSFER[count]``: each between two different accounts, ids in order of time."""
    rows = np.zeros(count, TRANSFER)
    first = _IDS.take(count)
    rows["id"][:, 0] = np.uint64(first & _LOW) + np.arange(count, dtype=np.uint64)
    rows["id"][:, 1] = first >> 64
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
    """Return the same as objects."""
    first = _IDS.take(count)
    debits = random.integers(1, accounts + 1, count).tolist()
    steps = random.integers(1, accounts, count).tolist()
    amounts = random.integers(1, 1_000_000, count).tolist()
    return [
        Transfer(
            id=first + number,
            debit_account_id=debit,
            credit_account_id=(debit + step - 1) % accounts + 1,
            amount=amount,
            ledger=LEDGER,
            code=1,
        )
        for number, (debit, step, amount) in enumerate(zip(debits, steps, amounts, strict=True))
    ]
