"""Balances that were read while the cluster went on: were they the journal's at some moment?

A cluster that is being written to has no moment at which all of it can be read. But the balances of
one account, read between two moments, must be those that the journal gave it at one in between.
"""

from __future__ import annotations

from typing import Final

from nostro.journal.format.codec import RecordKind
from nostro.journal.model import Rows
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.rows import field_ints
from nostro.projections.checkpoints.restore import apply_events, apply_record
from nostro.projections.rules.account_rules import CLOSED, AccountState, TransferRow
from nostro.projections.state.ledger_state import LedgerState, Trace

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

    def look(_: TransferRow, *accounts: AccountState) -> None:
        for account in accounts:
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
        _apply_rest(state, record, look)
    return fitted


def _apply_rest(state: LedgerState, record: Record, trace: Trace) -> None:
    """Fold in what of a record the state does not hold yet."""
    done = state.position + 1 - record.position_first
    if done <= 0:
        apply_record(state, record, trace=trace)
        return
    if record.kind is not RecordKind.EVENTS:
        statuses = record.statuses
        state.apply(
            record.kind,
            record.rows[done:],
            statuses if statuses is None else statuses[done:],
            positions=range(state.position + 1, record.position_last + 1),
            timestamp=record.timestamp_max,
            trace=trace,
        )
        return
    apply_events(state, list(record.events())[done:], trace=trace)
