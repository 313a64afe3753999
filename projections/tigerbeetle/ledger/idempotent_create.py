"""Creating accounts and transfers in a cluster, with retries that the caller does not notice.

When a request is sent again, the events that its first attempt created look refused: ``exists``.
Such an event is answered as created, with its first timestamp, only if the first attempt must have
created it: the request was sent again, the cluster created the event after our first attempt (by
its own clock), and the id occurs in the request for the first time. A chain breaks at its first
member that exists; it was created if all of it exists, side by side.

An event that the first attempt refused for good is ``id_already_failed`` in the second: it moved
nothing, and the first answer with the reason is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import InvalidField, LedgerClosed
from nostro.journal.format.codec import RecordKind
from nostro.journal.model import ACCOUNT, CREATE_RESULT, CreateTransferStatus, Rows, TransferFlags
from nostro.projections.rules.values import CLOSED
from nostro.projections.tigerbeetle.errors import ClusterError, OutcomeUnknown, SessionClosed
from nostro.projections.tigerbeetle.operations import EVENT_KINDS, EventKind
from nostro.projections.tigerbeetle.rows.compare import ids_of
from nostro.projections.tigerbeetle.rows.translation import INHERITED, LINKED, VOID, pieces
from nostro.projections.tigerbeetle.session.effects import Effects
from nostro.projections.tigerbeetle.session.retrying_client import RetryingClient, Unanswered

_CREATED: Final = int(CreateTransferStatus.CREATED)
_POST: Final = int(TransferFlags.POST_PENDING_TRANSFER)
_BALANCING: Final = int(TransferFlags.BALANCING_DEBIT | TransferFlags.BALANCING_CREDIT)
_INHERITED: Final = tuple(field for field in INHERITED if field != "amount")


def create(client: RetryingClient, kind: RecordKind, rows: Rows) -> Effects[Rows]:
    """``CREATE_RESULT[n]`` for ``ACCOUNT[n]`` or ``TRANSFER[n]``, one message after another.

    Nobody changes ``rows`` while a request is in flight.

    Raises:
        InvalidField, ChainTooLong, LedgerClosed: nothing was sent.
        OutcomeUnknown: some rows may or may not have been created; it names them.
        ClusterError: nothing was carried out.
    """
    its = EVENT_KINDS[kind]
    results = np.zeros(len(rows), CREATE_RESULT)
    start = 0
    for message in messages(rows, client.configuration.batch_events_max, its.imported):
        end = start + len(message)
        try:
            results[start:end] = yield from _create(client, its, message)
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
            ids = tuple(ids_of(message)) if is_sent else ()
            raise OutcomeUnknown(f"{its.name}s", start, ids, results[:start], cause) from None
        start = end
    return results


def messages(rows: Rows, count_max: int, imported: int) -> list[Rows]:
    """The messages of a request in order, no chain cut.

    Raises:
        ChainTooLong, InvalidField: the request cannot be split.
    """
    if len(rows) > count_max:
        flags = rows["flags"]
        mixed = np.flatnonzero((flags ^ flags[0]) & imported)
        if len(mixed):  # a message holds either imported events or others, and so must the request
            reason = f"imported and other events in one request of more than {count_max:,}"
            raise InvalidField("flags", int(flags[mixed[0]]), reason, int(mixed[0]))
    return list(pieces(rows, count_max)) if len(rows) else []


def _create(client: RetryingClient, its: EventKind, rows: Rows) -> Effects[Rows]:
    known = client.timestamp
    answer = yield from client.send(its.create, rows)
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
            yield from _settle_chain(client, its, rows[start:end], results[start:end])
    return results


def _ours(its: EventKind, rows: Rows, results: Rows, known: int) -> npt.NDArray[np.bool_]:
    """Which rows our first attempt created."""
    exists = results["status"] == its.statuses.EXISTS
    there = np.flatnonzero(exists | (results["status"] == _CREATED))
    _, first = np.unique(rows["id"][there], axis=0, return_index=True)
    ours = np.zeros(len(rows), np.bool_)
    ours[there[first]] = True
    ours &= exists
    ours &= (results["timestamp"] > known) | (rows["flags"] & its.imported != 0)
    return ours


def _chains(linked: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each chain."""
    edges = np.flatnonzero(np.diff(linked.astype(np.int8), prepend=0, append=0))
    for start, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield start, min(last + 1, len(linked))


def _settle_chain(
    client: RetryingClient, its: EventKind, rows: Rows, results: Rows
) -> Effects[None]:
    """Answer a chain as created if all of it exists: the cluster creates all or nothing of it."""
    try:
        answer = yield from client.send(its.look_up, rows["id"].copy())
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
    """Whether the cluster can have made ``found`` of ``wanted``."""
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
            for field in _INHERITED
        )
    )


def _equal(wanted: np.void, found: np.void, field: str) -> bool:
    return bool(np.array_equal(wanted[field], found[field]))
