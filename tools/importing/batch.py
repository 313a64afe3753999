"""A batch of postings as the ledger takes it: numpy rows, not objects."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from nostro.journal import TRANSFER, Account, AccountFlags, TransferFlags
from nostro.journal.model import MESSAGE_EVENTS_MAX
from nostro.tools.importing.rows import Posting
from nostro.tools.u128 import u128_column

BATCH_ROWS_MAX: Final = MESSAGE_EVENTS_MAX
"""TigerBeetle's own bound on one request, so that a journal can be mirrored batch by batch."""

_DEBIT_BEFORE_NS: Final = 3
_CREDIT_BEFORE_NS: Final = 2


@attrs.define
class Batch:
    """Postings that go in together, each with its timestamp (0: the ledger's clock decides)."""

    postings: list[Posting] = attrs.field(factory=list)
    timestamps: list[int] = attrs.field(factory=list)
    _rows: npt.NDArray[np.void] | None = None

    def add(self, posting: Posting, timestamp: int) -> None:
        self.postings.append(posting)
        self.timestamps.append(timestamp)

    def __len__(self) -> int:
        return len(self.postings)

    def new_accounts(self, known: Container[int]) -> list[Account]:
        """Return the accounts to create, those that are ``known`` left out.

        Each has what the first row that names it says.
        """
        found: dict[int, Account] = {}
        for posting, timestamp in zip(self.postings, self.timestamps, strict=True):
            for party, before in (
                (posting.debit, _DEBIT_BEFORE_NS),
                (posting.credit, _CREDIT_BEFORE_NS),
            ):
                if party.id not in known and party.id not in found:
                    found[party.id] = Account(
                        id=party.id,
                        ledger=party.ledger,
                        code=party.code,
                        flags=party.flags | (AccountFlags.IMPORTED if timestamp else 0),
                        timestamp=timestamp and timestamp - before,
                    )
        return list(found.values())

    def rows(self) -> npt.NDArray[np.void]:
        """Return the transfers, ``TRANSFER[n]``; a second call returns the same array."""
        if self._rows is not None and len(self._rows) == len(self.postings):
            return self._rows
        postings = self.postings
        rows = np.zeros(len(postings), TRANSFER)
        rows["id"] = u128_column(posting.id for posting in postings)
        rows["debit_account_id"] = u128_column(posting.debit.id for posting in postings)
        rows["credit_account_id"] = u128_column(posting.credit.id for posting in postings)
        rows["amount"] = u128_column(posting.amount for posting in postings)
        rows["user_data_128"] = u128_column(posting.user_data_128 for posting in postings)
        rows["user_data_64"] = [posting.user_data_64 for posting in postings]
        rows["user_data_32"] = [posting.user_data_32 for posting in postings]
        rows["ledger"] = [posting.ledger for posting in postings]
        rows["code"] = [posting.code for posting in postings]
        rows["timestamp"] = self.timestamps
        rows["flags"] = np.where(rows["timestamp"] > 0, TransferFlags.IMPORTED, 0)
        self._rows = rows
        return rows
