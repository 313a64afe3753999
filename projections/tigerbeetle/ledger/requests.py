"""What can be asked of a cluster's ledger, as steps, from objects and back to objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

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
    account_rows,
    accounts_from_rows,
    check_ids,
    transfer_rows,
    transfers_from_rows,
)
from nostro.projections.pipeline.answers import (
    Balances,
    account_results,
    check_balances,
    transfer_results,
    with_balances,
)
from nostro.projections.queries.filters import account_selection, query_selection
from nostro.projections.tigerbeetle.errors import (
    BalancesUnknown,
    ClusterError,
    SessionClosed,
)
from nostro.projections.tigerbeetle.ledger.change_reading import ChangeReading, balances_after
from nostro.projections.tigerbeetle.ledger.creation import create
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.session.effects import Steps
from nostro.projections.tigerbeetle.session.exchange import Exchange
from nostro.projections.tigerbeetle.session.paged_queries import (
    ACCOUNT_BALANCE,
    balances_from_rows,
    look_up,
    select,
)


class Requests:
    """The methods of the ledger. Whoever takes the steps waits in a thread or in a task."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def probe(self) -> Steps[None]:
        """Nothing, once the cluster has answered."""
        yield from look_up(self._exchange, Operation.LOOKUP_ACCOUNTS, [1], ACCOUNT)

    def create_accounts(self, accounts: Sequence[Account] | Rows) -> Steps[Any]:
        results = yield from create(self._exchange, RecordKind.ACCOUNTS, account_rows(accounts))
        return results if isinstance(accounts, np.ndarray) else account_results(results)

    def create_transfers(
        self, transfers: Sequence[Transfer] | Rows, *, balances: bool = False
    ) -> Steps[Any]:
        rows = transfer_rows(transfers)
        check_balances(transfers, balances=balances)
        results = yield from create(self._exchange, RecordKind.TRANSFERS, rows)
        if isinstance(transfers, np.ndarray):
            return results
        if not balances:
            return transfer_results(results)
        return with_balances(results, (yield from self._balances_after(results)))

    def _balances_after(self, results: Rows) -> Steps[list[tuple[Balances, ...]]]:
        created = results["timestamp"][results["status"] == CREATED].tolist()
        cause: ClusterError = SessionClosed()
        try:
            return (yield from balances_after(self._exchange, created))
        except LedgerClosed:
            pass
        except ClusterError as error:
            cause = error
        raise BalancesUnknown("transfers", len(results), (), results, cause)

    def lookup_accounts(self, ids: Iterable[int]) -> Steps[list[Account]]:
        wanted = check_ids(ids)
        rows = yield from look_up(self._exchange, Operation.LOOKUP_ACCOUNTS, wanted, ACCOUNT)
        return accounts_from_rows(rows)

    def lookup_transfers(self, ids: Iterable[int]) -> Steps[list[Transfer]]:
        wanted = check_ids(ids)
        rows = yield from look_up(self._exchange, Operation.LOOKUP_TRANSFERS, wanted, TRANSFER)
        return transfers_from_rows(rows)

    def get_account_transfers(self, filter: AccountFilter) -> Steps[list[Transfer]]:
        selection = account_selection(filter)
        rows = yield from select(
            self._exchange, Operation.GET_ACCOUNT_TRANSFERS, selection, TRANSFER
        )
        return transfers_from_rows(rows)

    def get_account_balances(self, filter: AccountFilter) -> Steps[list[AccountBalance]]:
        selection = account_selection(filter)
        rows = yield from select(
            self._exchange, Operation.GET_ACCOUNT_BALANCES, selection, ACCOUNT_BALANCE
        )
        return balances_from_rows(rows)

    def query_accounts(self, query_filter: QueryFilter) -> Steps[list[Account]]:
        selection = query_selection(query_filter)
        rows = yield from select(self._exchange, Operation.QUERY_ACCOUNTS, selection, ACCOUNT)
        return accounts_from_rows(rows)

    def query_transfers(self, query_filter: QueryFilter) -> Steps[list[Transfer]]:
        selection = query_selection(query_filter)
        rows = yield from select(self._exchange, Operation.QUERY_TRANSFERS, selection, TRANSFER)
        return transfers_from_rows(rows)

    def read_changes(
        self, *, timestamp_min: int, follow: bool, timeout_seconds: float | None
    ) -> ChangeReading:
        return ChangeReading(
            self._exchange,
            timestamp_min=timestamp_min, follow=follow, timeout_seconds=timeout_seconds,
        )  # fmt: skip
