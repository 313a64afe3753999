"""Deciding a few plain transfers, when every one of them is sure to succeed: a shortcut.

The rules in :mod:`transfer_rules` are the only source of truth. This is for requests of
which it is easy to show that the rules would say CREATED throughout: no flags, ids that are new
because they are larger than any before, existing accounts of one ledger without limits, and amounts
far from any overflow. Everything else is left to the rules, and many rows to
:mod:`fast_path_columns`. A test feeds both ways the same requests and demands the same results,
journal bytes and state.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from nostro.journal.model import AMOUNT_MAX, TRANSFER, Rows
from nostro.journal.rows import WORDS_OF_ROW, with_timestamps
from nostro.projections.deciding.decision import Decision
from nostro.projections.deciding.frontier import FastDraft, Frontier
from nostro.projections.rules.values import CLOSED, CREDITS_LIMITED, DEBITS_LIMITED
from nostro.projections.state.accounts import HIGH_WORDS, LEDGER_AND_FLAGS, WORDS

HIGH_SAFE: Final = 2**62
"""Balances with smaller high words cannot overflow, whatever is in flight that is not unusual."""
_LEDGER_AND_RESTRICTED: Final = (DEBITS_LIMITED | CREDITS_LIMITED | CLOSED) << 48 | 0xFFFFFFFF
"""Of the word that holds them both, a ledger, and the flags that keep an account out."""


def decide_by_rows(
    rows: Rows, frontier: Frontier, *, timestamp_first: int
) -> tuple[Decision, FastDraft] | None:
    """The decision on ``TRANSFER[n]`` if all of it is sure to be created, else None.

    One by one: for a few. Ids must rise.
    """
    if frontier.unusual:  # the table does not show yet what those do to an account
        return None
    all_low = frontier.table.high_max < HIGH_SAFE
    slots = frontier.table.slots
    id_min, id_max = 0, frontier.id_max
    postings: list[tuple[int, int, int]] = []
    data = rows.tobytes()
    for (
        id_low, id_high, debit_low, debit_high, credit_low, credit_high, amount, amount_high,
        pending_low, pending_high, _, _, _, _, timeout, ledger, code, flags, time,
    ) in WORDS_OF_ROW.iter_unpack(data):  # fmt: skip
        if flags or pending_low or pending_high or timeout or time or amount_high:
            return None
        id_ = id_low | id_high << 64
        debit = slots.get(debit_low | debit_high << 64)
        credit = slots.get(credit_low | credit_high << 64)
        if debit is None or credit is None or debit == credit or not id_max < id_ < AMOUNT_MAX:
            return None
        if not (ledger and code):
            return None
        words = frontier.table.flat  # after the slots: another thread may add accounts meanwhile
        for at in (debit * WORDS, credit * WORDS):
            if words[at + LEDGER_AND_FLAGS] & _LEDGER_AND_RESTRICTED != ledger:
                return None
            if not all_low and max(words[at + high] for high in HIGH_WORDS) >= HIGH_SAFE:
                return None
        id_min = id_min or id_
        id_max = id_
        postings.append((debit, credit, amount))
    last = timestamp_first + len(postings) - 1
    stamped = with_timestamps(data, range(timestamp_first, last + 1))
    happened = np.frombuffer(stamped, TRANSFER)
    decision = Decision(None, happened, None, timestamp_first, last, postings)
    return decision, FastDraft(frontier, happened, id_min, id_max)
