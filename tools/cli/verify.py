"""``nostro verify``: read every byte of the journal and prove that it is what was written."""

from __future__ import annotations

from pathlib import Path

import click

import journal
from tools.cli import parameters, screen
from tools.cli.documented import DocumentedCommand
from tools.cli.failures import DAMAGED, FAILURES
from tools.cli.meter import meter


@click.command(
    cls=DocumentedCommand,
    short_help="Check every byte of the journal.",
    examples=(
        "nostro verify books",
        "nostro verify books --decode",
        "nostro verify books --json --quiet",
    ),
)
@parameters.directory
@click.option("--decode", is_flag=True, help="Decode every event too; ten times as slow.")
@parameters.quiet
@parameters.as_json
@click.pass_context
def verify(
    context: click.Context, directory: Path, *, decode: bool, quiet: bool, as_json: bool
) -> None:
    """Read every byte of the journal in DIR and check it.

    Checks headers, checksums, the hash chain from the first event to the last, the sealed files'
    own hashes and HEAD. Changes nothing, and may run beside a writer. When something is damaged
    the exit code is 3, and file, byte, position and cause are named.

    What passes is what was written. `nostro replay --check` shows that balances follow from it.
    """
    with meter("verify", "bytes", quiet=quiet) as progress:
        try:
            report = journal.verify(
                directory,
                decode=decode,
                progress=lambda done, total: progress.update(done, total, done),
            )
        except journal.Damage as damage:
            if not as_json:
                raise
            screen.json_line(_damage_json(damage))
            context.exit(DAMAGED)
    if as_json:
        screen.json_line(
            {
                "sound": True,
                "ledger_id": report.ledger_id.hex(),
                "segments": report.segments,
                "records": report.records,
                "events": report.events,
                "bytes": report.size_bytes,
                "position": report.position,
                "chain_hash": report.frame_sha256.hex(),
                "bytes_past_head": report.bytes_past_head,
            }
        )
        return
    screen.line("Sound: every byte is what was written.", style="bold green")
    screen.facts(
        [
            ("ledger", report.ledger_id.hex()),
            ("events", f"{report.events:,} in {screen.counted(report.records, 'record')}"),
            ("bytes", f"{report.size_bytes:,} in {screen.counted(report.segments, 'segment')}"),
            ("chain hash", report.frame_sha256.hex()),
            (
                "unfinished",
                f"{report.bytes_past_head:,} bytes were never acknowledged"
                if report.bytes_past_head
                else "",
            ),
        ]
    )


def _damage_json(damage: journal.Damage) -> dict[str, object]:
    hint = next(failure.hint for failure in FAILURES if isinstance(damage, failure.kind))
    return {
        "sound": False,
        "kind": type(damage).__name__,
        "path": str(damage.path),
        "offset_bytes": damage.offset_bytes,
        "position": damage.position,
        "cause": damage.cause,
        "hint": hint,
    }
