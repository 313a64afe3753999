"""Options that name a TigerBeetle cluster, and the configuration they make with the environment."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

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


@attrs.frozen
class ClusterOptions:
    """The options, each None if it is missing."""

    cluster_id: str | None
    replicas: str | None
    timeout: float | None
    batch_events: int | None

    def configuration(self) -> ClusterConfiguration:
        """The cluster that the options name; the environment has what they leave out.

        Raises:
            CommandFailed: no cluster is named, or a value is not valid.
            ClientMissing: the client library is not installed.
        """
        environ = dict(os.environ)
        named = {CLUSTER_ID: self.cluster_id, REPLICAS: self.replicas}
        environ |= {name: value for name, value in named.items() if value is not None}
        try:
            found = ClusterConfiguration.from_environment(environ)
        except InvalidField as error:
            raise CommandFailed(str(error), code=WRONG_USE, hint=_HINT) from None
        if found is None:
            raise CommandFailed("the command needs a cluster", code=WRONG_USE, hint=_HINT)
        limits = {"timeout_seconds": self.timeout, "batch_events_max": self.batch_events}
        given = {name: value for name, value in limits.items() if value is not None}
        found = attrs.evolve(found, **given)  # type: ignore[arg-type]
        found.require_client()
        return found


def cluster_options(command: Callable[..., None]) -> Command:
    """Add --cluster-id, --replicas, --timeout and --batch-events, as the argument ``cluster``."""

    @click.option(
        "--cluster-id", metavar="N", help=f"The cluster's id; the default is {CLUSTER_ID}."
    )
    @click.option(
        "--replicas",
        metavar="HOST:PORT,…",
        help=f"The addresses of all replicas, in order; the default is {REPLICAS}.",
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(0, 86_400, min_open=True),
        metavar="SECONDS",
        help="How long to wait for an answer from the cluster.",
    )
    @click.option(
        "--batch-events",
        type=click.IntRange(1, BATCH_EVENTS_MAX),
        metavar="N",
        help="The maximum number of events in a request; use 250 for a cluster started with"
        " --development.",
    )
    @functools.wraps(command)
    def with_cluster(**arguments: Any) -> None:  # noqa: ANN401 - of any command
        names = [field.name for field in attrs.fields(ClusterOptions)]
        cluster = ClusterOptions(**{name: arguments.pop(name) for name in names})
        command(cluster=cluster, **arguments)

    return with_cluster
