"""Deciding many transfers by columns, when every one of them is sure to succeed: a shortcut.

The rules in :mod:`transfer_rules` are the only source of truth. This finds out, for a
whole request at a time, whether they would say CREATED throughout: the ids are new; the accounts
exist, agree in ledger and are open; limits are far enough away, whatever the order; pending
transfers that are posted or voided are open, each named once, and agree with what is asked. If so
it fills in what the rules would. Anything else is left to them, the whole request of it. A test
feeds both ways the same requests and demands the same results, journal bytes and state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.journal.model import AMOUNT_MAX, TIMESTAMP_MAX, Rows
from nostro.journal.rows import copy_rows
from nostro.projections.deciding.decision import LINKED, Decision
from nostro.projections.deciding.fast_path_rows import HIGH_SAFE
from nostro.projections.deciding.frontier import FastDraft, Frontier
from nostro.projections.rules.posting import AccountSlots
from nostro.projections.rules.values import (
    CLOSED,
    CLOSING,
    CREDITS_LIMITED,
    DEBITS_LIMITED,
    NS_PER_SECOND,
    PENDING,
    POST,
    RESOLVING,
    TRANSFER_IMPORTED,
    VOID,
)
from nostro.projections.state.accounts import (
    CREDITS_PENDING,
    CREDITS_POSTED,
    DEBITS_PENDING,
    DEBITS_POSTED,
    HIGH_WORDS,
    LEDGER_AND_FLAGS,
    WORDS,
    Accounts,
)
from nostro.projections.state.id_map import MISSING
from nostro.projections.state.u128 import Words

ROWS_MIN: Final = 64
"""From so many on, columns are faster than one by one."""

_ID, _DEBIT, _CREDIT, _AMOUNT, _PENDING_ID, _DATA_128, _DATA_64 = 0, 2, 4, 6, 8, 10, 12
"""Where a row, seen as ``u64[16]``, holds its fields."""
_DATA_32_AND_TIMEOUT, _LEDGER_CODE_FLAGS, _TIMESTAMP = 13, 14, 15
_ALLOWED: Final = LINKED | PENDING | RESOLVING | TRANSFER_IMPORTED
_LEDGER: Final = np.uint64(2**32 - 1)
_CODE: Final = np.uint64((2**16 - 1) << 32)
_LEDGER_AND_CODE: Final = _LEDGER | _CODE
_FLAGS_SHIFT: Final = np.uint64(48)
_32: Final = np.uint64(32)
_LOW_32: Final = np.uint64(2**32 - 1)
_ALL_ONES: Final = np.uint64(2**64 - 1)
_HIGH_AMOUNT: Final = np.uint64(2**16)
"""Amounts with a smaller high word, 65,536 of them at once, do not come near an overflow."""
_CLOSED: Final = np.uint64(CLOSED << 48)
_LIMITED: Final = np.uint64((DEBITS_LIMITED | CREDITS_LIMITED) << 48)
_LIMITS: Final = (
    (DEBITS_LIMITED, DEBITS_POSTED, DEBITS_PENDING, CREDITS_POSTED),
    (CREDITS_LIMITED, CREDITS_POSTED, CREDITS_PENDING, DEBITS_POSTED),
)
"""For debits and credits: the flag that limits them, two balances that together must not exceed
the third."""
_SMALL: Final = 2**62
"""Three numbers that are smaller add up in 64 bits."""


class _RequestColumns(NamedTuple):
    """A request's rows, to be filled in, and the columns that are looked at more than once."""

    rows: Rows
    words: Words
    """The same as ``u64[n, 16]``."""
    word: Words
    """Ledger, code and flags, ``u64[n]``."""
    flags: Words
    """``u64[n]``."""
    every_flag: int
    """Those that some row has."""


def decide_by_columns(
    rows: Rows, frontier: Frontier, *, timestamp_first: int, wait_for_all: Callable[[], None]
) -> tuple[Decision, FastDraft] | None:
    """The decision on ``TRANSFER[n]`` if all of it is sure to be created, else None.

    Args:
        wait_for_all: waits until nothing is in flight; called if balances, pending transfers or
            ids that were used matter.
    """
    if frontier.unusual:  # the table does not show yet what those do to an account
        return None
    request = _request(rows)
    if request is None:
        return None
    words = request.words
    bounds = _bounds_of_new(words[:, _ID : _ID + 2], frontier, wait_for_all)
    if bounds is None:
        return None
    timestamps = np.arange(timestamp_first, timestamp_first + len(rows), dtype=np.uint64)
    if request.every_flag & RESOLVING:
        wait_for_all()
        if not _resolve(request, frontier, timestamps):
            return None
    elif words[:, _PENDING_ID : _PENDING_ID + 2].any():
        return None
    if np.any(words[:, _AMOUNT + 1] >= _HIGH_AMOUNT):
        return None
    slots = _slots(words, frontier.table)
    if slots is None or not _accounts_allow(request, frontier.table, slots, wait_for_all):
        return None
    if request.every_flag & TRANSFER_IMPORTED:
        if not _import_allows(request, frontier, slots, timestamp_batch=int(timestamps[-1])):
            return None
        timestamps = words[:, _TIMESTAMP].copy()
    elif words[:, _TIMESTAMP].any() or not _timeouts_allow(request, int(timestamps[-1])):
        return None
    words[:, _TIMESTAMP] = timestamps
    decision = Decision(None, request.rows, None, int(timestamps[0]), int(timestamps[-1]), slots)
    return decision, FastDraft(frontier, request.rows, *bounds)


def _request(rows: Rows) -> _RequestColumns | None:
    """The rows, if none has flags that are left to the rules."""
    happened = copy_rows(rows)
    words = happened.view(np.uint64).reshape(-1, WORDS)
    word = words[:, _LEDGER_CODE_FLAGS].copy()
    flags = word >> _FLAGS_SHIFT
    every = int(np.bitwise_or.reduce(flags))
    resolving = every & RESOLVING
    if (
        every & ~_ALLOWED
        or int(flags[-1]) & LINKED  # a chain that does not end
        or (every & TRANSFER_IMPORTED and np.any(flags != np.uint64(TRANSFER_IMPORTED)))
        or (resolving == RESOLVING and _any_with(flags, RESOLVING))
        or (resolving & POST and every & PENDING and _any_with(flags, POST | PENDING))
        or (resolving & VOID and every & PENDING and _any_with(flags, VOID | PENDING))
    ):
        return None
    return _RequestColumns(happened, words, word, flags, every)


def _any_with(flags: Words, wanted: int) -> bool:
    return bool(np.any(flags & np.uint64(wanted) == np.uint64(wanted)))


def _bounds_of_new(
    ids: Words, frontier: Frontier, wait_for_all: Callable[[], None]
) -> tuple[int, int] | None:
    """The least and the greatest id, if all differ and none was used before."""
    low, high = ids[:, 0].copy(), ids[:, 1].copy()
    if not _increase(low, high):
        order = np.lexsort((low, high))
        low, high = low[order], high[order]
        if not _increase(low, high):
            return None
    least = int(high[0]) << 64 | int(low[0])
    greatest = int(high[-1]) << 64 | int(low[-1])
    if not least or greatest == AMOUNT_MAX:
        return None
    if least <= frontier.id_max:
        if frontier.may_use(least, greatest):
            wait_for_all()
        if frontier.index.contains_any(ids):
            return None
    return least, greatest


def _increase(low: Words, high: Words) -> bool:
    rises = high[1:] > high[:-1]
    rises |= (high[1:] == high[:-1]) & (low[1:] > low[:-1])
    return bool(rises.all())


def _resolve(request: _RequestColumns, frontier: Frontier, timestamps: Words) -> bool:
    """Fill in what posts and voids take from their pending transfers; False if one is in doubt."""
    chosen = np.flatnonzero(request.flags & np.uint64(RESOLVING))
    asked = request.words[chosen]
    others = np.ones(len(request.words), np.bool_)
    others[chosen] = False
    numbers = frontier.pending_transfers.numbers_of(asked[:, _PENDING_ID : _PENDING_ID + 2])
    if (
        numbers.min() == MISSING
        or len(np.unique(numbers)) < len(numbers)
        or request.words[others, _PENDING_ID : _PENDING_ID + 2].any()
    ):
        return False
    pendings = frontier.pending_transfers.rows_at(numbers).view(np.uint64).reshape(-1, WORDS)
    is_void = request.flags[chosen] & np.uint64(VOID) != 0
    if not _pendings_allow(asked, pendings, is_void, timestamps[chosen]):
        return False
    whole = _takes_whole(asked, is_void)
    asked[:, _DEBIT:_AMOUNT] = pendings[:, _DEBIT:_AMOUNT]
    asked[whole, _AMOUNT : _AMOUNT + 2] = pendings[whole, _AMOUNT : _AMOUNT + 2]
    _fill_in_data(asked, pendings)
    flags = asked[:, _LEDGER_CODE_FLAGS] & ~_LEDGER_AND_CODE
    asked[:, _LEDGER_CODE_FLAGS] = flags | pendings[:, _LEDGER_CODE_FLAGS] & _LEDGER_AND_CODE
    request.words[chosen] = asked
    request.word[chosen] = asked[:, _LEDGER_CODE_FLAGS]
    return True


def _pendings_allow(
    asked: Words, pendings: Words, is_void: npt.NDArray[np.bool_], timestamps: Words
) -> bool:
    """Whether open pending transfers agree with what posts and voids ask of them."""
    flags = pendings[:, _LEDGER_CODE_FLAGS] >> _FLAGS_SHIFT
    if np.any(flags & np.uint64(CLOSING)) or pendings[:, _AMOUNT + 1].any():
        return False  # they reopen accounts, or are compared in 128 bits
    timeouts = pendings[:, _DATA_32_AND_TIMEOUT] >> _32
    expiries = pendings[:, _TIMESTAMP] + timeouts * np.uint64(NS_PER_SECOND)
    if np.any((timeouts != 0) & (expiries <= timestamps)):
        return False
    if np.any(asked[:, _DATA_32_AND_TIMEOUT] >> _32):
        return False
    for column in (_DEBIT, _CREDIT):
        named = asked[:, column : column + 2].any(axis=1)
        if np.any(asked[named, column : column + 2] != pendings[named, column : column + 2]):
            return False
    for mask in (_LEDGER, _CODE):
        given = asked[:, _LEDGER_CODE_FLAGS] & mask
        if np.any((given != 0) & (given != pendings[:, _LEDGER_CODE_FLAGS] & mask)):
            return False
    low, reserved = asked[:, _AMOUNT], pendings[:, _AMOUNT]
    fits = (asked[:, _AMOUNT + 1] == 0) & np.where(is_void, low == reserved, low <= reserved)
    return bool(np.all(fits | _takes_whole(asked, is_void)))


def _takes_whole(asked: Words, is_void: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of them name no amount: zero when voiding, all ones when posting."""
    wanted = np.where(is_void, np.uint64(0), _ALL_ONES)
    whole: npt.NDArray[np.bool_] = (asked[:, _AMOUNT] == wanted) & (asked[:, _AMOUNT + 1] == wanted)
    return whole


def _fill_in_data(asked: Words, pendings: Words) -> None:
    """User data left zero is the pending transfer's."""
    empty = ~asked[:, _DATA_128 : _DATA_128 + 2].any(axis=1)
    asked[empty, _DATA_128 : _DATA_128 + 2] = pendings[empty, _DATA_128 : _DATA_128 + 2]
    empty = asked[:, _DATA_64] == 0
    asked[empty, _DATA_64] = pendings[empty, _DATA_64]
    empty = asked[:, _DATA_32_AND_TIMEOUT] == 0
    asked[empty, _DATA_32_AND_TIMEOUT] = pendings[empty, _DATA_32_AND_TIMEOUT] & _LOW_32


def _slots(words: Words, accounts: Accounts) -> AccountSlots | None:
    """The slots of debit and credit accounts, if all of them exist."""
    debits = accounts.slots_of(words[:, _DEBIT : _DEBIT + 2])
    credits = accounts.slots_of(words[:, _CREDIT : _CREDIT + 2])
    if min(debits.min(), credits.min()) == MISSING or np.any(debits == credits):
        return None
    return AccountSlots(debits, credits)


def _accounts_allow(
    request: _RequestColumns,
    accounts: Accounts,
    slots: AccountSlots,
    wait_for_all: Callable[[], None],
) -> bool:
    """Whether accounts and rows agree in ledger, and no account is closed or near its limit."""
    if not (request.word & _CODE).all():
        return False
    ledgers = request.word & _LEDGER
    limited = []
    for side in slots:
        word = accounts.words[side, LEDGER_AND_FLAGS]
        if np.any(word & (_LEDGER | _CLOSED) != ledgers):
            return False
        if accounts.high_max >= HIGH_SAFE and any(
            np.any(accounts.words[side, high] >= np.uint64(HIGH_SAFE)) for high in HIGH_WORDS
        ):
            return False
        limited.append(word & _LIMITED)
    if not any(side.any() for side in limited):
        return True
    wait_for_all()
    return _limits_allow(request, accounts, slots, limited)


def _limits_allow(
    request: _RequestColumns, accounts: Accounts, slots: AccountSlots, limited: list[Words]
) -> bool:
    """Whether no limit is reached though all that leaves an account should leave it first."""
    new = request.flags & np.uint64(RESOLVING) == 0  # what is resolved was reserved before
    for side, flags, (limit, taken, reserved, given) in zip(slots, limited, _LIMITS, strict=True):
        chosen = np.flatnonzero(new & (flags & np.uint64(limit << 48) != 0))
        if not len(chosen):
            continue
        amounts = request.words[chosen, _AMOUNT]
        if request.words[chosen, _AMOUNT + 1].any() or len(chosen) * int(amounts.max()) >= _SMALL:
            return False
        touched, place = np.unique(side[chosen], return_inverse=True)
        sums = np.zeros(len(touched), np.uint64)
        np.add.at(sums, place, amounts)
        words = accounts.words[touched]
        if words[:, HIGH_WORDS].any() or int(words[:, (taken, reserved)].max()) >= _SMALL:
            return False
        if np.any(words[:, taken] + words[:, reserved] + sums > words[:, given]):
            return False
    return True


def _timeouts_allow(request: _RequestColumns, timestamp_last: int) -> bool:
    """Whether only pending transfers have timeouts, which end before time does."""
    timeouts = request.words[:, _DATA_32_AND_TIMEOUT] >> _32
    longest = int(timeouts.max())
    return not longest or (
        timestamp_last + longest * NS_PER_SECOND <= TIMESTAMP_MAX
        and not np.any(timeouts[request.flags & np.uint64(PENDING) == 0])
    )


def _import_allows(
    request: _RequestColumns, frontier: Frontier, slots: AccountSlots, *, timestamp_batch: int
) -> bool:
    """Whether all rows come at times that rise and suit their accounts.

    They must be later than the last transfer and than both accounts, and none an account's own.
    """
    times = request.words[:, _TIMESTAMP]
    accounts = frontier.table.rows["timestamp"]
    return not (
        int(times[0]) <= frontier.transfers_timestamp_max
        or int(times[-1]) >= timestamp_batch
        or np.any(request.words[:, _DATA_32_AND_TIMEOUT] >> _32)
        or np.any(times[1:] <= times[:-1])
        or np.any(times <= accounts[slots.debits])
        or np.any(times <= accounts[slots.credits])
        or frontier.accounts_timestamp_max != int(accounts[-1])  # one is in flight
        or np.any(accounts[np.searchsorted(accounts, times).clip(max=len(accounts) - 1)] == times)
    )
