"""Random requests that collide: ids used again, amounts and times at the edges, broken chains.

Everything is drawn from one seeded generator. Most events are sound, so that a ledger fills and
its limits bite; the rest break one rule each.
"""

from __future__ import annotations

from random import Random
from typing import Final, TypeVar

import attrs

from journal import AMOUNT_MAX, TIMESTAMP_MAX, Account, AccountFlags, Transfer, TransferFlags

Event = TypeVar("Event", Account, Transfer)
_Changes = tuple[dict[str, int], ...]

ABSENT: Final = 2**90
"""The id of an account that is never created."""
EASY: Final = range(2**80, 2**80 + 50)
"""Accounts without limits, for the one who makes requests to create."""

_DIFFERENT_ACCOUNTS: Final[_Changes] = (
    {"user_data_128": 2**100}, {"user_data_64": 2**60}, {"user_data_32": 9}, {"ledger": 3},
    {"code": 9}, {"flags": AccountFlags.HISTORY}, {"debits_posted": 1},
)  # fmt: skip
_MISTAKEN_ACCOUNTS: Final[_Changes] = (
    {"id": 0}, {"id": AMOUNT_MAX}, {"ledger": 0}, {"code": 0}, {"timestamp": 7},
    {"debits_pending": 1}, {"debits_posted": 1}, {"credits_pending": 1}, {"credits_posted": 1},
    {"flags": AccountFlags(6)}, {"flags": AccountFlags(1 << 9)},
)  # fmt: skip
_DIFFERENT_TRANSFERS: Final[_Changes] = (
    {"user_data_128": 2**100}, {"user_data_64": 2**60}, {"user_data_32": 9}, {"ledger": 3},
    {"code": 9}, {"amount": 2**64}, {"pending_id": 1}, {"timeout": 1}, {"debit_account_id": 3},
    {"credit_account_id": 3}, {"flags": TransferFlags.LINKED}, {"flags": TransferFlags.IMPORTED},
)  # fmt: skip
_MISTAKEN_TRANSFERS: Final[_Changes] = (
    {"id": 0}, {"id": AMOUNT_MAX}, {"ledger": 0}, {"ledger": 9}, {"code": 0}, {"timestamp": 7},
    {"pending_id": 1}, {"timeout": 1}, {"debit_account_id": 0}, {"credit_account_id": 0},
    {"debit_account_id": AMOUNT_MAX}, {"credit_account_id": AMOUNT_MAX},
    {"debit_account_id": ABSENT}, {"credit_account_id": ABSENT},
    {"debit_account_id": 1, "credit_account_id": 1}, {"flags": TransferFlags(1 << 12)},
)  # fmt: skip
_FLAGS: Final = (
    *[AccountFlags.NONE] * 6, AccountFlags.HISTORY, AccountFlags.CLOSED,
    AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS,
)  # fmt: skip
_HUGE: Final = (2**64 - 1, 2**64, 2**127, AMOUNT_MAX - 10**6, AMOUNT_MAX)


@attrs.define
class Past:
    """What of the ledger's past decides whether an imported time is sound."""

    accounts_newest: int = 0
    transfers_newest: int = 0
    times: list[int] = attrs.field(factory=list)

    def note(self, event: Account | Transfer, timestamp: int) -> None:
        """An event was created."""
        if isinstance(event, Account):
            self.accounts_newest = max(self.accounts_newest, timestamp)
        else:
            self.transfers_newest = max(self.transfers_newest, timestamp)
        self.times.append(timestamp)


class Traffic:
    """Makes requests; remembers what it sent, so that it can send it again."""

    def __init__(self, *, accounts: int = 8, ids_used_again: int = 40) -> None:
        self.account_ids = range(1, accounts + 1)
        self._ids_used_again = range(1, ids_used_again + 1)
        self._accounts: list[Account] = []
        self._transfers: list[Transfer] = []
        self._id = 2**64 - 2_000  # so that ids cross the border between their words

    def renew(self) -> None:
        """Go on with other accounts; those before are full, closed or known too well."""
        self.account_ids = _following(self.account_ids)
        self._ids_used_again = _following(self._ids_used_again)
        self._accounts, self._transfers = [], []

    def accounts(self, random: Random, count: int, past: Past, now: int) -> list[Account]:
        events = [self._account(random) for _ in range(count)]
        request = _request(random, events, AccountFlags.LINKED, AccountFlags.IMPORTED)
        request = _dated(random, request, past, past.accounts_newest, now)
        self._accounts = (self._accounts + request)[-100:]
        return request

    def transfers(self, random: Random, count: int, past: Past, now: int) -> list[Transfer]:
        events = [self._transfer(random) for _ in range(count)]
        request = _request(random, events, TransferFlags.LINKED, TransferFlags.IMPORTED)
        newest = past.transfers_newest
        if random.random() < 0.5:  # most accounts are younger than the newest transfer or so
            newest = max(newest, past.accounts_newest)
        request = _dated(random, request, past, newest, now)
        self._transfers = (self._transfers + request)[-300:]
        return request

    def easy(self, random: Random, count: int, past: Past) -> list[Transfer]:
        """Transfers, imported or not, that nothing is wrong with once the EASY accounts exist."""
        self._id += count
        pairs = [random.sample(EASY, 2) for _ in range(count)]
        transfers = [
            Transfer(id_, debit, credit, random.randrange(2**64), ledger=1, code=1)
            for id_, (debit, credit) in enumerate(pairs, self._id - count + 1)
        ]
        if random.random() < 0.5:
            return transfers
        first = max(past.transfers_newest, past.accounts_newest) + 1
        return [
            attrs.evolve(transfer, flags=TransferFlags.IMPORTED, timestamp=timestamp)
            for timestamp, transfer in enumerate(transfers, first)
        ]

    def _account(self, random: Random) -> Account:
        chance = random.random()
        if self._accounts and chance < 0.1:
            return random.choice(self._accounts)
        if self._accounts and chance < 0.2:
            return _evolve(random.choice(self._accounts), random.choice(_DIFFERENT_ACCOUNTS))
        account = Account(
            id=random.choice(self.account_ids),
            user_data_128=random.getrandbits(128) if chance > 0.9 else 0,
            ledger=1 if random.random() < 0.95 else 2,
            code=1,
            flags=random.choice(_FLAGS),
        )
        return _evolve(account, random.choice(_MISTAKEN_ACCOUNTS)) if chance < 0.26 else account

    def _transfer(self, random: Random) -> Transfer:
        chance = random.random()
        if self._transfers and chance < 0.06:
            return random.choice(self._transfers)
        if self._transfers and chance < 0.12:
            return _evolve(random.choice(self._transfers), random.choice(_DIFFERENT_TRANSFERS))
        self._id += 1
        debit, credit = random.sample(self.account_ids, 2)
        transfer = Transfer(
            id=self._id if random.random() < 0.8 else random.choice(self._ids_used_again),
            debit_account_id=debit,
            credit_account_id=credit,
            amount=_amount(random),
            user_data_128=random.getrandbits(128) if chance > 0.9 else 0,
            ledger=1,
            code=1,
        )
        return _evolve(transfer, random.choice(_MISTAKEN_TRANSFERS)) if chance < 0.18 else transfer


def _following(ids: range) -> range:
    return range(ids.stop, ids.stop + len(ids))


def _amount(random: Random) -> int:
    if random.random() < 0.01:
        return random.choice(_HUGE)
    return random.randrange(10 ** random.choice((1, 2, 2, 2, 3, 20)))


def _evolve(event: Event, changes: dict[str, int]) -> Event:
    return attrs.evolve(event, **changes)  # type: ignore[arg-type]


def _request(random: Random, events: list[Event], linked: int, imported: int) -> list[Event]:
    """The events of one request, linked and imported more or less as they should be."""
    chained = random.choice((0.0, 0.0, 0.3, 0.7))
    imports = random.random() < 0.3
    request = []
    for number, event in enumerate(events, 1):
        flags = int(event.flags)
        if random.random() < (chained if number < len(events) else chained / 8):
            flags |= linked
        if imports != (random.random() < 0.03):
            flags |= imported
        request.append(attrs.evolve(event, flags=type(event.flags)(flags)))
    return request


def _dated(random: Random, request: list[Event], past: Past, newest: int, now: int) -> list[Event]:
    """Give the imported events of ``request`` their times: most of them rising from ``newest``."""
    dated = []
    for event in request:
        if not event.flags & _imported_flag(event):
            dated.append(event)
            continue
        chance = random.random()
        if chance < 0.9:
            newest += random.randrange(1, 9)
            timestamp = newest
        elif chance < 0.96 and past.times:
            timestamp = random.choice(past.times[-200:]) + random.choice((0, 0, 0, 1))
        else:
            taken = random.choice((past.accounts_newest, past.transfers_newest))
            timestamp = random.choice((0, 1, newest, taken, taken, 2 * now, TIMESTAMP_MAX, 2**63))
        dated.append(attrs.evolve(event, timestamp=timestamp))
    return dated


def _imported_flag(event: Account | Transfer) -> int:
    return AccountFlags.IMPORTED if isinstance(event, Account) else TransferFlags.IMPORTED
