"""Creating accounts and transfers in a cluster, so that sending again is not seen.

When a request is sent again, what its first sending did looks like a refusal: ``exists``. It is
answered as created, with its first timestamp, only where nothing else can have been meant: the
request was indeed sent again, the cluster created the event after our first sending (whatever its
clock had not reached by then), and the id stands in the request for the first time. A chain breaks
at its first member that exists; it was created if all of it is there, side by side.

What was refused for good the first time is ``id_already_failed`` the second: that it moved nothing
is certain, and why is lost with the first answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import InvalidField, LedgerClosed
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import (
    ACCOUNT,
    CREATE_RESULT,
    TRANSFER,
    AccountFlags,
    CreateAccountStatus,
    CreateTransferStatus,
    Rows,
    TransferFlags,
)
from nostro.journal.rows import copy_rows
from nostro.projections.tigerbeetle.errors import (
    ChainTooLong,
    ClusterError,
    OutcomeUnknown,
    SessionClosed,
)
from nostro.projections.tigerbeetle.operations import Operation
from nostro.projections.tigerbeetle.rows.compare import CLOSED, ids_of
from nostro.projections.tigerbeetle.rows.translation import LINKED, TAKEN_OVER, VOID
from nostro.projections.tigerbeetle.session.effects import Steps
from nostro.projections.tigerbeetle.session.exchange import Exchange, Unanswered

_CREATED: Final = int(CreateTransferStatus.CREATED)
_POST: Final = int(TransferFlags.POST_PENDING_TRANSFER)
_BALANCING: Final = int(TransferFlags.BALANCING_DEBIT | TransferFlags.BALANCING_CREDIT)
_OF_THE_PENDING: Final = tuple(field for field in TAKEN_OVER if field != "amount")
"""What a transfer that posts or voids takes from the pending one, where it says nothing itself."""


class _Kind(NamedTuple):
    """How accounts and transfers differ here."""

    name: str
    create: Operation
    look_up: Operation
    dtype: np.dtype[np.void]
    exists: int
    imported: int


_KINDS: Final = {
    RecordKind.ACCOUNTS: _Kind(
        "accounts", Operation.CREATE_ACCOUNTS, Operation.LOOKUP_ACCOUNTS, ACCOUNT,
        int(CreateAccountStatus.EXISTS), int(AccountFlags.IMPORTED),
    ),
    RecordKind.TRANSFERS: _Kind(
        "transfers", Operation.CREATE_TRANSFERS, Operation.LOOKUP_TRANSFERS, TRANSFER,
        int(CreateTransferStatus.EXISTS), int(TransferFlags.IMPORTED),
    ),
}  # fmt: skip


def create(exchange: Exchange, kind: RecordKind, rows: Rows) -> Steps[Rows]:
    """``CREATE_RESULT[n]`` for ``ACCOUNT[n]`` or ``TRANSFER[n]``, one message after another.

    Raises:
        InvalidField, ChainTooLong, LedgerClosed: nothing was sent.
        OutcomeUnknown: of some rows nothing is known; it says of which.
        ClusterError: nothing was carried out.
    """
    its = _KINDS[kind]
    rows = copy_rows(rows)  # the caller's may change while they are under way
    results = np.zeros(len(rows), CREATE_RESULT)
    for start, end in messages(rows, exchange.configuration.batch_events_max, its.imported):
        try:
            results[start:end] = yield from _create(exchange, its, rows[start:end])
        except (Unanswered, LedgerClosed) as failure:
            is_sent = isinstance(failure, Unanswered) and failure.is_sent
            if isinstance(failure, Unanswered):
                cause: ClusterError = failure.cause
            elif start:
                cause = SessionClosed()
            else:
                raise
            if not is_sent and not start:
                raise cause from None
            ids = tuple(ids_of(rows[start:end])) if is_sent else ()
            raise OutcomeUnknown(its.name, start, ids, results[:start], cause) from None
    return results


def messages(rows: Rows, count_max: int, imported: int) -> list[tuple[int, int]]:
    """Where the messages of a request start and end, in order, no chain cut in two.

    Raises:
        ChainTooLong, InvalidField: it cannot be parted.
    """
    if len(rows) <= count_max:
        return [(0, len(rows))] if len(rows) else []
    flags = rows["flags"]
    mixed = np.flatnonzero((flags ^ flags[0]) & imported)
    if len(mixed):  # all of a message must be imported, or nothing, and so of the request
        reason = f"imported and other events in one request of more than {count_max:,}"
        raise InvalidField("flags", int(flags[mixed[0]]), reason, int(mixed[0]))
    parts, start = [], 0
    while len(rows) - start > count_max:
        ends = np.flatnonzero(flags[start : start + count_max] & LINKED == 0)
        if not len(ends):
            raise ChainTooLong(start, count_max)
        parts.append((start, start + int(ends[-1]) + 1))
        start = parts[-1][1]
    return [*parts, (start, len(rows))]


def _create(exchange: Exchange, its: _Kind, rows: Rows) -> Steps[Rows]:
    known = exchange.timestamp
    answer = yield from exchange.ask(its.create, rows)
    results = np.frombuffer(answer.data, CREATE_RESULT)
    if not answer.is_resent:
        return results
    results = results.copy()
    ours = _ours(its, rows, results, known)
    linked = rows["flags"] & LINKED != 0
    in_chain = linked | np.concatenate(([False], linked[:-1]))
    results["status"][ours & ~in_chain] = _CREATED
    for start, end in _chains(linked):
        if ours[start:end].any():
            yield from _settle_chain(exchange, its, rows[start:end], results[start:end])
    return results


def _ours(its: _Kind, rows: Rows, results: Rows, known: int) -> npt.NDArray[np.bool_]:
    """Which rows exist since our first sending."""
    exists = results["status"] == its.exists
    there = np.flatnonzero(exists | (results["status"] == _CREATED))
    _, first = np.unique(rows["id"][there], axis=0, return_index=True)
    ours = np.zeros(len(rows), np.bool_)
    ours[there[first]] = True
    ours &= exists
    ours &= (results["timestamp"] > known) | (rows["flags"] & its.imported != 0)
    return ours


def _chains(linked: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Where the chains start and end."""
    edges = np.flatnonzero(np.diff(linked.astype(np.int8), prepend=0, append=0))
    for start, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield start, min(last + 1, len(linked))


def _settle_chain(exchange: Exchange, its: _Kind, rows: Rows, results: Rows) -> Steps[None]:
    """Answer a chain as created if it is, all of it. All or nothing of a chain ever is."""
    try:
        answer = yield from exchange.ask(its.look_up, rows["id"].copy())
    except Unanswered as failure:
        raise Unanswered(failure.cause, is_sent=True) from None
    except LedgerClosed:
        raise Unanswered(SessionClosed(), is_sent=True) from None
    found = np.frombuffer(answer.data, its.dtype)
    if len(found) != len(rows) or not all(map(_same, rows, found)):
        return
    times = found["timestamp"]
    if not (rows["flags"] & its.imported).any() and (np.diff(times) != 1).any():
        return
    results["timestamp"] = times
    results["status"] = _CREATED


def _same(wanted: np.void, found: np.void) -> bool:
    """Whether ``found`` is what became of ``wanted``."""
    if wanted.dtype == ACCOUNT:
        fields = "id", "user_data_128", "user_data_64", "user_data_32", "ledger", "code"
        closed_since = (int(wanted["flags"]) ^ int(found["flags"])) & ~CLOSED == 0
        return closed_since and all(_equal(wanted, found, field) for field in fields)
    flags = int(wanted["flags"])
    resolves = flags & (_POST | VOID) != 0
    return (
        all(_equal(wanted, found, field) for field in ("id", "pending_id", "timeout", "flags"))
        and (_equal(wanted, found, "amount") or resolves or flags & _BALANCING != 0)
        and all(
            _equal(wanted, found, field) or (resolves and not np.any(wanted[field]))
            for field in _OF_THE_PENDING
        )
    )


def _equal(wanted: np.void, found: np.void, field: str) -> bool:
    return bool(np.array_equal(wanted[field], found[field]))
