"""``nostro cluster``: start and stop a TigerBeetle cluster on this machine, and show its status."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import click

from nostro.tools.cli.clusters.cluster_up import log, timeout, up
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED
from nostro.tools.cli.terminal.help_examples import DocumentedCommand, DocumentedGroup
from nostro.tools.cluster.status import LOOKUP_SECONDS, ClusterStatus, ReplicaStatus, survey
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import STOP_SECONDS

_MIB: Final = 1024**2
_COLUMNS: Final = tuple(
    screen.Column(title, right=title not in {"address", "process", "port"})
    for title in (
        "replica", "address", "process", "port", "up for", "restarts", "data file", "memory",
    )
)  # fmt: skip


@click.group(
    cls=DocumentedGroup,
    short_help="Run a TigerBeetle cluster on this machine.",
    examples=(
        "nostro cluster up tb",
        "nostro cluster status tb",
        "nostro cluster down tb",
    ),
)
def cluster() -> None:
    """Run a TigerBeetle cluster on this machine, for development and tests.

    DIR is the cluster's directory: it contains the data files, the description and the logs. The
    server is the program that TIGERBEETLE_BINARY names, or else `tigerbeetle` on the PATH.
    """


cluster.add_command(up)


@cluster.command(
    cls=DocumentedCommand,
    short_help="Stop the cluster.",
    examples=("nostro cluster down tb", "nostro cluster down tb --timeout 60"),
)
@parameters.directory
@timeout(STOP_SECONDS, "Kill a process that has not ended after this time.")
@parameters.as_json
def down(directory: Path, *, seconds: float, as_json: bool) -> None:
    """Stop the cluster in DIR. Its data stay: every acknowledged transfer is on disk.

    Each process gets SIGTERM, and SIGKILL after the timeout; the command reports a SIGKILL. It
    signals only processes that hold a lock of this cluster. A stopped cluster is left as it is.
    """
    stopped = stop_cluster(directory, log=log, seconds=seconds)
    if as_json:
        screen.json_line({"path": str(directory), "processes_stopped": stopped})
    elif stopped:
        screen.line(f"The cluster in {directory} is stopped.")
    else:
        screen.line(f"The cluster in {directory} was not running.")


@cluster.command(
    cls=DocumentedCommand,
    short_help="Show the status of the cluster.",
    examples=("nostro cluster status tb", "nostro cluster status tb --json"),
)
@parameters.directory
@timeout(LOOKUP_SECONDS, "Wait at most this time for the answer to a look-up.")
@parameters.as_json
@click.pass_context
def status(context: click.Context, directory: Path, *, seconds: float, as_json: bool) -> None:
    """Show whether each replica of the cluster in DIR runs and listens, and whether it answers.

    The command makes a real look-up with TigerBeetle's client. A cluster without a quorum runs and
    listens, but does not answer. The exit code is 1 unless everything is healthy.
    """
    found = survey(directory, seconds=seconds)
    if as_json:
        screen.json_line(_json(found))
    else:
        _show(found)
    if not found.healthy:
        context.exit(CHECK_FAILED)


def _show(found: ClusterStatus) -> None:
    style = "bold green" if found.healthy else "bold red"
    screen.line(f"The cluster in {found.directory} is {found.word}.", style=style)
    description = found.description
    screen.facts(
        [
            ("cluster id", str(description.cluster_id)),
            ("server version", description.version),
            ("look-ups", found.answer.text),
            ("supervisor", _supervisor(found)),
            ("replicas", f"{found.running} of {description.replica_count} running"),
        ]
    )
    screen.line()
    screen.table(_COLUMNS, [_row(index, it) for index, it in enumerate(found.replicas)])
    for index, replica in enumerate(found.replicas):
        if replica.ended:
            screen.line(f"The last run of replica {index} {replica.ended}; see {replica.log}")


def _row(index: int, replica: ReplicaStatus) -> list[str]:
    return [
        str(index),
        replica.address,
        "not running" if replica.process_id is None else str(replica.process_id),
        "open" if replica.port_open else "closed",
        "" if replica.uptime_seconds is None else _duration(replica.uptime_seconds),
        str(replica.restarts),
        "missing" if replica.data_file_bytes is None else _mebibytes(replica.data_file_bytes),
        "" if replica.memory_bytes is None else _mebibytes(replica.memory_bytes),
    ]


def _supervisor(found: ClusterStatus) -> str:
    if found.supervisor is not None:
        return f"process {found.supervisor}"
    if found.running:
        return "none: a replica that ends does not restart; run `nostro cluster up` again"
    return "none"


def _duration(seconds: float) -> str:
    minutes, hours, days = seconds / 60, seconds / 3_600, seconds / 86_400
    if days >= 2:
        return f"{days:.0f} days"
    if hours >= 2:
        return f"{hours:.0f} h"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.0f} MiB"


def _json(found: ClusterStatus) -> dict[str, Any]:
    description, answer = found.description, found.answer
    return {
        "path": str(found.directory),
        "healthy": found.healthy,
        "state": found.word,
        **description.to_json(),
        "supervisor_process_id": found.supervisor,
        "answers": answer.came if answer.tried else None,
        "answer_seconds": answer.seconds,
        "answer_failure": answer.reason if answer.failed else None,
        "replicas": [
            {
                "replica": index,
                "running": replica.running,
                **attrs.asdict(replica),
                "ended": replica.ended or None,
                "log": str(replica.log),
            }
            for index, replica in enumerate(found.replicas)
        ],
    }
