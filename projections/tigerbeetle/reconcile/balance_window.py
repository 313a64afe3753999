"""Comparing balances that were read while the cluster kept changing.

All accounts of a cluster in use cannot be read at one point in time. But the balances of one
account, read between two positions, must be the journal's balances at some position in between.
"""

from __future__ import annotations

from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.rows import field_ints
from nostro.projections.checkpoints.restore import apply_record
from nostro.projections.rules.posting import AppliedTransfer
from nostro.projections.rules.values import CLOSED, AccountState
from nostro.projections.state.ledger_state import LedgerState
from nostro.projections.tigerbeetle.rows.translation import BALANCES

Balances = tuple[int, int, int, int, bool]
"""The changing fields of an account: its four balances, and whether it is closed."""


def balances_at_a_match(
    state: LedgerState, reader: Reader, journal: Rows, cluster: Rows, *, position_max: int
) -> Rows:
    """``journal`` with each row's balances at a position where they equal the cluster's, if any.

    Args:
        state: the state that ``journal`` shows; this call applies later records to it.
        journal: ``ACCOUNT[n]``.
        cluster: the same accounts, read between that state and ``position_max``.
    """
    matched = journal.copy()
    waiting: dict[int, tuple[int, Balances]] = {}
    before = _balances(journal)
    for index, (id_, seen) in enumerate(
        zip(field_ints(journal["id"]), _balances(cluster), strict=True)
    ):
        if seen != before[index]:
            waiting[state.accounts.slots[id_]] = index, seen

    def look(account: AccountState) -> None:
        index, seen = waiting.get(account.slot, (-1, None))
        if seen == (*account.balances(), bool(account.flags & CLOSED)):
            del waiting[account.slot]
            for name in BALANCES:
                matched[name][index] = cluster[name][index]
            matched["flags"][index] ^= journal["flags"][index] & CLOSED
            matched["flags"][index] |= cluster["flags"][index] & CLOSED

    for record in reader.records(Cursor(position=state.position + 1)):
        if record.position_first > position_max or not waiting:
            break
        applied: list[AppliedTransfer] = []
        apply_record(state, record, applied=applied)
        for one in applied:
            look(one.debit)
            look(one.credit)
    return matched


def _balances(rows: Rows) -> list[Balances]:
    columns = [field_ints(rows[name]) for name in BALANCES]
    closed = (rows["flags"] & CLOSED != 0).tolist()
    return list(zip(*columns, closed, strict=True))
