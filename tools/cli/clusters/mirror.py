"""``nostro mirror``: copy the journal into a TigerBeetle cluster, and show the mirror's status."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from nostro.journal.storage.directory import Directory, require_ledger
from nostro.journal.storage.files import Storage
from nostro.projections.ledger.mirroring import backend
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.mirror.cursor import forget_cursor
from nostro.projections.tigerbeetle.mirror.files import mirrors_of
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth, MirrorState, metrics
from nostro.projections.tigerbeetle.mirror.mirror import Mirror
from nostro.tools.cli.clusters.cluster_options import ClusterOptions, cluster_options
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED, WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import CommandInterrupted, leave
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.signals import stop_on_signal
from nostro.tools.times import format_plain

_LOOK_SECONDS = 0.25
_STOP_SECONDS = 2.0
"""A request that a cluster does not answer by then is left alone; nothing is lost."""


@click.command(
    cls=DocumentedCommand,
    short_help="Mirror the journal into a TigerBeetle cluster.",
    examples=(
        "nostro mirror books --cluster-id 0 --replicas 127.0.0.1:3001",
        "nostro mirror books --once",
        "nostro mirror books --status",
        "nostro mirror books --status --metrics",
    ),
)
@parameters.directory
@cluster_options
@click.option(
    "--once", is_flag=True, help="End when the cluster holds every event that is durable now."
)
@click.option(
    "--status", is_flag=True, help="Only show the mirror's status; exit 1 unless it is healthy."
)
@click.option(
    "--metrics", "as_metrics", is_flag=True, help="With --status: write Prometheus metrics."
)
@click.option(
    "--rebuild-cursor",
    is_flag=True,
    help="Forget the saved position and ask the cluster; use it after you replaced the cluster.",
)
@parameters.quiet
@parameters.as_json
def mirror(
    directory: Path,
    *,
    cluster: ClusterOptions,
    once: bool,
    status: bool,
    as_metrics: bool,
    rebuild_cursor: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Send every account and transfer in DIR to a TigerBeetle cluster, and go on as DIR grows.

    The cluster then holds the same ids, timestamps and balances. Another process may write to the
    ledger meanwhile. Ctrl-C loses nothing. If TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS are
    set, `nostro serve` starts such a mirror itself.
    """
    require_ledger(Directory(directory))
    if status:
        _show_status(directory, cluster.cluster_id, as_metrics=as_metrics, as_json=as_json)
        return
    if as_metrics:
        raise CommandFailed("--metrics needs --status", code=WRONG_USE)
    found = cluster.configuration()
    if not (quiet or as_json):
        screen.line(f"Accounting backend: {backend(directory, found)}")
    with Mirror(directory, found) as running:
        if rebuild_cursor:
            forget_cursor(Storage(), Directory(directory), found.cluster_id)
        health = _run(running, found, once=once, quiet=quiet)
    if as_json:
        screen.json_line(health.as_json())
    elif not quiet:
        screen.line(f"The cluster holds every event up to position {health.position:,}.")


def _run(running: Mirror, found: ClusterConfiguration, *, once: bool, quiet: bool) -> MirrorHealth:
    """Mirror in a thread, and show its progress meanwhile."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            if once:
                running.catch_up()
            else:
                running.run(stop)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    with stop_on_signal() as stop, show_progress("mirror", "events", quiet=quiet) as progress:
        worker = threading.Thread(target=work, name="nostro-mirror", daemon=True)
        worker.start()
        shown_error, begun = None, running.health().position
        while worker.is_alive():
            worker.join(_LOOK_SECONDS)
            health = running.health()
            progress.update(health.position, health.position_head, health.position - begun)
            error = health.last_error if health.state is MirrorState.RETRYING else None
            if error not in {None, shown_error}:
                shown_error = error
                click.echo(f"nostro: {error}; trying again", err=True)
            if stop.is_set():
                worker.join(min(found.timeout_seconds, _STOP_SECONDS))
                break
        health = running.health()
        progress.update(health.position, health.position_head, health.position - begun)
    if worker.is_alive():  # TigerBeetle's client crashes if Python ends while a request waits
        leave(stop.number)
    if once and stop.is_set():
        raise CommandInterrupted(stop.number)
    if failure:
        raise failure[0]
    return health


def _show_status(
    directory: Path, cluster_id: str | None, *, as_metrics: bool, as_json: bool
) -> None:
    storage = Storage()
    mirrors = mirrors_of(storage, Directory(directory))
    if cluster_id is not None:
        mirrors = [files for files in mirrors if str(files.cluster_id) == cluster_id]
    healths = [health for files in mirrors if (health := files.health_now(storage)) is not None]
    if not healths:
        raise CommandFailed(
            f"{directory} has no mirror", code=CHECK_FAILED,
            hint="`nostro mirror DIR --cluster-id N --replicas HOST:PORT` starts one",
        )  # fmt: skip
    for health in healths:
        if as_metrics:
            click.echo(metrics(health), nl=False)
        elif as_json:
            screen.json_line(health.as_json())
        else:
            screen.facts(_facts(health))
    if not all(health.is_healthy for health in healths):
        raise SystemExit(CHECK_FAILED)


def _facts(health: MirrorHealth) -> list[tuple[str, str]]:
    error_at = format_plain(health.last_error_at) if health.last_error_at else ""
    return [
        ("cluster", str(health.cluster_id)),
        ("replicas", health.replicas),
        ("state", health.state.value),
        ("connected", "yes" if health.connected else "no"),
        ("position", f"{health.position:,} of {health.position_head:,}"),
        ("behind", f"{health.lag_events:,} events, {health.lag_seconds:.1f} s"),
        ("mirrored", f"{health.events_mirrored:,} events since it started"),
        ("failures", f"{health.failures:,}"),
        ("last error", f"{health.last_error} ({error_at})" if health.last_error else ""),
        ("as of", format_plain(health.updated_at)),
    ]
