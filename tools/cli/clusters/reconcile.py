"""``nostro reconcile``: compare every account and transfer with a TigerBeetle cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from nostro.journal import AccountFlags, TransferFlags
from nostro.journal.storage.directory import Directory, require_ledger
from nostro.projections.ledger.ledger import Ledger
from nostro.projections.tigerbeetle.errors import ConnectionFailed, Difference, ForeignData
from nostro.projections.tigerbeetle.reconcile.comparison import Counts
from nostro.projections.tigerbeetle.reconcile.reconcile import (
    DIFFERENCES_MAX,
    ReconcileReport,
    reconcile,
)
from nostro.tools.cli.clusters.cluster_options import ClusterOptions, cluster_options
from nostro.tools.cli.clusters.report_json import report_json
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED, GOOD, WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.cli.terminal.screen import Column

_UNREACHABLE: Final = "check the addresses, the cluster id and the logs of the replicas"
_RESUME: Final = "add --resume to continue from there"
_FOREIGN: Final = "name the cluster that mirrors this ledger"


@click.command(
    "reconcile",
    cls=DocumentedCommand,
    short_help="Compare with a TigerBeetle cluster, row by row.",
    examples=(
        "nostro reconcile books --cluster-id 0 --replicas 127.0.0.1:3001",
        "nostro reconcile books --json --quiet",
        "nostro reconcile books --resume --limit-differences 1000",
    ),
)
@parameters.directory
@cluster_options
@click.option("--resume", is_flag=True, help="Continue an earlier run that was stopped.")
@click.option(
    "--limit-differences",
    "differences_max",
    type=click.IntRange(0),
    default=DIFFERENCES_MAX,
    show_default=True,
    metavar="N",
    help="Show at most N differences; all are counted.",
)
@parameters.quiet
@parameters.as_json
@click.pass_context
def reconcile_command(
    context: click.Context,
    directory: Path,
    *,
    cluster: ClusterOptions,
    resume: bool,
    differences_max: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compare every account and every transfer in DIR with those in a TigerBeetle cluster.

    It compares every field, the balances too, and finds events that only one side has. An event
    that the mirror has not sent yet does not count as missing; the report shows how many there are.
    The command only reads, and may run beside the writer and the mirror. The exit code is 1 if
    anything differs.
    """
    require_ledger(Directory(directory))
    configuration = cluster.configuration()
    with (
        Interruption().listening(),
        show_progress("reconcile", "transfers", quiet=quiet) as progress,
    ):
        has_begun = False

        def update(done: int, total: int, count: int) -> None:
            nonlocal has_begun
            has_begun = True
            progress.update(done, total, count)

        try:
            report = reconcile(
                directory,
                configuration,
                open_ledger=Ledger.open,
                resume=resume,
                differences_max=differences_max,
                progress=update,
            )
        except ConnectionFailed as error:
            raise CommandFailed(
                str(error), code=WRONG_USE, hint=_RESUME if has_begun else _UNREACHABLE
            ) from None
        except ForeignData as error:
            raise CommandFailed(str(error), code=WRONG_USE, hint=_FOREIGN) from None
    if as_json:
        derived = {"equal": report.equal, "events_behind": report.events_behind}
        screen.json_line(report_json(report) | derived)
    else:
        _show(report)
    context.exit(GOOD if report.equal else CHECK_FAILED)


def _show(report: ReconcileReport) -> None:
    if report.differences:
        columns = [Column("what"), Column("id", right=True), Column("field"),
                   Column("journal", right=True), Column("cluster", right=True)]  # fmt: skip
        screen.table(columns, map(_cells, report.differences))
    unshown = report.differences_found - len(report.differences)
    if unshown:
        screen.line(f"{unshown:,} more are not shown; --limit-differences N shows N.")
    if report.equal:
        screen.line("Equal: the journal and the cluster hold the same.", style="bold green")
    else:
        screen.line(
            "DIFFERENT: the journal and the cluster do not hold the same.", style="bold red"
        )
    rate = report.transfers.compared / report.seconds if report.seconds > 0 else 0
    screen.facts(
        [
            ("accounts", _counted(report.accounts)),
            ("transfers", _counted(report.transfers)),
            ("position", f"{report.position:,} of {report.position_head:,}"),
            (
                "resumed",
                f"an earlier run compared the transfers up to {report.position_resumed:,}"
                if report.position_resumed
                else "",
            ),
            ("time", f"{report.seconds:.2f} s ({rate:,.0f} transfers/s)"),
        ]
    )
    if report.events_behind:
        behind = screen.counted(report.events_behind, "event")
        screen.line(
            f"The cluster is {behind} behind; these were not compared.",
            style="yellow",
        )


def _counted(counts: Counts) -> str:
    parts = [f"{counts.compared:,} compared"]
    for number, what in (
        (counts.different, "different"),
        (counts.missing, "missing in the cluster"),
        (counts.extra, "only in the cluster"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return ", ".join(parts)


def _cells(difference: Difference) -> tuple[str, ...]:
    sides = (_value_text(difference, value) for value in (difference.journal, difference.cluster))
    return difference.kind, screen.id_text(difference.id), difference.field, *sides


def _value_text(difference: Difference, value: object) -> str:
    """A value as people read it."""
    if not isinstance(value, int):
        return str(value)
    if difference.field == "flags":
        flags = AccountFlags if difference.kind == "account" else TransferFlags
        names = [str(flag.name).lower() for flag in flags if value & flag]
        return "+".join(names) or "none"
    if difference.field.endswith("id") or difference.field == "user_data_128":
        return screen.id_text(value)
    return f"{value:,}" if difference.field != "timestamp" else str(value)
