"""What can be wrong with a local cluster, one class per cause."""

from __future__ import annotations

from pathlib import Path

import attrs


class ClusterError(Exception):
    """Anything that running a cluster raises on purpose."""


# --- wrong use: nothing was changed ---------------------------------------------------------------


@attrs.define(eq=False)
class BinaryMissing(ClusterError):
    """There is no TigerBeetle server to run."""

    place: str
    """Where it was looked for."""

    def __str__(self) -> str:
        return f"the TigerBeetle server is not on this machine: {self.place}"


@attrs.define(eq=False)
class BinaryUnfit(ClusterError):
    """A program that is not a TigerBeetle server, or does not run here."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: not a TigerBeetle server that runs here: {self.reason}"


@attrs.define(eq=False)
class NotACluster(ClusterError):
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: not a cluster's directory: {self.reason}"


@attrs.define(eq=False)
class OtherCluster(ClusterError):
    """What is asked for is not what the directory holds, and cannot be changed there."""

    path: Path
    what: str
    value: str
    value_asked: str

    def __str__(self) -> str:
        return (
            f"{self.path}: the {self.what} of this cluster is {self.value}, not {self.value_asked};"
            " it stands in every data file and never changes"
        )


@attrs.define(eq=False)
class BatchesWouldShrink(ClusterError):
    path: Path

    def __str__(self) -> str:
        return (
            f"{self.path}: this cluster takes full batches; --development would shrink them, and"
            " what was written with larger ones might no longer be read"
        )


@attrs.define(eq=False)
class PortTaken(ClusterError):
    address: str

    def __str__(self) -> str:
        return f"{self.address}: another program listens there"


@attrs.define(eq=False)
class NoPortFree(ClusterError):
    count: int

    def __str__(self) -> str:
        return f"found no {self.count} free ports"


@attrs.define(eq=False)
class AlreadyRunning(ClusterError):
    path: Path
    process_id: int

    def __str__(self) -> str:
        return f"{self.path}: this cluster is run by process {self.process_id} already"


@attrs.define(eq=False)
class RunsOtherwise(ClusterError):
    """It runs, with another port or other memory than is asked for."""

    path: Path
    process_id: int

    def __str__(self) -> str:
        return f"{self.path}: process {self.process_id} runs this cluster, and runs it otherwise"


@attrs.define(eq=False)
class BeingMade(ClusterError):
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: another process is making a cluster there"


@attrs.define(eq=False)
class OutOfReach(ClusterError):
    """A lock is held by a process that this one can neither see nor signal."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path}: held by a process of another container or machine"


# --- the cluster or the machine failed ------------------------------------------------------------


@attrs.define(eq=False)
class FormatFailed(ClusterError):
    replica: int
    output: str

    def __str__(self) -> str:
        return f"the data file of replica {self.replica} could not be made:\n{self.output}"


@attrs.define(eq=False)
class DataFileMissing(ClusterError):
    path: Path
    replica_count: int

    def __str__(self) -> str:
        return f"{self.path}: the data file is gone; a fresh one in its place would lose data"


@attrs.define(eq=False)
class BadDescription(ClusterError):
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@attrs.define(eq=False)
class SupervisorFailed(ClusterError):
    """It did not start."""

    output: str

    def __str__(self) -> str:
        return f"the supervising process did not start:\n{self.output}"


@attrs.define(eq=False)
class SupervisorEnded(ClusterError):
    log: Path
    last_lines: str

    def __str__(self) -> str:
        return f"the supervising process has ended; {self.log} ends with:\n{self.last_lines}"


@attrs.define(eq=False)
class ReplicaDied(ClusterError):
    """A replica ended while the cluster was starting."""

    replica: int
    how: str
    log: Path
    last_lines: str

    def __str__(self) -> str:
        return f"replica {self.replica} {self.how}; {self.log} ends with:\n{self.last_lines}"


@attrs.define(eq=False)
class NotHealthy(ClusterError):
    reason: str

    def __str__(self) -> str:
        return f"the cluster did not get healthy: {self.reason}"


@attrs.define(eq=False)
class StillRunning(ClusterError):
    """A process outlived SIGKILL for as long as anybody wants to wait."""

    path: Path
    process_id: int

    def __str__(self) -> str:
        return f"{self.path}: process {self.process_id} did not end, not even by SIGKILL"
