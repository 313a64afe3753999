"""Balances that were read while the cluster went on: were they the journal's at some moment?

A cluster that is being written to has no moment at which all of it can be read. But the balances of
one account, read between two moments, must be those that the journal gave it at one in between.
"""

from __future__ import annotations

from typing import Final

from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.rows import field_ints
from nostro.projections.checkpoints.restore import apply_record
from nostro.projections.rules.posting import AppliedTransfer
from nostro.projections.rules.values import CLOSED, AccountState
from nostro.projections.state.ledger_state import LedgerState

BALANCES: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
Moving = tuple[int, int, int, int, bool]
"""What changes of an account: its four balances, and whether it is closed."""


def moving(rows: Rows) -> list[Moving]:
    """What changes, of each of ``ACCOUNT[n]``."""
    columns = [field_ints(rows[name]) for name in BALANCES]
    closed = (rows["flags"] & CLOSED != 0).tolist()
    return list(zip(*columns, closed, strict=True))


def fitting(
    state: LedgerState, reader: Reader, journal: Rows, cluster: Rows, *, position_max: int
) -> Rows:
    """``journal``, each row with the balances it had when they were those in ``cluster``, if ever.

    Args:
        state: of the moment that ``journal`` is of; it is moved on.
        journal: ``ACCOUNT[n]``.
        cluster: the same accounts, read between that moment and ``position_max``.
    """
    fitted = journal.copy()
    waiting: dict[int, tuple[int, Moving]] = {}
    before = moving(journal)
    for index, (id_, seen) in enumerate(
        zip(field_ints(journal["id"]), moving(cluster), strict=True)
    ):
        if seen != before[index]:
            waiting[state.accounts.slots[id_]] = index, seen

    def look(account: AccountState) -> None:
        index, seen = waiting.get(account.slot, (-1, None))
        if seen == (*account.balances(), bool(account.flags & CLOSED)):
            del waiting[account.slot]
            for name in BALANCES:
                fitted[name][index] = cluster[name][index]
            fitted["flags"][index] ^= journal["flags"][index] & CLOSED
            fitted["flags"][index] |= cluster["flags"][index] & CLOSED

    for record in reader.records(Cursor(position=state.position + 1)):
        if record.position_first > position_max or not waiting:
            break
        applied: list[AppliedTransfer] = []
        apply_record(state, record, applied=applied)
        for _, debit, credit in applied:
            look(debit)
            look(credit)
    return fitted
