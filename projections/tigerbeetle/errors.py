"""Errors of a cluster, one class per cause. The ledger itself keeps working after each of them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

import attrs

from nostro.journal.errors import JournalError
from nostro.journal.model import Rows

_IDS_SHOWN_MAX: Final = 8


class ClusterError(JournalError):
    """Anything about a TigerBeetle cluster."""

    message: ClassVar[str]
    """A template; ``{0.name}`` stands for the error's field ``name``."""

    def __str__(self) -> str:
        return self.message.format(self)


class ClientMissing(ClusterError):
    """The client library is not installed."""

    message = (
        "TigerBeetle's client is not installed: pip install 'nostro[tigerbeetle]'"
        " (the package is called tigerbeetle)"
    )


@attrs.define(eq=False)
class AlreadyMirrored(ClusterError):
    """Another mirror, in this process or another, mirrors the ledger into the same cluster."""

    message = "{0.path}: another mirror of this ledger is running already"
    path: Path


# --- connection: worth trying again ---------------------------------------------------------------


class ConnectionFailed(ClusterError):
    """No answer, for now."""


@attrs.define(eq=False)
class ClusterUnreachable(ConnectionFailed):
    """No answer in time. A wrong cluster id looks the same, so the message names both causes."""

    message = (
        "no answer from {0.replicas} within {0.seconds:g} s: the cluster cannot be reached, or its"
        " id is not {0.cluster_id} (the two look the same)"
    )
    cluster_id: int
    replicas: str
    seconds: float


@attrs.define(eq=False)
class HostUnknown(ConnectionFailed):
    """The name of a replica's host cannot be resolved, at least for now."""

    message = "{0.replicas}: {0.reason}"
    replicas: str
    reason: str


class SessionEvicted(ConnectionFailed):
    """The cluster ended this client's session because more than 64 clients are connected."""

    message = "the cluster ended the session: it keeps at most 64 at a time; close other clients"


class SessionClosed(ConnectionFailed):
    """The session was closed before the request got its answer."""

    message = "the session is closed; requests in flight may or may not have been carried out"


@attrs.define(eq=False)
class ClusterClockBehind(ConnectionFailed):
    """The journal's newest events lie in the cluster's future."""

    message = (
        "the cluster's clock has not reached {0.timestamp} ns, a time in the journal; set the"
        " clocks of the cluster's machines"
    )
    timestamp: int


@attrs.define(eq=False)
class OutcomeUnknown(ConnectionFailed):
    """A request was sent and not answered: the cluster may carry it out now, later or never.

    It is safe to send the same events again with the same ids: each is created at most once. See
    docs/guides/retries.md.
    """

    kind: str
    """"accounts" or "transfers"."""
    row: int
    """The first event of the request without an answer."""
    ids: tuple[int, ...]
    """The events without an answer, in order. No later event was sent."""
    results: Rows
    """``CREATE_RESULT[row]``: the answers to the events before."""
    cause: ClusterError

    def __str__(self) -> str:
        if not self.ids:
            return f"{self.kind}: only the first {self.row} rows were sent: {self.cause}"
        shown = ", ".join(map(str, self.ids[:_IDS_SHOWN_MAX]))
        more = len(self.ids) - _IDS_SHOWN_MAX
        shown += f" and {more:,} more" if more > 0 else ""
        return (
            f"it is not known whether {self.kind} {shown} (from row {self.row} of the request) were"
            f" created: {self.cause}. Send them again with the same ids"
        )


@attrs.define(eq=False)
class BalancesUnknown(OutcomeUnknown):
    """Every transfer has its answer, in ``results``; the balances after them are not known."""

    def __str__(self) -> str:
        return (
            f"{self.row:,} {self.kind} are answered, but the balances after them could not be read:"
            f" {self.cause}"
        )


# --- refused: trying again does not help ----------------------------------------------------------


@attrs.define(eq=False)
class ReleaseMismatch(ClusterError):
    """The cluster does not support clients of this release."""

    message = (
        "the client library is too {0.direction} for the cluster: install another release of the"
        " package tigerbeetle, or upgrade the cluster"
    )
    direction: str


@attrs.define(eq=False)
class RequestRefused(ClusterError):
    """The client library or the cluster cannot take such a request: a bug of this program."""

    message = "{0.operation}: {0.reason}"
    operation: str
    reason: str


@attrs.define(eq=False)
class ClientFailed(ClusterError):
    """The client library could not start."""

    message = "TigerBeetle's client could not start: {0.reason}"
    reason: str


@attrs.define(eq=False)
class ChainTooLong(ClusterError, ValueError):
    """A chain of linked events does not fit into a message; nothing was sent."""

    message = (
        "row {0.row}: a chain of linked events holds at most {0.count_max:,}, the most that fit"
        " into one message to the cluster; nothing was sent"
    )
    row: int
    """Where the chain begins in the request."""
    count_max: int


# --- divergence: cluster and journal differ -------------------------------------------------------


@attrs.frozen
class Difference:
    """One field in which journal and cluster differ."""

    kind: str
    """"account" or "transfer"."""
    id: int
    field: str
    """The field, or "presence" or "status"."""
    journal: object
    cluster: object

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.field}: {self.journal} / {self.cluster}"


class Divergence(ClusterError):
    """The cluster is not an exact copy of the journal. Nothing is ever overwritten."""


@attrs.define(eq=False)
class ForeignData(Divergence):
    """The cluster holds data that is not from this journal."""

    message = (
        "the cluster holds {0.kind} {0.id} of time {0.timestamp}, which this journal does not: it"
        " belongs to another ledger, or another client writes to it. Mirror into a cluster of its"
        " own"
    )
    kind: str
    id: int
    timestamp: int


@attrs.define(eq=False)
class ClusterAhead(Divergence):
    """The cluster holds events that the journal has lost."""

    message = (
        "the cluster is ahead of the journal: it agrees up to position {0.position:,}, and then"
        " holds {0.kind} {0.id} of time {0.timestamp}. The journal was restored from an older"
        " backup; mirror it into a new cluster"
    )
    kind: str
    id: int
    timestamp: int
    position: int
    """The last event that both have."""


@attrs.define(eq=False)
class ClusterBehind(Divergence):
    """The cluster has lost events that it had acknowledged, or is a new one with the same id."""

    message = (
        "the cluster had every event up to position {0.position:,} and now has them up to"
        " {0.position_found:,}: it was replaced or put back. To mirror into it from there, forget"
        " the cursor (nostro mirror --rebuild-cursor)"
    )
    position: int
    position_found: int


@attrs.define(eq=False)
class RowsDiffer(Divergence):
    """An account or transfer has other values in the cluster, or the cluster refused it."""

    position: int
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        shown = "; ".join(map(str, self.differences))
        return f"they differ at position {self.position:,} (journal / cluster): {shown}"


@attrs.define(eq=False)
class OutOfOrder(Divergence):
    """The journal holds a transfer that was imported with a time before that of an expiry."""

    message = (
        "after position {0.position:,} comes transfer {0.id}, imported with the time"
        " {0.timestamp}, after a pending transfer had expired at {0.timestamp_expiry}: a cluster"
        " takes imports only in the order of their times, so this journal cannot be mirrored any"
        " further"
    )
    position: int
    """The cluster holds every event up to there, and gets no more."""
    id: int
    timestamp: int
    timestamp_expiry: int


# --- importing: making a journal from a cluster ---------------------------------------------------


@attrs.define(eq=False)
class NotMadeFromCluster(ClusterError):
    """The directory for an import holds another ledger. Nothing was written."""

    path: Path
    position: int
    reason: str

    def __str__(self) -> str:
        where = f"position {self.position:,}: " if self.position else ""
        return (
            f"{self.path} was not made from this cluster: {where}{self.reason}. Name a new or an"
            " empty directory"
        )


@attrs.define(eq=False)
class ImportRefused(ClusterError):
    """The rules do not allow an event that the cluster holds."""

    message = "{0.kind} {0.id} of the cluster is refused by the journal: {0.status}"
    kind: str
    id: int
    status: str
