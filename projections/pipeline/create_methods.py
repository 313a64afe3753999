"""The methods that create accounts and transfers, with their types: blocking, and for asyncio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Account, CreateAccountResult, CreateTransferResult, Rows, Transfer
from nostro.projections.pipeline.answers import TransferWithBalances


class CreateMethods:
    """The methods of a ledger in a journal or in a cluster."""

    @overload
    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    def create_accounts(self, accounts: Any) -> Any:
        """Create accounts; returns one result for each, in order, once they are durable.

        Args:
            accounts: a list, or ``ACCOUNT[n]``, which returns ``CREATE_RESULT[n]``.

        Raises:
            As :meth:`create_transfers`.
        """
        return self._create(RecordKind.ACCOUNTS, accounts, balances=False)

    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[False] = False
    ) -> list[CreateTransferResult]: ...
    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[True]
    ) -> list[TransferWithBalances]: ...
    @overload
    def create_transfers(self, transfers: Rows) -> npt.NDArray[np.void]: ...
    def create_transfers(self, transfers: Any, *, balances: bool = False) -> Any:
        """Create transfers; returns one result for each, in order, once they are durable.

        A journal keeps a request as one atomic record. A request that exceeds one message goes to a
        cluster in several, one after another, no chain cut; other requests may come in between.

        Args:
            transfers: a list, or ``TRANSFER[n]``, which returns ``CREATE_RESULT[n]``.
            balances: return :class:`TransferWithBalances` for each of a list of transfers: the
                balances of both accounts just after it. A cluster reads them afterwards, from the
                change events of the transfers.

        Raises:
            InvalidField, BatchTooLarge: nothing was created.
            JournalFull: the disk is full; nothing was created, and the ledger stays usable.
            WriterPoisoned: the disk failed; reopen, and look the ids up.
            ChainTooLong: nothing was created; a chain exceeds one message to the cluster.
            OutcomeUnknown: the cluster does not answer; the error names the ids that it may or may
                not have created.
            BalancesUnknown: an OutcomeUnknown where only the balances got no answer.
        """
        return self._create(RecordKind.TRANSFERS, transfers, balances=balances)

    @abstractmethod
    def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        """The answer to a request, as results or as rows."""


class AsyncCreateMethods:
    """The same as coroutines."""

    @overload
    async def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    async def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    async def create_accounts(self, accounts: Any) -> Any:
        """See :meth:`CreateMethods.create_accounts`."""
        return await self._create(RecordKind.ACCOUNTS, accounts, balances=False)

    @overload
    async def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[False] = False
    ) -> list[CreateTransferResult]: ...
    @overload
    async def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[True]
    ) -> list[TransferWithBalances]: ...
    @overload
    async def create_transfers(self, transfers: Rows) -> npt.NDArray[np.void]: ...
    async def create_transfers(self, transfers: Any, *, balances: bool = False) -> Any:
        """See :meth:`CreateMethods.create_transfers`."""
        return await self._create(RecordKind.TRANSFERS, transfers, balances=balances)

    @abstractmethod
    async def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        """The answer to a request, as results or as rows."""
