"""A ledger with something of everything that can be mirrored, seeded."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from nostro import (
    AMOUNT_MAX,
    TRANSFER,
    Account,
    AccountFlags,
    Ledger,
    Reader,
    Transfer,
    TransferFlags,
)
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import mirrored
from tests.clocks import HandClock

_F = TransferFlags
ACCOUNTS = range(1, 9)
CLOSED_ACCOUNT = 9
CLOSING_ACCOUNT = 10


def write_mixed(path: Path, *, requests: int = 30, seed: int = 1) -> None:
    """Plain and balancing transfers, chains, refusals, pendings that are posted, voided, expire."""
    random = Random(seed)
    clock = HandClock(10**18)
    with Ledger.open(path, clock=clock) as ledger:
        flags = {id_: AccountFlags.HISTORY if id_ % 2 else AccountFlags.NONE for id_ in ACCOUNTS}
        flags[CLOSED_ACCOUNT] = AccountFlags.CLOSED
        flags[CLOSING_ACCOUNT] = AccountFlags.NONE
        ledger.create_accounts(
            [Account(id_, user_data_128=2**100 + id_, ledger=1, code=id_, flags=its)
             for id_, its in flags.items()]
        )  # fmt: skip
        ids = iter(range(2**64 - 300, 2**65))
        pending: list[int] = []
        for number in range(requests):
            request: list[Transfer] = []
            for _ in range(random.randrange(1, 60)):
                request += _some(random, ids, pending)
            ledger.create_transfers(request)
            clock.now += random.randrange(10**9)
            if number % 8 == 5:
                ledger.create_accounts([Account(id=1_000 + number, ledger=1, code=2)])
        closing = Transfer(
            next(ids), CLOSING_ACCOUNT, 1, 0, ledger=1, code=1,
            flags=_F.CLOSING_DEBIT | _F.PENDING,
        )  # fmt: skip
        ledger.create_transfers([closing])
        ledger.lookup_accounts([1])  # what is due expires
        ledger.create_transfers([Transfer(next(ids), 1, 999, 1, ledger=1, code=1)])  # refused


def _some(random: Random, ids: object, pending: list[int]) -> list[Transfer]:
    def new() -> int:
        return next(ids)  # type: ignore[call-overload, no-any-return]

    debit, credit = random.sample(ACCOUNTS, 2)
    plain = Transfer(new(), debit, credit, random.randrange(100), ledger=1, code=1)
    chance = random.random()
    if chance < 0.2:
        timeout = random.choice((0, 1, 2))
        pending.append(plain.id)
        return [
            Transfer(plain.id, debit, credit, random.randrange(100), user_data_64=plain.id % 2**40,
                     timeout=timeout, ledger=1, code=1, flags=_F.PENDING)
        ]  # fmt: skip
    if chance < 0.3 and pending:
        id_ = pending.pop(random.randrange(len(pending)))
        post = chance < 0.25
        flags = _F.POST_PENDING_TRANSFER if post else _F.VOID_PENDING_TRANSFER
        return [Transfer(plain.id, pending_id=id_, amount=AMOUNT_MAX if post else 0, flags=flags)]
    if chance < 0.35:
        flags = _F.BALANCING_DEBIT
        return [Transfer(plain.id, debit, credit, AMOUNT_MAX, ledger=1, code=1, flags=flags)]
    if chance < 0.4:
        return [Transfer(plain.id, debit, 999, 1, ledger=1, code=1)]  # refused for good
    if chance < 0.45:
        linked = Transfer(plain.id, debit, credit, 1, ledger=1, code=1, flags=_F.LINKED)
        return [linked, Transfer(new(), debit, credit, 1, ledger=1, code=1)]
    return [plain]


def mirrored_accounts(path: Path, *, position: int | None = None) -> Rows:
    """``ACCOUNT[n]`` as a cluster holds them that has the ledger up to a position."""
    with Ledger.open(path, read_only=True) as ledger:
        rows = (ledger if position is None else ledger.at(position=position)).accounts()
    rows["flags"] |= int(AccountFlags.IMPORTED)
    return rows


def mirrored_transfers(path: Path, *, position: int | None = None) -> Rows:
    """``TRANSFER[n]`` as a cluster holds them that has the ledger up to a position."""
    rows: list[Rows] = []
    for part in Reader(path).parts():
        wanted = mirrored(part)
        if wanted is None or wanted.kind is RecordKind.ACCOUNTS:
            continue
        for row, place in zip(wanted.rows, _places(part), strict=True):
            if position is None or place <= position:
                rows.append(row)
    pending = {id_: row for row in rows for id_ in ids_of(np.array([row], TRANSFER))}
    for row in rows:
        if not row["ledger"]:
            [id_] = ids_of(np.array([row], TRANSFER), "pending_id")
            for name in ("debit_account_id", "credit_account_id", "amount", "user_data_128",
                         "user_data_64", "user_data_32", "ledger", "code"):  # fmt: skip
                row[name] = pending[id_][name]
    return np.array(rows, TRANSFER)


def _places(record: object) -> list[int]:
    events = list(record.events())  # type: ignore[attr-defined]
    names = {"TransferCreated", "PendingExpired"}
    return [event.position for event in events if type(event).__name__ in names]
