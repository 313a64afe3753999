"""``nostro restore``: make a ledger from a backup, whole or up to an earlier moment."""

from __future__ import annotations

from pathlib import Path

import click

from nostro import journal
from nostro.journal import RestoreReport
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.cli.upkeep.reports import report_json
from nostro.tools.times import format_plain


@click.command(
    cls=DocumentedCommand,
    short_help="Make a ledger from a backup, of any moment.",
    examples=(
        "nostro restore /mnt/backup/books books",
        "nostro restore /mnt/backup/books books-as-it-was --until-position 20000",
        "nostro restore /mnt/backup/books may --until-time 2024-05-31 --json",
    ),
)
@click.argument("source", metavar="BACKUP", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option(
    "--until-position",
    type=click.IntRange(0),
    metavar="N",
    help="Leave out every event after position N.",
)
@click.option(
    "--until-time",
    type=parameters.last_instant,
    metavar="TIME",
    help="Leave out the first request with a later event, and all after it; a bare date means"
    " the end of that day (UTC).",
)
@click.option(
    "--new-identity", is_flag=True, help="Give the ledger a new identity, even if it is whole."
)
@parameters.quiet
@parameters.as_json
def restore(
    source: Path,
    destination: Path,
    *,
    until_position: int | None,
    until_time: int | None,
    new_identity: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a ledger in DEST from BACKUP. DEST must be empty or must not exist.

    Every byte of BACKUP is verified first, and every byte of DEST before it gets its name. DEST
    ends with a whole request, never within one. A whole backup is restored as the same ledger. A
    part of it becomes another ledger, with a new identity, so nobody mistakes it for the whole; its
    last event says where it comes from.
    """
    if until_position is not None and until_time is not None:
        raise click.UsageError("give --until-position or --until-time, not both")
    with Interruption().listening(), show_progress("restore", "bytes", quiet=quiet) as progress:
        report = journal.restore(
            source,
            destination,
            until_position=until_position,
            until_timestamp=until_time,
            new_identity=new_identity,
            progress=progress.update,
        )
    if as_json:
        same = {"path": str(destination), "same_ledger": report.is_same_ledger}
        screen.json_line({**same, **report_json(report)})
    else:
        _show(destination, report)


def _show(destination: Path, report: RestoreReport) -> None:
    screen.line(f"{destination} holds every event up to position {report.position:,}.")
    if report.request_left_out is not None:
        first, last = report.request_left_out
        screen.line(
            f"Positions {first:,} to {last:,} are one request, which is whole or not at all: it is"
            " left out."
        )
    left_out = report.position_backup - report.position
    if report.is_same_ledger:
        screen.line("It is the same ledger: do not write to both.")
    else:
        screen.line(f"It is another ledger; event {report.position + 1:,} says where it is from.")
    screen.facts(
        [
            ("ledger", report.ledger_id.hex()),
            ("restored from", report.ledger_id_before.hex()),
            ("latest time", format_plain(report.timestamp) if report.timestamp else ""),
            ("left out", screen.counted(left_out, "event") if left_out else ""),
            ("bytes", f"{report.size_bytes:,} in {report.seconds:.2f} s"),
            ("chain hash", report.frame_sha256.hex()),
        ]
    )
