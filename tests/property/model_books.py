"""The books of the naive model: what each event does to the balances, and nothing of its rules."""

from __future__ import annotations

from typing import Final

import attrs

from nostro import Account, AccountFlags, Transfer, TransferFlags

Balances = dict[int, Account]
_SECOND: Final = 10**9


@attrs.frozen
class Expired:
    """A pending transfer ran out of time."""

    transfer_id: int


Happening = Account | Transfer | Expired


def expires_at(t: Transfer) -> int:
    """When a pending transfer with a timeout runs out of time."""
    return t.timestamp + t.timeout * _SECOND


@attrs.define
class Books:
    accounts: Balances = attrs.field(factory=dict)
    transfers: dict[int, Transfer] = attrs.field(factory=dict)
    pending: dict[int, str] = attrs.field(factory=dict)
    """What became of each pending transfer: "pending" still, "posted", "voided" or "expired"."""
    after: dict[int, tuple[Account, Account]] = attrs.field(factory=dict)
    """The debit and the credit account as each transfer left them."""

    def copy(self) -> Books:
        return Books(
            dict(self.accounts), dict(self.transfers), dict(self.pending), dict(self.after)
        )

    def due(self, now: int) -> list[Transfer]:
        """The pending transfers that are out of time, in the order in which they ran out of it."""
        pending = [self.transfers[id_] for id_, status in self.pending.items() if _is_open(status)]
        due = [t for t in pending if t.timeout and expires_at(t) <= now]
        return sorted(due, key=lambda t: (expires_at(t), t.timestamp))

    def take(self, event: Happening) -> None:
        if isinstance(event, Account):
            self.accounts[event.id] = event
        elif isinstance(event, Expired):
            self._release(self.transfers[event.transfer_id], "expired")
        else:
            self._transfer(event)
            debit, credit = event.debit_account_id, event.credit_account_id
            self.transfers[event.id] = event
            self.after[event.id] = self.accounts[debit], self.accounts[credit]

    def _transfer(self, t: Transfer) -> None:
        if t.flags & TransferFlags.POST_PENDING_TRANSFER:
            self._release(self.transfers[t.pending_id], "posted")
            self._add(t, posted=t.amount)
        elif t.flags & TransferFlags.VOID_PENDING_TRANSFER:
            self._release(self.transfers[t.pending_id], "voided")
        elif t.flags & TransferFlags.PENDING:
            self.pending[t.id] = "pending"
            self._add(t, pending=t.amount)
            self._close(t)
        else:
            self._add(t, posted=t.amount)

    def _release(self, p: Transfer, became: str) -> None:
        self.pending[p.id] = became
        self._add(p, pending=-p.amount)
        if became != "posted":
            self._close(p, closed=False)

    def _add(self, t: Transfer, *, pending: int = 0, posted: int = 0) -> None:
        debit, credit = self.accounts[t.debit_account_id], self.accounts[t.credit_account_id]
        self.accounts[debit.id] = attrs.evolve(
            debit,
            debits_pending=debit.debits_pending + pending,
            debits_posted=debit.debits_posted + posted,
        )
        self.accounts[credit.id] = attrs.evolve(
            credit,
            credits_pending=credit.credits_pending + pending,
            credits_posted=credit.credits_posted + posted,
        )

    def _close(self, t: Transfer, *, closed: bool = True) -> None:
        """Close what the closing transfer ``t`` names, or open it again."""
        if t.flags & TransferFlags.CLOSING_DEBIT:
            self._set_closed(t.debit_account_id, closed=closed)
        if t.flags & TransferFlags.CLOSING_CREDIT:
            self._set_closed(t.credit_account_id, closed=closed)

    def _set_closed(self, id_: int, *, closed: bool) -> None:
        account = self.accounts[id_]
        others = account.flags & ~AccountFlags.CLOSED
        flags = others | AccountFlags.CLOSED if closed else others
        self.accounts[id_] = attrs.evolve(account, flags=flags)


def _is_open(status: str) -> bool:
    return status == "pending"
