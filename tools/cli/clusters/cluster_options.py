"""Options that name a TigerBeetle cluster, and the configuration they make with the environment."""

from __future__ import annotations

import os

import attrs
import click

from nostro.journal.errors import InvalidField
from nostro.projections.tigerbeetle.configuration import (
    BATCH_EVENTS_MAX,
    CLUSTER_ID,
    REPLICAS,
    ClusterConfiguration,
)
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.parameters import Command

_HINT = f"name it with --cluster-id and --replicas, or by {CLUSTER_ID} and {REPLICAS}"


def cluster_options(command: Command) -> Command:
    """Add --cluster-id, --replicas, --timeout and --batch-events."""
    for option in (
        click.option(
            "--batch-events",
            type=click.IntRange(1, BATCH_EVENTS_MAX),
            metavar="N",
            help="The most events in one request; 250 for a cluster started with --development.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            help="After so long without an answer the cluster counts as unreachable.",
        ),
        click.option(
            "--replicas",
            metavar="HOST:PORT,…",
            help=f"The addresses of all replicas, in order; else {REPLICAS}.",
        ),
        click.option(
            "--cluster-id", metavar="N", help=f"The cluster's id, decimal; else {CLUSTER_ID}."
        ),
    ):
        command = option(command)
    return command


def configuration(
    cluster_id: str | None,
    replicas: str | None,
    timeout: float | None,
    batch_events: int | None,
) -> ClusterConfiguration:
    """What the options and, where they are missing, the environment name.

    Raises:
        CommandFailed: no cluster is named, or something is wrong with its name.
        ClientMissing: the client library is not installed.
    """
    environ = dict(os.environ)
    if cluster_id is not None:
        environ[CLUSTER_ID] = cluster_id
    if replicas is not None:
        environ[REPLICAS] = replicas
    try:
        found = ClusterConfiguration.from_environment(environ)
    except InvalidField as error:
        raise CommandFailed(str(error), code=WRONG_USE, hint=_HINT) from None
    if found is None:
        raise CommandFailed("no cluster is named", code=WRONG_USE, hint=_HINT)
    if timeout is not None:
        found = attrs.evolve(found, timeout_seconds=timeout)
    if batch_events is not None:
        found = attrs.evolve(found, batch_events_max=batch_events)
    found.require_client()
    return found


def without_mirror() -> None:
    """Forget the cluster in the environment, for ledgers that are only made to be looked at."""
    for name in (CLUSTER_ID, REPLICAS):
        os.environ.pop(name, None)
