"""Deciding a whole request: chains, the imported flag, timestamps; each event by the rules.

Pure: it reads and changes a draft, and neither a clock nor a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.model import (
    CREATE_RESULT,
    REFUSED_FOR_GOOD,
    ROW_BYTES,
    TIMESTAMP_MAX,
    TRANSFER,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    Rows,
    TransferFlags,
)
from nostro.journal.rows import columns, copy_rows, pack_transfer
from nostro.projections.deciding.frontier import Draft
from nostro.projections.rules.account_rules import account_status
from nostro.projections.rules.posting import AppliedTransfer, Precomputed
from nostro.projections.rules.transfer_rules import transfer_outcome
from nostro.projections.rules.values import BALANCING, RESOLVING, AccountRow, TransferRow
from nostro.projections.state.ledger_state import LedgerState

LINKED: Final = int(AccountFlags.LINKED)
_REWRITTEN: Final = RESOLVING | BALANCING
"""Transfers with one of these flags take effect with other fields than were asked for."""
_FAILING_FOR_GOOD: Final = frozenset(int(status) for status in REFUSED_FOR_GOOD)
_FAILING: Final = np.array(sorted(_FAILING_FOR_GOOD), np.uint32)
_ACCOUNT_EXISTS: Final = int(CreateAccountStatus.EXISTS)
_TRANSFER_EXISTS: Final = int(CreateTransferStatus.EXISTS)


class Decision(NamedTuple):
    """The answer to a request, and what of it goes into the journal."""

    results: npt.NDArray[np.void] | None
    """``CREATE_RESULT[n]``, one for each event asked for. None: each of them was created."""
    rows: Rows
    """The events that happened, with their timestamps; may be empty."""
    statuses: npt.NDArray[np.uint32] | None
    """``u32`` for each of ``rows``: CREATED, or why it was refused for good. None: all CREATED."""
    timestamp_min: int
    timestamp_max: int
    precomputed: Precomputed | None = None
    """What is known of ``rows``, if it was found out while deciding and all of them take effect."""

    @property
    def may_stay_unfolded(self) -> bool:
        """Whether nobody needs to know of it until the next request or look-up.

        The expiry of a pending transfer comes without either.
        """
        if self.precomputed is None or isinstance(self.precomputed, list):
            return self.precomputed is not None
        return not self.rows["timeout"].any()

    @property
    def created(self) -> int:
        """How many of ``rows`` take effect."""
        statuses = self.statuses
        return len(self.rows) if statuses is None else int(np.count_nonzero(statuses == CREATED))

    def fold_into(
        self, state: LedgerState, position_last: int, applied: list[AppliedTransfer] | None = None
    ) -> None:
        """Change ``state`` as ``rows`` do, which end at that position; see its ``apply``."""
        positions = range(position_last - len(self.rows) + 1, position_last + 1)
        kind = RecordKind.TRANSFERS if self.rows.dtype == TRANSFER else RecordKind.ACCOUNTS
        state.apply(
            kind, self.rows, self.statuses, positions=positions, timestamp=self.timestamp_max,
            applied=applied, precomputed=self.precomputed,
        )  # fmt: skip

    def answer(self) -> npt.NDArray[np.void]:
        """``CREATE_RESULT[n]``, one for each event asked for."""
        if self.results is not None:
            return self.results
        results = np.zeros(len(self.rows), CREATE_RESULT)
        results["timestamp"] = self.rows["timestamp"]
        results["status"] = CREATED
        return results


def decide_accounts(rows: Rows, draft: Draft, *, timestamp_first: int) -> Decision:
    """Decide ``ACCOUNT[n]``; event i happens at ``timestamp_first + i`` unless imported."""

    def decide(row: AccountRow, timestamp: int) -> tuple[int, int]:
        status = account_status(row, draft)
        if status == CREATED:
            timestamp = row.timestamp or timestamp
            draft.create_account(row._replace(timestamp=timestamp))
        elif status == _ACCOUNT_EXISTS:
            existing = draft.existing_account(row.id)
            if existing is not None:
                timestamp = existing.timestamp
        return status, timestamp

    return _decide(
        rows,
        map(AccountRow._make, columns(rows)),
        draft,
        decide,
        CreateAccountStatus,
        int(AccountFlags.IMPORTED),
        timestamp_first,
    )


def decide_transfers(rows: Rows, draft: Draft, *, timestamp_first: int) -> Decision:
    """Decide ``TRANSFER[n]``; event i happens at ``timestamp_first + i`` unless imported."""
    rewritten: dict[int, TransferRow] = {}

    def decide(row: TransferRow, timestamp: int) -> tuple[int, int]:
        outcome = transfer_outcome(row, timestamp, draft)
        if isinstance(outcome, TransferRow):
            draft.post(outcome)
            if row.flags & _REWRITTEN:
                rewritten[timestamp - timestamp_first] = outcome
            return CREATED, outcome.timestamp
        if outcome == _TRANSFER_EXISTS:
            existing = draft.existing_transfer(row.id)
            if isinstance(existing, TransferRow):
                timestamp = existing.timestamp
        elif outcome in _FAILING_FOR_GOOD:
            draft.fail(row.id)
        return outcome, timestamp

    decision = _decide(
        rows,
        map(TransferRow._make, columns(rows)),
        draft,
        decide,
        CreateTransferStatus,
        int(TransferFlags.IMPORTED),
        timestamp_first,
    )
    if rewritten:
        _rewrite(decision, rewritten)
    return decision


def _rewrite(decision: Decision, rewritten: dict[int, TransferRow]) -> None:
    """Put resolved transfers, by their place in the request, in place of what was asked for."""
    statuses = decision.answer()["status"]
    places = np.cumsum((statuses == CREATED) | np.isin(statuses, _FAILING)) - 1
    table = decision.rows.view(np.uint8).reshape(-1, ROW_BYTES)
    for index, row in rewritten.items():
        if statuses[index] == CREATED:  # and not taken back with its chain
            table[places[index]] = np.frombuffer(pack_transfer(row), np.uint8)


def _decide(
    rows: Rows,
    items: Iterable[Any],
    draft: Draft,
    decide: Callable[[Any, int], tuple[int, int]],
    names: type[CreateAccountStatus | CreateTransferStatus],
    imported: int,
    timestamp_first: int,
) -> Decision:
    """The loop over a request's events: what concerns the batch, then the rules."""
    count = len(rows)
    timestamp_batch = timestamp_first + count - 1
    batch_imported = bool(count) and bool(int(rows["flags"][0]) & imported)
    statuses: list[int] = []
    timestamps: list[int] = []
    chain: int | None = None
    broken = False
    for index, item in enumerate(items):
        timestamp = timestamp_first + index
        linked = item.flags & LINKED
        if linked and chain is None:
            chain, broken = index, False
            draft.open_scope()
        if linked and index == count - 1:
            status = int(names.LINKED_EVENT_CHAIN_OPEN)
        elif broken:
            status = int(names.LINKED_EVENT_FAILED)
        else:
            untimely = None
            if batch_imported or item.timestamp or item.flags & imported:
                untimely = _untimely(item, names, imported, batch_imported, timestamp_batch)
            if untimely is None:
                status, timestamp = decide(item, timestamp)
            else:
                status = untimely
        statuses.append(status)
        timestamps.append(timestamp)
        if chain is None:
            continue
        if status != CREATED and not broken:
            broken = True
            draft.close_scope(keep=False)
            statuses[chain:index] = [int(names.LINKED_EVENT_FAILED)] * (index - chain)
        if not linked or index == count - 1:
            if not broken:
                draft.close_scope(keep=True)
            chain, broken = None, False
    return _collect(rows, statuses, timestamps)


def _untimely(
    item: Any,
    names: type[CreateAccountStatus | CreateTransferStatus],
    imported: int,
    batch_imported: bool,
    timestamp_batch: int,
) -> int | None:
    """The first event decides whether the batch is imported; see what is wrong with this one."""
    if not item.flags & imported:
        if batch_imported:
            return int(names.IMPORTED_EVENT_EXPECTED)
        return int(names.TIMESTAMP_MUST_BE_ZERO) if item.timestamp else None
    if not batch_imported:
        return int(names.IMPORTED_EVENT_NOT_EXPECTED)
    if not 1 <= item.timestamp <= TIMESTAMP_MAX:
        return int(names.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE)
    if item.timestamp >= timestamp_batch:
        return int(names.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE)
    return None


def _collect(rows: Rows, statuses: list[int], timestamps: list[int]) -> Decision:
    results = np.empty(len(rows), CREATE_RESULT)
    results["timestamp"] = timestamps
    results["status"] = statuses
    results["reserved"] = 0
    if statuses.count(CREATED) == len(statuses):
        happened = copy_rows(rows)
        happened["timestamp"] = timestamps
        return Decision(results, happened, None, min(timestamps), max(timestamps))
    kept = results["status"] == CREATED
    refused = np.zeros(len(rows), bool)
    if rows.dtype == TRANSFER:
        refused = np.isin(results["status"], _FAILING)
        kept |= refused
    happened = rows[kept]
    times = happened["timestamp"] = results["timestamp"][kept]
    return Decision(
        results,
        happened,
        results["status"][kept] if refused.any() else None,
        int(times.min(initial=TIMESTAMP_MAX)),
        int(times.max(initial=0)),
    )
