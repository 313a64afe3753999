"""``nostro checkpoint``: write one now, so that the next start has nothing to replay."""

from __future__ import annotations

from pathlib import Path

import click

from nostro.projections import Ledger
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand


@click.command(
    cls=DocumentedCommand,
    short_help="Write a checkpoint now.",
    examples=(
        "nostro checkpoint books",
        "nostro checkpoint books --json",
    ),
)
@parameters.directory
@parameters.as_json
def checkpoint(directory: Path, *, as_json: bool) -> None:
    """Write a checkpoint of the ledger in DIR now.

    A checkpoint holds the state at one position, so that opening replays only what came later.
    It may be deleted at any time; the journal is the truth.
    """
    with Ledger.open(directory, create=False) as ledger:
        written = ledger.checkpoint()
    if as_json:
        screen.json_line(
            {
                "position": written.position,
                "path": str(written.path),
                "bytes": written.size_bytes,
                "state_sha256": written.state_sha256.hex(),
            }
        )
        return
    screen.facts(
        [
            ("checkpoint", str(written.path)),
            ("position", f"{written.position:,}"),
            ("bytes", f"{written.size_bytes:,}"),
            ("state hash", written.state_sha256.hex()),
        ]
    )
