"""``nostro import-cluster``: make a ledger from a TigerBeetle cluster, and follow it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from nostro.projections.ledger.ledger import Ledger
from nostro.projections.tigerbeetle.errors import ConnectionFailed, ImportRefused
from nostro.projections.tigerbeetle.importing.cluster_import import ClusterImport, ImportReport
from nostro.tools.cli.clusters.cluster_options import ClusterOptions, cluster_options
from nostro.tools.cli.clusters.report_json import report_json
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED, GOOD, WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import exit_code
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.signals import stop_on_signal

_AGAIN: Final = "imported events are safe; run the same command again to continue"
_REFUSED: Final = "the events before it were imported; `nostro log DIR` shows them"


@click.command(
    "import-cluster",
    cls=DocumentedCommand,
    short_help="Make a ledger from a TigerBeetle cluster.",
    examples=(
        "nostro import-cluster books --cluster-id 0 --replicas 127.0.0.1:3001",
        "nostro import-cluster books --follow",
        "nostro import-cluster books --json --quiet",
    ),
)
@parameters.directory
@cluster_options
@click.option("--follow", is_flag=True, help="Import new events too, until Ctrl-C.")
@parameters.quiet
@parameters.as_json
@click.pass_context
def import_cluster(
    context: click.Context,
    directory: Path,
    *,
    cluster: ClusterOptions,
    follow: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read every account and transfer of a TigerBeetle cluster into the ledger in DIR.

    They keep their ids and times, so past balances, audits and backups work on the cluster's own
    history. The command makes DIR if it does not exist. Run it again to continue a stopped import,
    or to add new events. At the end it compares all balances with the cluster's, unless the cluster
    is being written to. The exit code is 1 if they differ.

    The command writes nothing to the cluster. Nothing else may write to DIR.
    """
    configuration = cluster.configuration()
    has_begun = False
    try:
        with (
            ClusterImport(directory, configuration, open_ledger=Ledger.open) as importing,
            stop_on_signal() as stop,
            show_progress("import", "transfers", quiet=quiet) as progress,
        ):
            has_begun = True
            report = importing.run(follow=follow, stop=stop, progress=progress.update)
    except ConnectionFailed as error:
        raise CommandFailed(
            str(error),
            code=CHECK_FAILED if has_begun else WRONG_USE,
            hint=_AGAIN if has_begun else "nothing was changed",
        ) from None
    except ImportRefused as error:
        raise CommandFailed(str(error), code=CHECK_FAILED, hint=_REFUSED) from None
    stopped = stop.is_set() and not follow
    if as_json:
        screen.json_line(report_json(report) | {"complete": not stopped})
    else:
        _show(directory, report, stopped=stopped)
    if stopped:
        context.exit(exit_code(stop.number))
    context.exit(CHECK_FAILED if report.differences else GOOD)


def _show(directory: Path, report: ImportReport, *, stopped: bool) -> None:
    rate = report.transfers / report.seconds if report.seconds > 0 else 0
    screen.facts(
        [
            ("accounts", f"{report.accounts:,} imported"),
            ("transfers", f"{report.transfers:,} imported"),
            ("expired", f"{report.expiries:,} pending transfers" if report.expiries else ""),
            ("position", f"{report.position:,}"),
            ("time", f"{report.seconds:.2f} s ({rate:,.0f} transfers/s)"),
        ]
    )
    for difference in report.differences:
        screen.line(f"{difference} (journal / cluster)")
    if stopped:
        screen.line(f"Stopped before the end; {_AGAIN}.", style="yellow")
    elif report.differences:
        screen.line(
            f"DIFFERENT: {directory} and the cluster do not hold the same.", style="bold red"
        )
    elif report.accounts_compared is None:
        screen.line(
            "Balances were not compared, because the cluster is being written to.", style="yellow"
        )
    else:
        compared = screen.counted(report.accounts_compared, "account")
        screen.line(
            f"Equal: the balances of {compared} are the same in the cluster.", style="bold green"
        )
