"""``nostro repair``: copy the events before the damage to a new ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nostro import journal
from nostro.journal import RepairPlan, RepairReport
from nostro.projections.checkpoints.witnesses import derived_witnesses
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.cli.upkeep.reports import damage_json, report_json


@click.command(
    cls=DocumentedCommand,
    short_help="Keep what comes before damage, as a new ledger.",
    examples=(
        "nostro repair books repaired",
        "nostro repair books repaired --apply --lose 12",
        "nostro repair books repaired --json",
    ),
)
@parameters.directory
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--apply", is_flag=True, help="Do it; without this, only show what would be done.")
@click.option(
    "--lose",
    type=click.IntRange(0),
    metavar="N",
    help="The number of events that are lost, exactly as the dry run shows.",
)
@parameters.quiet
@parameters.as_json
def repair(
    directory: Path,
    destination: Path,
    *,
    apply: bool,
    lose: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a ledger in DEST from the events before the damage in DIR.

    Without --apply nothing is written. DIR is never changed. DEST must be empty or must not exist.
    It is another ledger, with a new identity; its last event describes the repair, and every byte
    that is not in its events is kept in DEST/quarantine. First look for a backup: it may contain
    more.
    """
    if apply != (lose is not None):
        raise click.UsageError("--apply needs --lose N, and --lose N needs --apply")
    if lose is None:
        with Interruption().listening():
            plan = journal.plan_repair(directory, witnesses=derived_witnesses)
        if as_json:
            screen.json_line({"applied": False, **_plan_json(plan)})
        else:
            _show_plan(plan)
            screen.line("Nothing was changed. To repair it:")
            screen.line(
                f"  nostro repair {directory} {destination} --apply --lose {plan.events_lost}"
            )
        return
    with Interruption().listening(), show_progress("repair", "bytes", quiet=quiet) as progress:
        report = journal.repair(
            directory,
            destination,
            lose=lose,
            witnesses=derived_witnesses,
            progress=progress.update,
        )
    if as_json:
        screen.json_line(_report_json(destination, report))
    else:
        _show_plan(report.plan)
        screen.line(
            f"{destination} is ledger {report.ledger_id.hex()}; event {report.position:,}"
            " describes the repair."
        )


def _show_plan(plan: RepairPlan) -> None:
    screen.line(str(plan.damage))
    screen.facts(
        [
            ("kept", f"{plan.position_kept:,} events, {plan.bytes_kept:,} bytes"),
            ("lost", f"{plan.events_lost:,} events after position {plan.position_kept:,}"),
            (
                "quarantine",
                f"{plan.bytes_dropped:,} bytes in {screen.counted(len(plan.dropped), 'file')}",
            ),
        ]
    )


def _plan_json(plan: RepairPlan) -> dict[str, Any]:
    fields = report_json(plan)
    before = fields.pop("ledger_id")
    return {
        **fields,
        "ledger_id_before": before,
        "damage": damage_json(plan.damage),
        "dropped": [
            {"path": str(one.path), "offset_bytes": one.offset_bytes, "bytes": one.size_bytes}
            for one in plan.dropped
        ],
    }


def _report_json(destination: Path, report: RepairReport) -> dict[str, Any]:
    return {
        "applied": True,
        "path": str(destination),
        "ledger_id": report.ledger_id.hex(),
        "position": report.position,
        "quarantine": str(report.quarantine),
        "seconds": round(report.seconds, 3),
        **_plan_json(report.plan),
    }
