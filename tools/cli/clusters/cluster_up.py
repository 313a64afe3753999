"""``nostro cluster up``: make the cluster if it is new, start it, and wait until it answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.waiting import waiting
from nostro.tools.cluster.binary import find_binary
from nostro.tools.cluster.description import (
    CACHE_GRID_MIB_MAX,
    CACHE_GRID_MIB_MIN,
    CLUSTER_ID_MAX,
    REPLICA_COUNTS,
    Description,
    read_description,
)
from nostro.tools.cluster.errors import AlreadyRunning, ClusterError, SupervisorFailed
from nostro.tools.cluster.health import await_health
from nostro.tools.cluster.lookup import Answer
from nostro.tools.cluster.starting import (
    CACHE_GRID_MIB,
    Wishes,
    prepare,
    start_detached,
)
from nostro.tools.cluster.status import NO_CLIENT
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import Supervisor, stop_on_signal

START_SECONDS: Final = 60.0
_MIB_OF: Final = {"MiB": 1, "GiB": 1_024}

if TYPE_CHECKING:  # generic for the type checker, not yet so in every click that is supported
    _IntType = click.ParamType[int]
else:
    _IntType = click.ParamType


class ClusterId(_IntType):
    """A decimal number of 128 bits."""

    name = "cluster id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        if not re.fullmatch(r"[0-9]{1,39}", text) or int(text) > CLUSTER_ID_MAX:
            self.fail(f"{text!r} is no decimal number from 0 to 2**128 - 1", param, ctx)
        return int(text)


class Mebibytes(_IntType):
    """A size as the server takes it, in MiB or GiB."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        match = re.fullmatch(r"([0-9]{1,9})(MiB|GiB)", str(value))
        size = int(match[1]) * _MIB_OF[match[2]] if match else 0
        if not CACHE_GRID_MIB_MIN <= size <= CACHE_GRID_MIB_MAX:
            self.fail(
                f"{value!r} is no size from {CACHE_GRID_MIB_MIN}MiB to 1024GiB, as in 256MiB",
                param,
                ctx,
            )
        return size


@click.command(
    cls=DocumentedCommand,
    short_help="Start the cluster; make it if it is new.",
    examples=(
        "nostro cluster up tb",
        "nostro cluster up tb --replicas 3 --cluster-id 7 --port 3000",
        "nostro cluster up tb --foreground",
        "nostro cluster up tb --cache-grid 1GiB --json",
    ),
)
@parameters.directory
@click.option(
    "--replicas",
    type=click.Choice([str(count) for count in REPLICA_COUNTS]),
    help="How many replicas a new cluster has; without it, one. It never changes.",
)
@click.option(
    "--cluster-id",
    type=ClusterId(),
    metavar="N",
    help="The id of a new cluster; without it, 0, which is for development. It never changes.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_533),
    metavar="P",
    help="Of the first replica; the next ones follow. 0 chooses free ones, as a new cluster does.",
)
@click.option(
    "--cache-grid",
    type=Mebibytes(),
    metavar="SIZE",
    help=f"The server's cache of its data file; without it, {CACHE_GRID_MIB}MiB.",
)
@click.option(
    "--development/--no-development",
    default=None,
    help="Small batches and least memory, and disks without direct I/O. It can be given up later,"
    " not taken up.",
)
@click.option(
    "--foreground",
    is_flag=True,
    help="Stay, and look after the replicas here; Ctrl-C stops them.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(1, 86_400),
    default=START_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the first answer.",
)
@parameters.quiet
@parameters.as_json
def up(
    directory: Path,
    *,
    replicas: str | None,
    cluster_id: int | None,
    port: int | None,
    cache_grid: int | None,
    development: bool | None,
    foreground: bool,
    seconds: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Start the TigerBeetle cluster in DIR, and wait until it answers a look-up.

    A new directory gets its data files, about 1.1 GB for each replica, once and for all. Every
    replica listens on 127.0.0.1 only. One that dies is started again, ever more slowly. A cluster
    that runs already is left as it is. One that does not answer in time is stopped again.
    """
    wishes = Wishes(
        replicas=int(replicas) if replicas else None,
        cluster_id=cluster_id,
        port=port,
        cache_grid_mib=cache_grid,
        development=development,
    )
    binary = find_binary()
    try:
        description = prepare(directory, wishes, binary, tell=_say)
    except AlreadyRunning as running:
        if foreground:
            raise
        _say(str(running))
        description = read_description(directory)
        with waiting(quiet=quiet) as progress:
            answer = await_health(
                directory, description, seconds=seconds, progress=progress, fresh=False
            )
        _show(directory, description, answer, as_json=as_json)
        return
    if foreground:
        _stay(directory, description, binary, seconds=seconds, quiet=quiet, as_json=as_json)
        return
    answer = _leave(directory, description, binary, seconds=seconds, quiet=quiet)
    _show(directory, description, answer, as_json=as_json)


def _leave(
    directory: Path, description: Description, binary: Path, *, seconds: float, quiet: bool
) -> Answer | None:
    """Start a supervisor that outlives this process; what does not get well is stopped again."""
    interruption = Interruption()
    with interruption.listening():
        try:
            with interruption.shield():
                start_detached(directory, binary)
            with waiting(quiet=quiet) as progress:
                return await_health(directory, description, seconds=seconds, progress=progress)
        except SupervisorFailed:
            raise  # it never ran, or another one does, and is not ours to stop
        except (ClusterError, OSError, KeyboardInterrupt):
            stop_cluster(directory, tell=_say)
            raise


def _stay(
    directory: Path,
    description: Description,
    binary: Path,
    *,
    seconds: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Supervise here, until a signal or a closed terminal ends it."""
    supervisor = Supervisor(directory, description, binary, tell=_say)
    with stop_on_signal() as stop:
        supervisor.start()
        try:
            with waiting(quiet=quiet) as progress:
                answer = await_health(
                    directory,
                    description,
                    seconds=seconds,
                    progress=progress,
                    look=supervisor.look,
                    stopped=stop.is_set,
                )
            _show(directory, description, answer, as_json=as_json)
        except BaseException as error:
            supervisor.stop()
            if stop.is_set() and isinstance(error, ClusterError):
                raise click.Abort from None
            raise
        if not as_json:
            screen.line("Ctrl-C stops it.", style="dim")
        supervisor.run(stop)


def _show(
    directory: Path, description: Description, answer: Answer | None, *, as_json: bool
) -> None:
    seconds = None if answer is None else answer.seconds
    if as_json:
        screen.json_line(
            {
                "path": str(directory),
                "cluster_id": str(description.cluster_id),
                "addresses": list(description.addresses),
                "version": description.version,
                "answer_seconds": seconds,
                "environment": description.environment,
            }
        )
        return
    count = screen.counted(description.replica_count, "replica")
    screen.line(f"The cluster in {directory} is running: {count}.", style="bold green")
    screen.facts(
        [
            ("server version", description.version),
            ("look-ups", NO_CLIENT if seconds is None else f"answered after {seconds:.1f} s"),
            ("logs", str(directory / "replica-*.log")),
        ]
    )
    screen.line()
    screen.line("For the programs that use it:")
    for name, value in description.environment.items():
        screen.line(f"  export {name}={value}")


def _say(text: str) -> None:
    click.echo(f"cluster: {text}", err=True)
