"""A ledger that a TigerBeetle cluster keeps, with the methods of the embedded ledger.

There is no journal. TigerBeetle carries requests out; ``idempotent_create.py`` decides the answer
when a request had to be sent again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, Self, overload

import numpy as np
import numpy.typing as npt

from nostro.journal.model import (
    Account,
    AccountBalance,
    AccountFilter,
    CreateAccountResult,
    CreateTransferResult,
    QueryFilter,
    Rows,
    Transfer,
)
from nostro.projections.pipeline.answers import TransferWithBalances
from nostro.projections.queries.change_events import ChangeEvent, check_reading
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.ledger.change_reading import ChangeReading
from nostro.projections.tigerbeetle.ledger.requests import Requests
from nostro.projections.tigerbeetle.session.breaker import Breaker
from nostro.projections.tigerbeetle.session.cluster import native_connect
from nostro.projections.tigerbeetle.session.effects import Effects, T, run
from nostro.projections.tigerbeetle.session.pool import SessionPool
from nostro.projections.tigerbeetle.session.retrying_client import RetryingClient
from nostro.projections.tigerbeetle.session.session import Connect

SESSIONS: Final = 4
"""A cluster keeps 64 for all of its clients."""
ATTEMPTS_MAX: Final = 3
_log: Final = logging.getLogger("nostro")


class ClusterLedger:
    """A ledger in a TigerBeetle cluster. Thread-safe; use :meth:`open`.

    Methods, arguments, results and statuses are those of :class:`~projections.Ledger`.

    Every attempt at a request has ``timeout_seconds`` of the configuration, and there are at most
    ``attempts_max``, with growing pauses between them. Methods raise ConnectionFailed when there is
    no answer, and LedgerClosed after :meth:`close`.
    """

    @classmethod
    def open(
        cls,
        configuration: ClusterConfiguration,
        *,
        sessions: int = SESSIONS,
        attempts_max: int = ATTEMPTS_MAX,
        connect: Connect | None = None,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> Self:
        """Return once the cluster has answered.

        Args:
            sessions: open at most this many, as callers need them.
            attempts_max: send a request at most this often.
            connect: opens a session; by default with the client library.
            breaker: makes the object that decides how long to wait between attempts.

        Raises:
            InvalidField: an argument is out of range.
            ClientMissing: the client library is not installed.
            ConnectionFailed: the cluster does not answer, or has another id.
            ClusterError: the client library could not start, or does not suit the cluster.
        """
        pool = SessionPool(configuration, connect or native_connect(configuration), size=sessions)
        client = RetryingClient(configuration, pool, attempts_max=attempts_max, breaker=breaker)
        ledger = cls(configuration, pool, Requests(client))
        try:
            ledger._run(ledger.requests.probe())
        except BaseException:
            pool.close()
            raise
        _log.info("Accounting backend: TigerBeetle (%s)", configuration)
        return ledger

    def __init__(
        self, configuration: ClusterConfiguration, pool: SessionPool, requests: Requests
    ) -> None:
        self.configuration = configuration
        self.pool = pool
        self.requests = requests
        """The same methods as effects, for callers that wait in another way."""

    # --- writing ---

    @overload
    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]: ...
    @overload
    def create_accounts(self, accounts: Rows) -> npt.NDArray[np.void]: ...
    def create_accounts(
        self, accounts: Sequence[Account] | Rows
    ) -> list[CreateAccountResult] | npt.NDArray[np.void]:
        """Create accounts; the answer has one result for each, in order.

        Args:
            accounts: a list, or ``ACCOUNT[n]``, which is answered with ``CREATE_RESULT[n]``. A
                request that exceeds one message is sent in several, one after another.

        Raises:
            InvalidField, BatchTooLarge, ChainTooLong: nothing was created.
            OutcomeUnknown: no answer; it names the ids that may or may not have been created.
        """
        return self._run(self.requests.create_accounts(accounts))

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
    def create_transfers(
        self, transfers: Sequence[Transfer] | Rows, *, balances: bool = False
    ) -> Sequence[CreateTransferResult] | npt.NDArray[np.void]:
        """Create transfers; the answer has one result for each, in order.

        Args:
            transfers: a list, or ``TRANSFER[n]``, which is answered with ``CREATE_RESULT[n]``. A
                request that exceeds one message is sent in several, one after another, no chain
                cut. Other requests may come in between: only a chain is atomic.
            balances: answer with :class:`~projections.TransferWithBalances`, as :class:`Ledger`
                does. The balances are read afterwards, from the change events of the transfers,
                which hold them as they were just then.

        Raises:
            InvalidField, BatchTooLarge, ChainTooLong: nothing was created.
            OutcomeUnknown: no answer; it names the ids that may or may not have been created.
            BalancesUnknown: an OutcomeUnknown where only the balances got no answer.
        """
        return self._run(self.requests.create_transfers(transfers, balances=balances))

    # --- reading ---

    def lookup_accounts(self, ids: Iterable[int]) -> list[Account]:
        """The accounts that exist, with their balances, in the order asked for."""
        return self._run(self.requests.lookup_accounts(ids))

    def lookup_transfers(self, ids: Iterable[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked for."""
        return self._run(self.requests.lookup_transfers(ids))

    def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account, by time; see :meth:`Ledger.get_account_transfers`.

        A result that exceeds one reply is read in several requests, as with every query.
        """
        return self._run(self.requests.get_account_transfers(filter))

    def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """See :meth:`Ledger.get_account_balances`."""
        return self._run(self.requests.get_account_balances(filter))

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """See :meth:`Ledger.query_accounts`. The balances of each reply are of its own time."""
        return self._run(self.requests.query_accounts(query_filter))

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """See :meth:`Ledger.query_transfers`."""
        return self._run(self.requests.query_transfers(query_filter))

    def get_change_events(
        self,
        *,
        timestamp_min: int = 0,
        follow: bool = False,
        stop: threading.Event | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[ChangeEvent]:
        """Every posting with the balances of both accounts as of that event, by time.

        See :meth:`Ledger.get_change_events`. To continue later, start one nanosecond after the last
        event's timestamp. With ``follow`` the cluster is polled twice a second while nothing is
        new, until ``stop`` is set or the ledger is closed.

        Raises:
            InvalidField, OutOfRange: an argument is not valid.
            ConnectionFailed: raised by the iterator, when it gets no answer; continue as above.
        """
        check_reading(timestamp_min, timeout_seconds, stop)
        self.pool.check_open()
        reading = self.requests.read_changes(
            timestamp_min=timestamp_min, follow=follow, timeout_seconds=timeout_seconds
        )
        stop = stop or self.pool.closed
        return self._follow(reading, stop) if follow else self._read(reading)

    def _read(self, reading: ChangeReading) -> Iterator[ChangeEvent]:
        while reading.pause_seconds() is not None:
            yield from self._run(reading.page())

    def _follow(self, reading: ChangeReading, stop: threading.Event) -> Iterator[ChangeEvent]:
        while (seconds := reading.pause_seconds()) is not None and not stop.wait(seconds):
            for event in self._run(reading.page()):
                yield event
                if stop.is_set():
                    return

    # --- closing ---

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not been called yet, in this process."""
        return self.pool.is_open

    def close(self) -> None:
        """End every session, also under other threads' requests. May be repeated."""
        self.pool.close()

    def __enter__(self) -> Self:
        self.pool.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, effects: Effects[T]) -> T:
        return run(effects, self.pool.closed.wait)
