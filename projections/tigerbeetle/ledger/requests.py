"""The methods of a cluster's ledger as effects: checked, sent as rows, answered as objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from nostro.journal.errors import LedgerClosed
from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.model import (
    ACCOUNT,
    TRANSFER,
    Account,
    AccountBalance,
    AccountFilter,
    QueryFilter,
    Rows,
    Transfer,
)
from nostro.journal.rows import (
    accounts_from_rows,
    check_ids,
    transfers_from_rows,
)
from nostro.projections.pipeline.answers import RESULTS, Balances, event_rows, with_balances
from nostro.projections.queries.filters import Selection, account_selection, query_selection
from nostro.projections.tigerbeetle.errors import BalancesUnknown, ClusterError, SessionClosed
from nostro.projections.tigerbeetle.ledger.change_reading import ChangeReading, balances_after
from nostro.projections.tigerbeetle.ledger.idempotent_create import create
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.effects import Effects
from nostro.projections.tigerbeetle.session.paged_queries import (
    ACCOUNT_BALANCE,
    balances_from_rows,
    look_up,
    select,
)
from nostro.projections.tigerbeetle.session.retrying_client import RetryingClient

T = TypeVar("T")


class Requests:
    """The methods of :class:`ClusterLedger`, for callers that wait in a thread or in a task."""

    def __init__(self, client: RetryingClient) -> None:
        self._client = client

    def probe(self) -> Effects[None]:
        """Nothing, once the cluster has answered."""
        yield from look_up(self._client, Operation.LOOKUP_ACCOUNTS, [1], ACCOUNT)

    def create(self, kind: RecordKind, events: Any, *, balances: bool) -> Effects[Any]:
        """The answer to :meth:`CreateMethods.create_accounts` or ``create_transfers``."""
        rows = event_rows(kind, events, balances=balances)
        results = yield from create(self._client, kind, rows)
        if balances:
            return with_balances(results, (yield from self._balances_after(results)))
        return results if isinstance(events, np.ndarray) else RESULTS[kind](results)

    def lookup_accounts(self, ids: Iterable[int]) -> Effects[list[Account]]:
        """The accounts that exist, with their balances, in the order asked for."""
        wanted = check_ids(ids)
        rows = yield from look_up(self._client, Operation.LOOKUP_ACCOUNTS, wanted, ACCOUNT)
        return accounts_from_rows(rows)

    def lookup_transfers(self, ids: Iterable[int]) -> Effects[list[Transfer]]:
        """The transfers that exist, in the order asked for."""
        wanted = check_ids(ids)
        rows = yield from look_up(self._client, Operation.LOOKUP_TRANSFERS, wanted, TRANSFER)
        return transfers_from_rows(rows)

    def get_account_transfers(self, filter: AccountFilter) -> Effects[list[Transfer]]:
        """The transfers of one account, by time; see :meth:`Ledger.get_account_transfers`.

        A result that exceeds one reply is read in several requests, as with every query.
        """
        return self._select(
            Operation.GET_ACCOUNT_TRANSFERS, account_selection(filter), TRANSFER,
            transfers_from_rows,
        )  # fmt: skip

    def get_account_balances(self, filter: AccountFilter) -> Effects[list[AccountBalance]]:
        """See :meth:`Ledger.get_account_balances`."""
        return self._select(
            Operation.GET_ACCOUNT_BALANCES, account_selection(filter), ACCOUNT_BALANCE,
            balances_from_rows,
        )  # fmt: skip

    def query_accounts(self, query_filter: QueryFilter) -> Effects[list[Account]]:
        """See :meth:`Ledger.query_accounts`. The balances of each reply are of its own time."""
        selection = query_selection(query_filter)
        return self._select(Operation.QUERY_ACCOUNTS, selection, ACCOUNT, accounts_from_rows)

    def query_transfers(self, query_filter: QueryFilter) -> Effects[list[Transfer]]:
        """See :meth:`Ledger.query_transfers`."""
        selection = query_selection(query_filter)
        return self._select(Operation.QUERY_TRANSFERS, selection, TRANSFER, transfers_from_rows)

    def read_changes(
        self, *, timestamp_min: int, follow: bool, timeout_seconds: float | None
    ) -> ChangeReading:
        return ChangeReading(
            self._client,
            timestamp_min=timestamp_min, follow=follow, timeout_seconds=timeout_seconds,
        )  # fmt: skip

    def _select(
        self, operation: Operation, selection: Selection | None, dtype: np.dtype[np.void],
        to_objects: Callable[[Rows], list[T]],
    ) -> Effects[list[T]]:  # fmt: skip
        return to_objects((yield from select(self._client, operation, selection, dtype)))

    def _balances_after(self, results: Rows) -> Effects[list[tuple[Balances, ...]]]:
        created = results["timestamp"][results["status"] == CREATED].tolist()
        cause: ClusterError = SessionClosed()
        try:
            return (yield from balances_after(self._client, created))
        except LedgerClosed:
            pass
        except ClusterError as error:
            cause = error
        raise BalancesUnknown("transfers", len(results), (), results, cause)
