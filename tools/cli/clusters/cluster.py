"""``nostro cluster``: a TigerBeetle cluster on this machine, up, down, and how it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nostro.tools.cli.clusters.cluster_up import up
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED
from nostro.tools.cli.terminal.help_examples import DocumentedCommand, DocumentedGroup
from nostro.tools.cluster.status import (
    LOOKUP_SECONDS,
    NO_CLIENT,
    ClusterStatus,
    ReplicaStatus,
    survey,
)
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import STOP_SECONDS

_MIB = 1024**2


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
    """Run a TigerBeetle cluster on this machine: for development, tests, and mirrors to try.

    DIR is the cluster's directory: its data files, its description and its logs. The server is the
    program that TIGERBEETLE_BINARY names, or else the one on the PATH.
    """


cluster.add_command(up)


@cluster.command(
    cls=DocumentedCommand,
    short_help="Stop the cluster.",
    examples=("nostro cluster down tb", "nostro cluster down tb --timeout 60"),
)
@parameters.directory
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 3_600),
    default=STOP_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long a process may take to end before it is killed.",
)
@parameters.as_json
def down(directory: Path, *, seconds: float, as_json: bool) -> None:
    """Stop the cluster in DIR; its data stay. What is acknowledged is on disk already.

    Each process is asked to end, and killed when it does not: this is said aloud. Only processes
    that the kernel knows as this cluster's are signalled. Stopping twice is no error.
    """
    stopped = stop_cluster(
        directory, tell=lambda text: click.echo(f"cluster: {text}", err=True), seconds=seconds
    )
    if as_json:
        screen.json_line({"path": str(directory), "processes_stopped": stopped})
    elif stopped:
        screen.line(f"The cluster in {directory} is stopped.")
    else:
        screen.line(f"The cluster in {directory} was not running.")


@cluster.command(
    cls=DocumentedCommand,
    short_help="Show how the cluster is.",
    examples=("nostro cluster status tb", "nostro cluster status tb --json"),
)
@parameters.directory
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 3_600),
    default=LOOKUP_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the answer to a look-up.",
)
@parameters.as_json
@click.pass_context
def status(context: click.Context, directory: Path, *, seconds: float, as_json: bool) -> None:
    """Show whether each replica of the cluster in DIR runs and listens, and whether it answers.

    It answers when a real look-up by TigerBeetle's client does. A cluster that has lost its quorum
    runs and listens, and does not answer. The exit code is 1 when anything is not well.
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
            ("look-ups", _answers(found)),
            ("supervisor", _supervisor(found)),
            ("replicas", f"{found.running} of {description.replica_count} running"),
        ]
    )
    screen.line()
    columns = [
        screen.Column("replica", right=True),
        screen.Column("address"),
        screen.Column("process"),
        screen.Column("port"),
        screen.Column("up for", right=True),
        screen.Column("restarts", right=True),
        screen.Column("data file", right=True),
        screen.Column("memory", right=True),
    ]
    screen.table(columns, [_row(index, it) for index, it in enumerate(found.replicas)])
    for index, replica in enumerate(found.replicas):
        if replica.ended:
            screen.line(f"Replica {index} {replica.ended} before; see {replica.log}")


def _row(index: int, replica: ReplicaStatus) -> list[str]:
    return [
        str(index),
        replica.address,
        "not running" if replica.process_id is None else str(replica.process_id),
        "open" if replica.port_open else "closed",
        "" if replica.uptime_seconds is None else _duration(replica.uptime_seconds),
        str(replica.restarts),
        "missing" if replica.data_bytes is None else _mebibytes(replica.data_bytes),
        "" if replica.resident_bytes is None else _mebibytes(replica.resident_bytes),
    ]


def _answers(found: ClusterStatus) -> str:
    if found.answer is None:
        return f"not tried: {NO_CLIENT}"
    if found.answer.seconds is None:
        return found.answer.reason
    return f"answered in {1_000 * found.answer.seconds:.1f} ms"


def _supervisor(found: ClusterStatus) -> str:
    if found.supervisor is not None:
        return f"process {found.supervisor}"
    if found.running:
        return "none: what runs is not looked after; `nostro cluster up` starts it anew"
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
        "cluster_id": str(description.cluster_id),
        "addresses": list(description.addresses),
        "version": description.version,
        "development": description.development,
        "cache_grid_mib": description.cache_grid_mib,
        "supervisor_process_id": found.supervisor,
        "answers": None if answer is None else answer.came,
        "answer_seconds": None if answer is None else answer.seconds,
        "answer_failure": None if answer is None or answer.came else answer.reason,
        "replicas": [
            {
                "replica": index,
                "address": replica.address,
                "running": replica.running,
                "process_id": replica.process_id,
                "port_open": replica.port_open,
                "uptime_seconds": replica.uptime_seconds,
                "restarts": replica.restarts,
                "ended": replica.ended or None,
                "data_file_bytes": replica.data_bytes,
                "memory_bytes": replica.resident_bytes,
                "log": str(replica.log),
            }
            for index, replica in enumerate(found.replicas)
        ],
    }
