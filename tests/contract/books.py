"""The accounts that the tests share, and transfers between accounts of a test's own."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import attrs

from nostro import AMOUNT_MAX, Account, AccountFlags, LedgerClient, Transfer, TransferFlags, id
from tests.unit.test_transfer_status import (
    FULL_CREDITS,
    FULL_DEBITS,
    OF_EACH_ACCOUNT,
)

ACCOUNTS: Final = [
    attrs.evolve(like, id=id_, ledger=like.ledger or 1, code=1)
    for id_ in range(1, FULL_CREDITS + 1)
    for like in [OF_EACH_ACCOUNT.get(id_, Account())]
]
"""What the cases of `tests/unit/test_transfer_status.py` suppose."""

_fresh_code: Final = count(100)


class Books:
    """Accounts of one test, among those of all the others, with a code of their own."""

    def __init__(self, ledger: LedgerClient, *flags: AccountFlags) -> None:
        self.ledger = ledger
        self.code = next(_fresh_code)
        flags = flags or (AccountFlags.NONE, AccountFlags.NONE)
        wanted = [Account(id=id(), ledger=1, code=self.code, flags=each) for each in flags]
        assert {result.status.name for result in ledger.create_accounts(wanted)} == {"CREATED"}
        self.ids = [account.id for account in wanted]

    def move(self, amount: int = 0, **fields: Any) -> Transfer:  # noqa: ANN401
        """From the first account to the second, if nothing else is said; not yet created."""
        given: dict[str, Any] = {
            "id": id(), "debit_account_id": self.ids[0], "credit_account_id": self.ids[1],
            "amount": amount, "ledger": 1, "code": self.code,
        }  # fmt: skip
        return Transfer(**{**given, **fields})

    def resolve(self, pending: Transfer, flags: TransferFlags, amount: int = 0) -> Transfer:
        """What posts or voids, by ``flags``; not yet created."""
        return Transfer(id=id(), pending_id=pending.id, amount=amount, flags=flags)

    def post(self, *transfers: Transfer) -> list[str]:
        """The names of the statuses."""
        return [result.status.name for result in self.ledger.create_transfers(transfers)]

    def balances(self) -> list[tuple[int, int, int, int]]:
        """Debits pending and posted, credits pending and posted, of each account."""
        return [
            (it.debits_pending, it.debits_posted, it.credits_pending, it.credits_posted)
            for it in self.ledger.lookup_accounts(self.ids)
        ]


def fill(ledger: LedgerClient) -> None:
    """Fill two of the shared accounts to the last unit, if they are not yet."""
    full = Transfer(
        id=76, debit_account_id=FULL_DEBITS, credit_account_id=FULL_CREDITS, amount=AMOUNT_MAX,
        ledger=1, code=1,
    )  # fmt: skip
    [result] = ledger.create_transfers([full])
    assert result.status.name in {"CREATED", "EXISTS"}
