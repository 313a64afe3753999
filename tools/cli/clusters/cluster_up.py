"""``nostro cluster up``: make the cluster if it is new, start it, and wait until it answers."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Final

import click

from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import show_startup
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
from nostro.tools.cluster.server import find_server
from nostro.tools.cluster.starting import CACHE_GRID_MIB, Options, prepare, start_detached
from nostro.tools.cluster.stopping import stop_cluster
from nostro.tools.cluster.supervisor import Supervisor
from nostro.tools.signals import stop_on_signal

START_SECONDS: Final = 60.0
_MIB_OF: Final = {"MiB": 1, "GiB": 1_024}


def cluster_id_of(text: str) -> int:
    """Parse a decimal number of 128 bits."""
    if not re.fullmatch(r"[0-9]{1,39}", text) or int(text) > CLUSTER_ID_MAX:
        raise click.BadParameter(f"{text!r} is not a decimal number from 0 to 2**128 - 1")
    return int(text)


def mebibytes_of(text: str) -> int:
    """Parse a size as the server takes it, in MiB or GiB."""
    match = re.fullmatch(r"([0-9]{1,9})(MiB|GiB)", text)
    size = int(match[1]) * _MIB_OF[match[2]] if match else 0
    if not CACHE_GRID_MIB_MIN <= size <= CACHE_GRID_MIB_MAX:
        raise click.BadParameter(
            f"{text!r} is not a size from {CACHE_GRID_MIB_MIN}MiB to 1024GiB; write it as 256MiB"
        )
    return size


def log(text: str) -> None:
    """Write what happens to standard error."""
    click.echo(f"cluster: {text}", err=True)


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
    help="The number of replicas of a new cluster, by default one. It never changes.",
)
@click.option(
    "--cluster-id",
    type=cluster_id_of,
    metavar="N",
    help="The id of a new cluster, by default 0, which is for development. It never changes.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_533),
    metavar="P",
    help="The port of the first replica; the others follow. 0 chooses free ports, the default for"
    " a new cluster.",
)
@click.option(
    "--cache-grid",
    type=mebibytes_of,
    metavar="SIZE",
    help=f"The size of the server's cache of its data file, by default {CACHE_GRID_MIB}MiB.",
)
@click.option(
    "--development/--no-development",
    default=None,
    help="Use small batches, little memory, and no direct I/O. You can switch it off later, but not"
    " on.",
)
@click.option(
    "--foreground",
    is_flag=True,
    help="Supervise the replicas in this process; Ctrl-C stops them.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(1, 86_400),
    default=START_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for the first answer.",
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

    A new directory gets its data files once, about 1.1 GB for each replica. Every replica listens
    on 127.0.0.1 only. A replica that dies restarts, after a pause that grows. A cluster that runs
    already stays as it is. A new start that does not answer in time is stopped again.
    """
    options = Options(
        replicas=int(replicas) if replicas else None,
        cluster_id=cluster_id,
        port=port,
        cache_grid_mib=cache_grid,
        development=development,
    )
    server = find_server()
    try:
        description = prepare(directory, options, server, log=log)
    except AlreadyRunning as running:
        if foreground:
            raise
        log(str(running))
        description = read_description(directory)
        with show_startup(quiet=quiet) as progress:
            answer = await_health(
                directory, description, seconds=seconds, progress=progress, fresh=False
            )
        _show(directory, description, answer, as_json=as_json)
        return
    if foreground:
        supervisor = Supervisor(directory, description, server, log=log)
        _run(supervisor, directory, description, seconds=seconds, quiet=quiet, as_json=as_json)
        return
    answer = _start(directory, description, server, seconds=seconds, quiet=quiet)
    _show(directory, description, answer, as_json=as_json)


def _start(
    directory: Path, description: Description, server: Path, *, seconds: float, quiet: bool
) -> Answer:
    """Start a supervisor that outlives this process. Stop a cluster that does not get healthy."""
    interruption = Interruption()
    with interruption.listening():
        try:
            with interruption.shield():
                start_detached(directory, server)
            with show_startup(quiet=quiet) as progress:
                return await_health(directory, description, seconds=seconds, progress=progress)
        except SupervisorFailed:
            raise  # it never ran; another supervisor may run, and must not be stopped
        except (ClusterError, OSError, KeyboardInterrupt):
            stop_cluster(directory, log=log)
            raise


def _run(
    supervisor: Supervisor,
    directory: Path,
    description: Description,
    *,
    seconds: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Supervise in this process, until a signal or a closed terminal ends it."""
    with stop_on_signal(signal.SIGHUP) as stop:
        supervisor.start()
        try:
            with show_startup(quiet=quiet) as progress:
                answer = await_health(
                    directory,
                    description,
                    seconds=seconds,
                    progress=progress,
                    poll=supervisor.poll,
                    stopped=stop.is_set,
                )
            _show(directory, description, answer, as_json=as_json)
        except BaseException as error:
            supervisor.stop()
            if stop.is_set() and isinstance(error, ClusterError):
                raise click.Abort from None
            raise
        if not as_json:
            screen.line("Ctrl-C stops the cluster.", style="dim")
        supervisor.run(stop)


def _show(directory: Path, description: Description, answer: Answer, *, as_json: bool) -> None:
    if as_json:
        screen.json_line(
            {
                "path": str(directory),
                "cluster_id": str(description.cluster_id),
                "addresses": list(description.addresses),
                "version": description.version,
                "answer_seconds": answer.seconds,
                "environment": description.environment,
            }
        )
        return
    count = screen.counted(description.replica_count, "replica")
    screen.line(f"The cluster in {directory} is running: {count}.", style="bold green")
    screen.facts(
        [
            ("server version", description.version),
            ("look-ups", answer.text),
            ("logs", str(directory / "replica-*.log")),
        ]
    )
    screen.line()
    screen.line("Programs that use it need:")
    for name, value in description.environment.items():
        screen.line(f"  export {name}={value}")
