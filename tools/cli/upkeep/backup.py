"""``nostro backup``: a consistent copy of the journal, taken while it is written or not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from nostro import journal
from nostro.journal.storage.throttle import PACE_DEFAULT
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.cli.upkeep.reports import report_json
from nostro.tools.times import format_plain

_NICENESS: Final = 19


@click.command(
    cls=DocumentedCommand,
    short_help="Copy the journal, also while it is written.",
    examples=(
        "nostro backup books /mnt/backup/books",
        "nostro backup books /mnt/backup/books --json --quiet",
        "nostro backup books books-before-the-change --link",
    ),
)
@parameters.directory
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option(
    "--link",
    is_flag=True,
    help="Hard-link sealed segments instead of copying them. This is quick, but damage to one is"
    " damage to both.",
)
@click.option(
    "--pace",
    type=click.FloatRange(0, 1, min_open=True),
    default=PACE_DEFAULT,
    show_default=True,
    help="Work only this share of the time while the ledger is written; 1 is full speed.",
)
@parameters.quiet
@parameters.as_json
def backup(
    directory: Path, destination: Path, *, link: bool, pace: float, quiet: bool, as_json: bool
) -> None:
    """Copy to DEST every event in DIR that is durable when the backup begins.

    The backup takes no lock on DIR, and hardly slows its writer: see --pace. DEST is created if it
    does not exist. The next backup to the same DEST copies only the newer events. DEST is itself a
    ledger's directory: you can verify it, read it and restore it. After an interruption the
    earlier backup is still usable.
    """
    with (
        Interruption().listening(),
        _low_priority(),
        show_progress("backup", "bytes", quiet=quiet) as progress,
    ):
        report = journal.backup(
            directory,
            destination,
            link=link,
            pace=pace,
            progress=progress.update,
        )
    if as_json:
        screen.json_line({"path": str(destination), **report_json(report)})
        return
    came = report.position - (report.position_before or 0)
    screen.line(f"{destination} holds every event up to position {report.position:,}.")
    screen.facts(
        [
            ("ledger", report.ledger_id.hex()),
            ("latest time", format_plain(report.timestamp) if report.timestamp else ""),
            ("events", f"{came:,} more than the backup before" if report.position_before else ""),
            ("bytes", f"{report.size_bytes:,} in {screen.counted(report.segments, 'segment')}"),
            ("copied", f"{report.bytes_copied:,} bytes in {report.seconds:.2f} s"),
            ("linked", screen.counted(report.segments_linked, "segment") if link else ""),
            ("chain hash", report.frame_sha256.hex()),
        ]
    )


@contextlib.contextmanager
def _low_priority() -> Iterator[None]:
    """Let other processes go first, at the processor and, as a consequence, at the disk."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(before, _NICENESS))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # only a privileged process may raise it again
            os.setpriority(os.PRIO_PROCESS, 0, before)
