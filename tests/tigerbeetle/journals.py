"""Journals with everything in them, and what a cluster must hold of each, worked out by hand."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

import attrs
import numpy as np

from nostro import Account, AccountFlags, CreateTransferStatus, Ledger, Transfer, TransferFlags
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import AccountCreated, PendingExpired, TransferCreated
from nostro.journal.model import CREATE_RESULT
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.rows import accounts_from_rows
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.rows.translation import mirrored
from tests.clocks import HandClock
from tests.tigerbeetle.simulated import SimulatedCluster
from tests.traffic import Past, Traffic

SECOND: Final = 10**9
_CREATED: Final = int(CreateTransferStatus.CREATED)
_VOID: Final = TransferFlags.VOID_PENDING_TRANSFER | TransferFlags.IMPORTED


class Scene:
    """A ledger under way: random requests, with a clock of its own."""

    def __init__(self, path: Path, random: Random, *, kind: str | None = None) -> None:
        self.path = path
        self.random = random
        self.clock = HandClock(10**15)
        self.ledger = Ledger.open(
            path,
            segment_bytes_max=random.choice((4_096, 2**16)),
            expiry_seconds=3_600,
            checkpoint_seconds=3_600,
            clock=self.clock,
        )
        # Without imports, or without expiries, or both, and most imports after the expiries then:
        # a cluster takes transfers only in the order of their times.
        self._kind = kind or random.choice(("no imports", "no expiries", "both", "both"))
        self._traffic = Traffic()
        self._past = Past()

    def request(self) -> None:
        """One more, of any kind; time passes."""
        random, past = self.random, self._past
        self.clock.now += random.choice((1, 50, SECOND // 3, SECOND, 3 * SECOND))
        count = random.randrange(1, 9)
        answers: list[tuple[Account | Transfer, int, int]]
        if len(past.account_ids) < 4 or random.random() < 0.2:
            accounts = self._traffic.accounts(random, count, past, self.clock.now)
            answers = [
                (account, answer.timestamp, answer.status)
                for account, answer in zip(
                    accounts, self.ledger.create_accounts(accounts), strict=True
                )
            ]
        else:
            transfers = self._traffic.transfers(random, count, past, self.clock.now)
            if self._kind == "no expiries":
                transfers = [attrs.evolve(transfer, timeout=0) for transfer in transfers]
            elif self._kind == "no imports":
                transfers = [_not_imported(transfer) for transfer in transfers]
            answers = [
                (transfer, answer.timestamp, answer.status)
                for transfer, answer in zip(
                    transfers, self.ledger.create_transfers(transfers), strict=True
                )
            ]
        for event, timestamp, status in answers:
            if status == _CREATED:
                past.note(event, timestamp)
        if self._kind == "both":
            past.transfers_newest = max(past.transfers_newest, self.ledger.timestamp)

    def close(self) -> None:
        self.ledger.close()


def _not_imported(transfer: Transfer) -> Transfer:
    flags = transfer.flags & ~TransferFlags.IMPORTED
    return attrs.evolve(transfer, flags=flags, timestamp=0)


@attrs.define
class Expected:
    """What a cluster must hold, in this order."""

    accounts: list[Account]
    """With their balances."""
    transfers: list[Transfer]

    @property
    def out_of_order(self) -> int | None:
        """The id of the first transfer that is older than one before it."""
        newest = 0
        for transfer in self.transfers:
            if transfer.timestamp <= newest:
                return transfer.id
            newest = transfer.timestamp
        return None


def expected(ledger: Ledger, *, batch_events_max: int = 8_189) -> Expected:
    """Of all that the ledger holds; what is due by now expires first."""
    transfers: dict[int, Transfer] = {}
    cut: set[int] = set()
    """The times of events after which a message has no room for the rest of their chain."""
    accounts = accounts_from_rows(ledger.accounts())
    linked = 0
    for record in Reader(ledger.path).records():
        for event in record.events():
            if isinstance(event, AccountCreated | TransferCreated):
                created = event.account if isinstance(event, AccountCreated) else event.transfer
                linked = linked + 1 if created.flags & TransferFlags.LINKED else 0
                if linked and linked % batch_events_max == 0:
                    cut.add(created.timestamp)
            if isinstance(event, TransferCreated):
                flags = event.transfer.flags | TransferFlags.IMPORTED
                if event.timestamp in cut:
                    flags &= ~TransferFlags.LINKED
                transfers[event.transfer.id] = attrs.evolve(event.transfer, flags=flags, timeout=0)
            elif isinstance(event, PendingExpired):
                pending = transfers[event.transfer_id]
                digest = hashlib.sha256(
                    b"nostro: expiry of " + event.transfer_id.to_bytes(16, "big")
                ).digest()
                id_ = int.from_bytes(digest[:16], "big")
                transfers[id_] = attrs.evolve(
                    pending,
                    id=id_,
                    pending_id=pending.id,
                    flags=_VOID,
                    timestamp=event.timestamp,
                )
    imported = []
    for account in accounts:
        linked_to = AccountFlags.NONE if account.timestamp in cut else AccountFlags.LINKED
        kept = account.flags & (~AccountFlags.LINKED | linked_to)
        imported.append(attrs.evolve(account, flags=kept | AccountFlags.IMPORTED))
    return Expected(imported, list(transfers.values()))


def write_small(path: Path, *, records: int = 12, clock: HandClock | None = None) -> HandClock:
    """A closed ledger: two accounts, then so many records of three transfers, and of refusals."""
    clock = clock or HandClock(10**15)
    with closing(Ledger.open(path, segment_bytes_max=4_096, clock=clock)) as ledger:
        if not ledger.position:
            ledger.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in (1, 2)])
        extend(ledger, clock, records)
    return clock


def extend(ledger: Ledger, clock: HandClock, records: int) -> None:
    """So many records more, three transfers each; every third record but one is refused."""
    for _ in range(records):
        clock.now += SECOND
        first = ledger.position + 1
        debit = 99 if first % 4 == 3 else 1
        ledger.create_transfers(
            [
                Transfer(
                    id=first + number,
                    debit_account_id=debit,
                    credit_account_id=2,
                    amount=number,
                    ledger=1,
                    code=1,
                )
                for number in range(3)
            ]
        )


def feed(
    cluster: SimulatedCluster, path: Path, position: int, *, after: int = 0, rows: int = 0
) -> None:
    """What the journal holds up to there, and so many rows of the record after it."""
    for part in Reader(path).parts(Cursor(position=after + 1)):
        record, wanted = part.record, mirrored(part)
        if wanted is None:
            continue
        sent = wanted.rows if record.position_last <= position else wanted.rows[:rows]
        if wanted.kind is RecordKind.ACCOUNTS:
            reply = cluster.carry_out(Operation.CREATE_ACCOUNTS, sent.tobytes())
        else:
            reply = cluster.carry_out(Operation.CREATE_TRANSFERS, sent.tobytes())
        assert (np.frombuffer(reply.data, CREATE_RESULT)["status"] == _CREATED).all()
        if record.position_last > position:
            return


def ends(path: Path) -> list[int]:
    """The last position of each record that a cluster gets something of."""
    return [
        it.position_last
        for it in Reader(path).records()
        if any(mirrored(part) is not None for part in it.parts)
    ]
