"""The parts of :class:`~nostro.Ledger` that reconciling and importing use.

They take ``Ledger.open`` as an argument, because the ledger itself stands above these rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from nostro.journal.model import Account, Rows


class JournalLedger(Protocol):
    """An open ledger; see :class:`~nostro.Ledger`."""

    @property
    def ledger_id(self) -> bytes: ...
    @property
    def position(self) -> int: ...
    def create_accounts(self, accounts: Rows, /) -> Rows: ...
    def create_transfers(self, transfers: Rows, /) -> Rows: ...
    def accounts(self) -> Rows: ...
    def lookup_accounts(self, ids: Iterable[int], /) -> Sequence[Account]: ...
    def transfer_rows(self, ids: Iterable[int], /) -> tuple[Rows, list[int]]: ...
    def close(self) -> None: ...


OpenLedger: TypeAlias = Callable[..., JournalLedger]
"""``Ledger.open``, with its arguments."""
