"""``nostro cluster up``: make the cluster if it is new, start it, and wait until it answers."""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.parameters import Command
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
from nostro.tools.cluster.lookup import Answer
from nostro.tools.cluster.server import find_server
from nostro.tools.cluster.starting import CACHE_GRID_MIB, Options, prepare, start_detached
from nostro.tools.cluster.status import await_health
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
    """Parse a size in MiB or GiB, the two units that the server accepts."""
    match = re.fullmatch(r"([0-9]{1,9})(MiB|GiB)", text)
    size = int(match[1]) * _MIB_OF[match[2]] if match else 0
    if not CACHE_GRID_MIB_MIN <= size <= CACHE_GRID_MIB_MAX:
        raise click.BadParameter(
            f"{text!r} is not a size from {CACHE_GRID_MIB_MIN}MiB to 1024GiB; write it as 256MiB"
        )
    return size


def log(text: str) -> None:
    """Write to standard error what happens to the cluster."""
    click.echo(f"cluster: {text}", err=True)


def timeout(seconds: float, text: str) -> Callable[[Command], Command]:
    """Return the option --timeout with this default and help."""
    return click.option(
        "--timeout",
        "seconds",
        type=click.FloatRange(0.1, 86_400),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help=text,
    )


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
    type=click.Choice(REPLICA_COUNTS),
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
    "cache_grid_mib",
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
@timeout(START_SECONDS, "Wait at most this time for the first answer.")
@parameters.quiet
@parameters.as_json
def up(
    directory: Path,
    *,
    foreground: bool,
    seconds: float,
    quiet: bool,
    as_json: bool,
    **asked: Any,  # noqa: ANN401 - the fields of Options, parsed by click
) -> None:
    """Start the TigerBeetle cluster in DIR, and wait until it answers a look-up.

    In a new directory the command first makes a data file of about 1.1 GB for each replica. Every
    replica listens on 127.0.0.1 only. A replica that dies restarts, after a pause that grows. A
    cluster that already runs stays as it is. A cluster that does not answer in time is stopped
    again.
    """
    server = find_server()
    try:
        description = prepare(directory, Options(**asked), server, log=log)
    except AlreadyRunning as running:
        if foreground:
            raise
        log(str(running))
        description = read_description(directory)
        answer = _wait(directory, description, seconds, quiet, fresh=False)
        _show(directory, description, answer, as_json=as_json)
        return
    wait = functools.partial(_wait, directory, description, seconds, quiet)
    show = functools.partial(_show, directory, description, as_json=as_json)
    if foreground:
        _supervise(Supervisor(directory, description, server, log=log), wait, show)
    else:
        show(_start(directory, server, wait))


def _wait(
    directory: Path,
    description: Description,
    seconds: float,
    quiet: bool,
    **more: Any,  # noqa: ANN401 - the other arguments of await_health
) -> Answer:
    """Show the start-up until the cluster answers."""
    with show_startup(quiet=quiet) as progress:
        return await_health(directory, description, seconds=seconds, progress=progress, **more)


def _start(directory: Path, server: Path, wait: Callable[[], Answer]) -> Answer:
    """Start a supervisor that outlives this process. Stop a cluster that does not answer."""
    interruption = Interruption()
    with interruption.listening():
        try:
            with interruption.shield():
                start_detached(directory, server)
            return wait()
        except SupervisorFailed:
            raise  # it never ran; another supervisor may run, and must not be stopped
        except (ClusterError, OSError, KeyboardInterrupt):
            stop_cluster(directory, log=log)
            raise


def _supervise(
    supervisor: Supervisor, wait: Callable[..., Answer], show: Callable[[Answer], None]
) -> None:
    """Supervise in this process, until a signal or a closed terminal ends it."""
    with stop_on_signal(signal.SIGHUP) as stop:
        supervisor.start()
        try:
            show(wait(poll=supervisor.poll, stopped=stop.is_set))
        except BaseException as error:
            supervisor.stop()
            if stop.is_set() and isinstance(error, ClusterError):
                raise click.Abort from None
            raise
        click.echo("Ctrl-C stops the cluster.", err=True)
        supervisor.run(stop)


def _show(directory: Path, description: Description, answer: Answer, *, as_json: bool) -> None:
    if as_json:
        screen.json_line(
            {
                "path": str(directory),
                **description.to_json(),
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
