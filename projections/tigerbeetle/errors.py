"""What can go wrong with a cluster, one class per cause. The ledger goes on in each case."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import JournalError
from nostro.journal.model import Rows

_IDS_TOLD_MAX: Final = 8


class ClusterError(JournalError):
    """Anything about a TigerBeetle cluster."""


@attrs.define(eq=False)
class ClientMissing(ClusterError):
    """The client library is not installed."""

    def __str__(self) -> str:
        return (
            "TigerBeetle's client is not installed: pip install 'nostro[tigerbeetle]'"
            " (the package is called tigerbeetle)"
        )


@attrs.define(eq=False)
class AlreadyMirrored(ClusterError):
    """Another process, or another object of this one, mirrors the ledger into the same cluster."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path}: held by the mirror that is running already"


# --- connection: worth trying again ---------------------------------------------------------------


class ConnectionFailed(ClusterError):
    """No answer, for now."""


@attrs.define(eq=False)
class ClusterUnreachable(ConnectionFailed):
    """No answer in time. A wrong cluster id looks the same, so both causes are named."""

    cluster_id: int
    replicas: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"no answer from {self.replicas} within {self.seconds:g} s: the cluster cannot be"
            f" reached, or its id is not {self.cluster_id} (they look the same)"
        )


@attrs.define(eq=False)
class HostUnknown(ConnectionFailed):
    """The name of a replica's host is not known, or not now."""

    replicas: str
    reason: str

    def __str__(self) -> str:
        return f"{self.replicas}: {self.reason}"


@attrs.define(eq=False)
class SessionEvicted(ConnectionFailed):
    """The cluster ended this client's session: it keeps 64, and more clients than that came."""

    def __str__(self) -> str:
        return "the cluster ended the session: it keeps at most 64 at a time; close other clients"


@attrs.define(eq=False)
class SessionClosed(ConnectionFailed):
    """The session was closed while requests were under way, or before."""

    def __str__(self) -> str:
        return "the session is closed; what became of requests under way is not known"


@attrs.define(eq=False)
class ClusterClockBehind(ConnectionFailed):
    """The journal's newest events lie in the cluster's future."""

    timestamp: int

    def __str__(self) -> str:
        return (
            f"the cluster's clock has not reached {self.timestamp} ns, a time in the journal;"
            " set the clocks of its machines"
        )


@attrs.define(eq=False)
class OutcomeUnknown(ConnectionFailed):
    """A request was sent, and no answer came: it may have been carried out, now or later.

    Sending the same events again, with the same ids, is safe and tells: they are created once.
    """

    kind: str
    """"accounts" or "transfers"."""
    row: int
    """The first event of the request of which nothing is known."""
    ids: tuple[int, ...]
    """Of the events of which nothing is known, in order: what to look up. None that comes after
    them was sent."""
    results: Rows
    """``CREATE_RESULT[row]``: the answers to the events before."""
    cause: ClusterError

    def __str__(self) -> str:
        if not self.ids:
            return f"{self.kind}: no more than {self.row} rows were sent: {self.cause}"
        told = ", ".join(map(str, self.ids[:_IDS_TOLD_MAX]))
        more = len(self.ids) - _IDS_TOLD_MAX
        told += f" and {more:,} more" if more > 0 else ""
        return (
            f"whether {self.kind} {told} (from row {self.row} of the request) were created is not"
            f" known: {self.cause}. Send them again with the same ids, or look them up"
        )


@attrs.define(eq=False)
class BalancesUnknown(OutcomeUnknown):
    """Every transfer has its answer, in ``results``; but not what it left its accounts with."""

    def __str__(self) -> str:
        return (
            f"{self.row:,} {self.kind} are answered, but the balances after them could not be asked"
            f" for: {self.cause}"
        )


# --- refused: trying again does not help ----------------------------------------------------------


@attrs.define(eq=False)
class ReleaseMismatch(ClusterError):
    """The cluster does not speak with clients of this release."""

    direction: str

    def __str__(self) -> str:
        return (
            f"the client library is too {self.direction} for the cluster: install another release"
            " of the package tigerbeetle, or upgrade the cluster"
        )


@attrs.define(eq=False)
class RequestRefused(ClusterError):
    """The client library or the cluster cannot take such a request: a bug of this program."""

    operation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.reason}"


@attrs.define(eq=False)
class ClientFailed(ClusterError):
    """The client library could not start."""

    reason: str

    def __str__(self) -> str:
        return f"TigerBeetle's client could not start: {self.reason}"


@attrs.define(eq=False)
class ChainTooLong(ClusterError, ValueError):
    """A chain of linked events does not fit into a message; nothing was sent."""

    row: int
    """Where it begins in the request."""
    count_max: int

    def __str__(self) -> str:
        return (
            f"row {self.row}: a chain of linked events holds at most {self.count_max:,}, what a"
            " message of the cluster takes; nothing was sent"
        )


# --- divergence: cluster and journal do not say the same ------------------------------------------


@attrs.frozen
class Difference:
    """One thing of which journal and cluster do not say the same."""

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
    """The cluster does not hold what the journal says. Nothing is ever overwritten."""


@attrs.define(eq=False)
class ForeignData(Divergence):
    """The cluster was written by somebody else."""

    kind: str
    id: int
    timestamp: int

    def __str__(self) -> str:
        return (
            f"the cluster holds {self.kind} {self.id} of time {self.timestamp}, which this journal"
            " does not: it belongs to another ledger, or another client writes to it. Mirror into"
            " a cluster of its own"
        )


@attrs.define(eq=False)
class ClusterAhead(Divergence):
    """The cluster holds what this journal once was, and more."""

    kind: str
    id: int
    timestamp: int
    position: int
    """The last event that both have."""

    def __str__(self) -> str:
        return (
            f"the cluster is ahead of the journal: it agrees up to position {self.position:,}, and"
            f" then holds {self.kind} {self.id} of time {self.timestamp}. The journal was restored"
            " from an older backup; mirror it into a new cluster"
        )


@attrs.define(eq=False)
class ClusterBehind(Divergence):
    """The cluster has lost what it had acknowledged, or is a new one under the same id."""

    position: int
    position_found: int

    def __str__(self) -> str:
        return (
            f"the cluster had every event up to position {self.position:,} and now has them up to"
            f" {self.position_found:,}: it was replaced or put back. To mirror into it from there,"
            " forget the cursor (nostro mirror --rebuild-cursor)"
        )


@attrs.define(eq=False)
class RowsDiffer(Divergence):
    """An account or transfer is in the cluster with other values, or was refused there."""

    position: int
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        told = "; ".join(str(difference) for difference in self.differences)
        return f"they differ at position {self.position:,} (journal / cluster): {told}"


@attrs.define(eq=False)
class OutOfOrder(Divergence):
    """The journal holds a transfer that was imported with a time before that of an expiry."""

    position: int
    """The cluster holds every event up to there, and gets no more."""
    id: int
    timestamp: int
    timestamp_expiry: int

    def __str__(self) -> str:
        return (
            f"after position {self.position:,} comes transfer {self.id}, imported with the time"
            f" {self.timestamp}, when a pending transfer had expired at {self.timestamp_expiry}:"
            " a cluster takes imports only in the order of their times, so this journal can be"
            " mirrored no further"
        )


# --- importing: making a journal of a cluster -----------------------------------------------------


@attrs.define(eq=False)
class NotMadeFromCluster(ClusterError):
    """A ledger that a cluster is to be imported into holds something else. Nothing was written."""

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
    """The rules do not allow what a cluster says has happened."""

    kind: str
    id: int
    status: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} of the cluster is refused by the journal: {self.status}"
