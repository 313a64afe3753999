"""Where the rows of an import go: into a ledger, or nowhere, for a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal import (
    CREATE_RESULT,
    TRANSFER,
    CreateAccountStatus,
    CreateTransferStatus,
    Reader,
    RecordKind,
    Transfer,
    TransferFlags,
)
from nostro.projections import Ledger
from nostro.tools.u128 import u128_ints

Rows = npt.NDArray[np.void]


class Target(Protocol):
    """What the importer needs of a ledger."""

    def known_accounts(self, ids: Sequence[int]) -> set[int]:
        """Return those of ``ids`` whose account is there already."""

    def create_accounts(self, rows: Rows) -> Rows:
        """Create ``ACCOUNT[n]``; return ``CREATE_RESULT[n]``."""

    def create_transfers(self, rows: Rows) -> Rows:
        """Create ``TRANSFER[n]``; return ``CREATE_RESULT[n]``."""


class LedgerTarget:
    """A ledger that is open for writing."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def known_accounts(self, ids: Sequence[int]) -> set[int]:
        return {account.id for account in self._ledger.lookup_accounts(list(ids))}

    def create_accounts(self, rows: Rows) -> Rows:
        return self._ledger.create_accounts(rows)

    def create_transfers(self, rows: Rows) -> Rows:
        return self._ledger.create_transfers(rows)


@attrs.frozen
class _Known:
    """What a dry run must know of an account."""

    ledger: int
    timestamp: int


class DryTarget:
    """Answers as the ledger would and writes nothing; ``ledger`` is None where there is none yet.

    It knows what is there already, what the file itself repeats or contradicts, and which times
    have passed. Balance limits depend on every amount posted before and are left to the real run.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._accounts: dict[int, _Known] = {}
        self._created: dict[int, bytes] = {}  # rows, a fifth of what objects take
        self._newest_account, self._newest_transfer = newest_timestamps(ledger)

    def known_accounts(self, ids: Sequence[int]) -> set[int]:
        if self._ledger is not None:
            new = [id for id in ids if id not in self._accounts]
            for account in self._ledger.lookup_accounts(new):
                self._accounts[account.id] = _Known(account.ledger, account.timestamp)
        return {id for id in ids if id in self._accounts}

    def create_accounts(self, rows: Rows) -> Rows:
        statuses = []
        for id, ledger, timestamp in zip(
            u128_ints(rows["id"]), rows["ledger"].tolist(), rows["timestamp"].tolist(), strict=True
        ):
            if 0 < timestamp <= self._newest_account:
                statuses.append(CreateAccountStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS)
                continue
            self._accounts[id] = _Known(ledger, timestamp)
            statuses.append(CreateAccountStatus.CREATED)
        return _results(rows, statuses)

    def create_transfers(self, rows: Rows) -> Rows:
        transfers = _transfers(rows)
        there: dict[int, Transfer] = {}
        if self._ledger is not None:
            found = self._ledger.lookup_transfers([transfer.id for transfer in transfers])
            there = {transfer.id: transfer for transfer in found}
        statuses = []
        for index, transfer in enumerate(transfers):
            status = self._status(transfer, there.get(transfer.id))
            if status is CreateTransferStatus.CREATED:
                self._created[transfer.id] = rows[index].tobytes()
            statuses.append(status)
        return _results(rows, statuses)

    def _status(self, transfer: Transfer, there: Transfer | None) -> CreateTransferStatus:
        repeated = self._created.get(transfer.id)
        if repeated is not None:
            (there,) = _transfers(np.frombuffer(repeated, TRANSFER))
        if there is not None:
            return difference(there, transfer)
        debit = self._accounts[transfer.debit_account_id]
        credit = self._accounts[transfer.credit_account_id]
        if debit.ledger != credit.ledger:
            return CreateTransferStatus.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
        if debit.ledger != transfer.ledger:
            return CreateTransferStatus.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS
        if transfer.timestamp:
            if transfer.timestamp <= self._newest_transfer:
                return CreateTransferStatus.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
            if transfer.timestamp <= debit.timestamp:
                return CreateTransferStatus.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT
            if transfer.timestamp <= credit.timestamp:
                return CreateTransferStatus.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT
        return CreateTransferStatus.CREATED


def newest_timestamps(ledger: Ledger | None) -> tuple[int, int]:
    """Return when the newest account and the newest transfer happened, ns; 0 for none.

    Reads the whole journal: an import of older data may stand anywhere in it.
    """
    if ledger is None:
        return 0, 0
    accounts = ledger.accounts()
    newest = 0
    for record in Reader(ledger.path).records():
        if record.kind is RecordKind.TRANSFERS:
            newest = max(newest, record.timestamp_max)
    return int(accounts["timestamp"].max(initial=0)), newest


_COMPARED: Final = (
    "flags",
    "debit_account_id",
    "credit_account_id",
    "amount",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "ledger",
    "code",
)


def difference(there: Transfer, transfer: Transfer) -> CreateTransferStatus:
    """Return EXISTS, or the first EXISTS_WITH_DIFFERENT_* in the ledger's own precedence."""
    for field in _COMPARED:
        if getattr(there, field) != getattr(transfer, field):
            return CreateTransferStatus[f"EXISTS_WITH_DIFFERENT_{field.upper()}"]
    return CreateTransferStatus.EXISTS


def _transfers(rows: Rows) -> list[Transfer]:
    wide = ("id", "debit_account_id", "credit_account_id", "amount", "user_data_128")
    narrow = ("user_data_64", "user_data_32", "ledger", "code", "flags", "timestamp")
    columns = [u128_ints(rows[name]) for name in wide] + [rows[name].tolist() for name in narrow]
    return [
        Transfer(
            id=id,
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            user_data_128=data_128,
            user_data_64=data_64,
            user_data_32=data_32,
            ledger=ledger,
            code=code,
            flags=TransferFlags(flags),
            timestamp=timestamp,
        )
        for (
            id, debit, credit, amount, data_128, data_64, data_32, ledger, code, flags, timestamp
        ) in zip(*columns, strict=True)
    ]  # fmt: skip


def _results(rows: Rows, statuses: Sequence[int]) -> Rows:
    results = np.zeros(len(rows), CREATE_RESULT)
    results["timestamp"] = rows["timestamp"]
    results["status"] = statuses
    return results
