"""Random requests that collide: ids used again, amounts and times at the edges, broken chains.

Everything is drawn from one seeded generator. Most events are sound, so that a ledger fills and
its limits bite; the rest break one rule each. Pending transfers are posted and voided once, twice,
in part, and too late; accounts are closed and opened again.
"""

from __future__ import annotations

from random import Random
from typing import Final, TypeVar

import attrs

from nostro import AMOUNT_MAX, TIMESTAMP_MAX, Account, AccountFlags, Transfer, TransferFlags

Event = TypeVar("Event", Account, Transfer)
_Changes = tuple[dict[str, int], ...]

ABSENT: Final = 2**90
"""The id of an account that is never created."""
EASY: Final = range(2**80, 2**80 + 50)
"""Accounts without limits, for the one who makes requests to create."""
SINGLE_PHASE: Final = TransferFlags.LINKED | TransferFlags.IMPORTED
EVERY_FLAG: Final = TransferFlags(2**9 - 1)
TIMEOUT: Final = 1
"""In seconds, the usual one: short enough to run out while a test looks on."""

_POST: Final = TransferFlags.POST_PENDING_TRANSFER
_VOID: Final = TransferFlags.VOID_PENDING_TRANSFER
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
_DIFFERENT_RESOLUTIONS: Final[_Changes] = (
    *_DIFFERENT_TRANSFERS, *[{"amount": amount} for amount in (0, 1, AMOUNT_MAX)],
    {"user_data_128": 0}, {"user_data_64": 0}, {"user_data_32": 0}, {"ledger": 0}, {"code": 0},
    {"debit_account_id": 0}, {"credit_account_id": 0},
)  # fmt: skip
_MISTAKEN_RESOLUTIONS: Final[_Changes] = (
    {"id": 0}, {"pending_id": 0}, {"pending_id": AMOUNT_MAX}, {"pending_id": ABSENT},
    {"timeout": 1}, {"ledger": 9}, {"code": 9}, {"debit_account_id": 3}, {"credit_account_id": 3},
    {"debit_account_id": ABSENT}, {"flags": _POST | TransferFlags(1 << 12)},
    *[{"flags": int(_POST | other)} for other in TransferFlags if 1 < other < 256],
    *[{"flags": int(_VOID | other)} for other in TransferFlags if 1 < other < 256],
)  # fmt: skip
_FLAGS: Final = (
    *[AccountFlags.NONE] * 7, *[AccountFlags.HISTORY] * 4, AccountFlags.CLOSED,
    AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS,
    AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS | AccountFlags.HISTORY,
    AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS | AccountFlags.HISTORY,
)  # fmt: skip
_HUGE: Final = (2**64 - 1, 2**64, 2**127, AMOUNT_MAX - 10**6, AMOUNT_MAX)
_BALANCING: Final = (
    TransferFlags.BALANCING_DEBIT, TransferFlags.BALANCING_CREDIT,
    TransferFlags.BALANCING_DEBIT | TransferFlags.BALANCING_CREDIT,
)  # fmt: skip
_CLOSING: Final = (
    *[TransferFlags.CLOSING_DEBIT, TransferFlags.CLOSING_CREDIT] * 3,
    TransferFlags.CLOSING_DEBIT | TransferFlags.CLOSING_CREDIT,
)  # fmt: skip


@attrs.define
class Past:
    """What of the ledger's past decides what is sound: its times, what may be posted or voided."""

    accounts_newest: int = 0
    transfers_newest: int = 0
    times: list[int] = attrs.field(factory=list)
    account_ids: set[int] = attrs.field(factory=set)
    transfers: list[Transfer] = attrs.field(factory=list)
    """The last ones, as they were sent."""
    pending: list[Transfer] = attrs.field(factory=list)

    def note(self, event: Account | Transfer, timestamp: int) -> None:
        """An event was created."""
        if isinstance(event, Account):
            self.accounts_newest = max(self.accounts_newest, timestamp)
            self.account_ids.add(event.id)
        else:
            self.transfers_newest = max(self.transfers_newest, timestamp)
            self.transfers = [*self.transfers, event][-100:]
            if event.flags & TransferFlags.PENDING:
                self.pending = [*self.pending, event][-100:]
        self.times.append(timestamp)


class Traffic:
    """Makes requests; remembers what it sent, so that it can send it again.

    No transfer has a flag outside ``allowed``, but for the one flag that does not exist.
    """

    def __init__(
        self,
        *,
        accounts: int = 8,
        ids_used_again: int = 40,
        allowed: TransferFlags = EVERY_FLAG,
    ) -> None:
        self.account_ids = range(1, accounts + 1)
        self.allowed = allowed
        self._ids_used_again = range(1, ids_used_again + 1)
        self._accounts: list[Account] = []
        self._transfers: list[Transfer] = []
        self._pending: list[Transfer] = []
        self._care = 1.0
        """The share of what may go wrong that does, in the request under way."""
        self._huge = 0.0
        """The share of its amounts that are near a limit of their width."""
        self._timed: set[int] = set()
        """The ids that a transfer with a timeout ever had."""
        self._id = 2**64 - 2_000  # so that ids cross the border between their words

    def renew(self) -> None:
        """Go on with other accounts; those before are full, closed or known too well."""
        self.account_ids = _following(self.account_ids)
        self._ids_used_again = _following(self._ids_used_again)
        self._accounts, self._transfers, self._pending = [], [], []

    def accounts(self, random: Random, count: int, past: Past, now: int) -> list[Account]:
        self._begin(random)
        events = [self._account(random) for _ in range(count)]
        request = self._request(random, events, AccountFlags.LINKED, AccountFlags.IMPORTED)
        request = _dated(random, request, past, past.accounts_newest, now)
        self._accounts = (self._accounts + request)[-100:]
        return request

    def transfers(self, random: Random, count: int, past: Past, now: int) -> list[Transfer]:
        self._begin(random)
        kinds = random.choice((_MIXED, _MIXED, _PLAIN, _PENDING, _RESOLVING))
        events = [self._transfer(random, kinds, past) for _ in range(count)]
        request = self._request(random, events, TransferFlags.LINKED, TransferFlags.IMPORTED)
        newest = past.transfers_newest
        if random.random() < 0.5:  # most accounts are younger than the newest transfer or so
            newest = max(newest, past.accounts_newest)
        request = _dated(random, request, past, newest, now)
        request = self._harmless([_without_timeout(random, it) for it in request])
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

    def _harmless(self, request: list[Transfer]) -> list[Transfer]:
        """Without the one request that TigerBeetle 0.17's server does not survive.

        It is to import what posts or voids a pending transfer that has a timeout.
        """
        self._timed |= {it.id for it in request if it.timeout}
        return [
            attrs.evolve(it, pending_id=ABSENT)
            if it.flags & TransferFlags.IMPORTED
            and it.flags & (_POST | _VOID)
            and it.pending_id in self._timed
            else it
            for it in request
        ]

    def _begin(self, random: Random) -> None:
        self._care = random.choice((0.1, 0.4, 1.0))
        self._huge = random.choice((0.0, 0.01, 0.01, 0.3))

    def _chance(self, random: Random) -> float:
        """Below 0.2 or so something is wrong with an event."""
        return random.random() / self._care

    def _account(self, random: Random) -> Account:
        chance = self._chance(random)
        if self._accounts and chance < 0.1:
            return random.choice(self._accounts)
        if self._accounts and chance < 0.2:
            return _evolve(random.choice(self._accounts), random.choice(_DIFFERENT_ACCOUNTS))
        account = Account(
            id=random.choice(self.account_ids),
            user_data_128=random.choice((0, 0, 2**70, random.getrandbits(128))),
            user_data_64=random.choice((0, 0, 1, 2**40)),
            user_data_32=random.choice((0, 0, 1, 2)),
            ledger=1 if random.random() < 0.95 else 2,
            code=random.choice((1, 1, 2)),
            flags=random.choice(_FLAGS),
        )
        return _evolve(account, random.choice(_MISTAKEN_ACCOUNTS)) if chance < 0.26 else account

    def _transfer(self, random: Random, kinds: tuple[str, ...], past: Past) -> Transfer:
        chance = self._chance(random)
        if self._transfers and chance < 0.12:
            created = past.transfers if random.random() < 0.7 else []
            known = random.choice(created or self._transfers)
            if chance < 0.06:
                return known
            resolves = known.flags & (_POST | _VOID)
            changes = _DIFFERENT_RESOLUTIONS if resolves else _DIFFERENT_TRANSFERS
            return self._within_bounds(_evolve(known, random.choice(changes)))
        kind = random.choice(kinds)
        if kind == "resolving" and (self._pending or past.pending):
            transfer, mistakes = self._resolving(random, past), _MISTAKEN_RESOLUTIONS
        else:
            transfer, mistakes = self._moving(random, kind, past), _MISTAKEN_TRANSFERS
        if chance < 0.18:
            transfer = _evolve(transfer, random.choice(mistakes))
        elif chance < 0.185:
            transfer = attrs.evolve(transfer, flags=TransferFlags(random.getrandbits(9)))
        transfer = self._within_bounds(transfer)
        if transfer.flags & TransferFlags.PENDING:
            self._pending = [*self._pending, transfer][-60:]
        return transfer

    def _within_bounds(self, transfer: Transfer) -> Transfer:
        flags = TransferFlags(transfer.flags) & (self.allowed | _NO_FLAG)
        return attrs.evolve(transfer, flags=flags)

    def _moving(self, random: Random, kind: str, past: Past) -> Transfer:
        known = [id_ for id_ in self.account_ids if id_ in past.account_ids]
        sure = len(known) > 1 and random.random() < 1 - 0.2 * self._care
        debit, credit = random.sample(known if sure else self.account_ids, 2)
        flags = TransferFlags.NONE
        amount, timeout = self._amount(random), 0
        if kind == "balancing" or random.random() < 0.05:
            flags |= random.choice(_BALANCING)
            amount = random.choice((amount, AMOUNT_MAX, AMOUNT_MAX))
        if kind == "closing":
            flags |= random.choice(_CLOSING)
            amount = random.choice((0, 0, amount))
        if kind in {"pending", "closing"} and random.random() < 0.97:
            flags |= TransferFlags.PENDING
        flags &= self.allowed
        if flags & TransferFlags.PENDING:
            timeout = random.choice((0, 0, TIMEOUT, TIMEOUT, 3600, 2**32 - 1))
        return Transfer(
            id=self._new_id(random),
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            user_data_128=random.choice((0, 0, 2**70, random.getrandbits(128))),
            user_data_64=random.choice((0, 0, 1, 2**40)),
            user_data_32=random.choice((0, 0, 1, 2)),
            timeout=timeout,
            ledger=1,
            code=random.choice((1, 1, 2)),
            flags=flags,
        )

    def _resolving(self, random: Random, past: Past) -> Transfer:
        """What posts or voids a pending transfer sent before, maybe not for the first time."""
        created = past.pending if random.random() < 0.7 else []
        pending = random.choice(
            (created or self._pending or past.pending)[-random.choice(_RECENT) :]
        )
        closing = pending.flags & (TransferFlags.CLOSING_DEBIT | TransferFlags.CLOSING_CREDIT)
        voids = random.random() < (0.8 if closing else 0.35)
        part = random.randrange(pending.amount + 1)
        amounts = [0, 0, 0, pending.amount, pending.amount, part, AMOUNT_MAX]
        if not voids:
            amounts = [AMOUNT_MAX] * 4 + [pending.amount] * 2
            amounts += [part, 0, min(pending.amount + 1, AMOUNT_MAX)]
        id_ = self._new_id(random)
        pending_id = pending.id
        if random.random() < 0.05 * self._care:
            pending_id = random.choice((id_, random.choice(self._ids_used_again)))
        return Transfer(
            id=id_,
            debit_account_id=random.choice((0, pending.debit_account_id)),
            credit_account_id=random.choice((0, pending.credit_account_id)),
            amount=random.choice(amounts),
            pending_id=pending_id,
            user_data_128=random.choice((0, 0, 0, 2**70)),
            user_data_64=random.choice((0, 0, 0, pending.user_data_64, 1)),
            user_data_32=random.choice((0, 0, 0, pending.user_data_32, 1)),
            ledger=random.choice((0, pending.ledger)),
            code=random.choice((0, pending.code)),
            flags=_VOID if voids else _POST,
        )

    def _new_id(self, random: Random) -> int:
        self._id += 1
        return self._id if random.random() < 0.9 else random.choice(self._ids_used_again)

    def _amount(self, random: Random) -> int:
        if random.random() < self._huge:
            return random.choice(_HUGE)
        return random.randrange(10 ** random.choice((1, 2, 2, 2, 3, 20)))

    def _request(
        self, random: Random, events: list[Event], linked: int, imported: int
    ) -> list[Event]:
        """The events of one request, linked and imported more or less as they should be."""
        chained = random.choice((0.0, 0.0, 0.3, 0.7))
        imports = random.random() < 0.3
        request = []
        for number, event in enumerate(events, 1):
            flags = int(event.flags)
            if random.random() < (chained if number < len(events) else chained / 8):
                flags |= linked
            if imports != (random.random() < 0.03 * self._care):
                flags |= imported
            request.append(attrs.evolve(event, flags=type(event.flags)(flags)))
        return request


_RECENT: Final = (5, 20, 60)
_NO_FLAG: Final = TransferFlags(1 << 12)
_MIXED: Final = ("plain", "plain", "balancing", "pending", "pending", "resolving", "resolving")
_PLAIN: Final = ("plain",) * 30 + ("balancing",) * 9 + ("closing",)
_PENDING: Final = ("pending",) * 30 + ("resolving",) * 9 + ("closing",)
_RESOLVING: Final = ("resolving",) * 5 + ("plain",)


def _following(ids: range) -> range:
    return range(ids.stop, ids.stop + len(ids))


def _evolve(event: Event, changes: dict[str, int]) -> Event:
    return attrs.evolve(event, **changes)  # type: ignore[arg-type]


def _without_timeout(random: Random, transfer: Transfer) -> Transfer:
    """An imported transfer must not have a timeout; nearly all have none."""
    if transfer.flags & TransferFlags.IMPORTED and random.random() < 0.95:
        return attrs.evolve(transfer, timeout=0)
    return transfer


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
