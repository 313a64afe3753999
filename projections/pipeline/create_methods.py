"""The methods that create accounts and transfers, with their types: blocking, and for asyncio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Literal, overload

import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Account, CreateAccountResult, CreateTransferResult, Rows, Transfer
from nostro.journal.rows import owned
from nostro.projections.pipeline.answers import TransferWithBalances

CONVERTED_AT_ONCE_MAX: Final = 1_024
"""So many objects become rows in 1.5 ms, in the event loop. A thread converts a longer list."""


class CreateMethods:
    """The methods of a ledger in a journal or in a cluster."""

    @overload
    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    def create_accounts(self, accounts: Any) -> Any:
        """Create accounts; returns one result for each, in order, once they are durable.

        A caller that stops waiting does not stop the request: see docs/guides/retries.md.

        Args:
            accounts: a list, or ``ACCOUNT[n]``, which returns ``CREATE_RESULT[n]``. It is copied
                at once.

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

        A caller that stops waiting (Ctrl-C, a cancelled task, a timeout) does not stop the request:
        it may still take effect. To find out, send the same request with the same ids again. It
        creates what is missing, and answers EXISTS for what is there. See docs/guides/retries.md.

        Args:
            transfers: a list, or ``TRANSFER[n]``, which returns ``CREATE_RESULT[n]``. It is copied
                at once.
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
    """The same as coroutines. A request is copied when the method is called, before the await.

    A task that is cancelled or times out does not stop its request, which may still take effect:
    see docs/guides/retries.md. A list of up to 1,024 objects becomes rows in the event loop; a
    thread converts a longer one.
    """

    @overload
    def create_accounts(
        self, accounts: Sequence[Account]
    ) -> Coroutine[Any, Any, list[CreateAccountResult]]: ...
    @overload
    def create_accounts(self, accounts: Rows) -> Coroutine[Any, Any, npt.NDArray[np.void]]: ...
    def create_accounts(self, accounts: Any) -> Coroutine[Any, Any, Any]:
        """See :meth:`CreateMethods.create_accounts`.

        Cancelling the task, or a timeout, does not stop the request: see docs/guides/retries.md.
        """
        return self._create(RecordKind.ACCOUNTS, owned(accounts), balances=False)

    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[False] = False
    ) -> Coroutine[Any, Any, list[CreateTransferResult]]: ...
    @overload
    def create_transfers(
        self, transfers: Sequence[Transfer], *, balances: Literal[True]
    ) -> Coroutine[Any, Any, list[TransferWithBalances]]: ...
    @overload
    def create_transfers(self, transfers: Rows) -> Coroutine[Any, Any, npt.NDArray[np.void]]: ...
    def create_transfers(
        self, transfers: Any, *, balances: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """See :meth:`CreateMethods.create_transfers`.

        Cancelling the task, or a timeout, does not stop the request: see docs/guides/retries.md.
        """
        return self._create(RecordKind.TRANSFERS, owned(transfers), balances=balances)

    @abstractmethod
    async def _create(self, kind: RecordKind, events: Any, *, balances: bool) -> Any:
        """The answer to a request, as results or as rows."""
