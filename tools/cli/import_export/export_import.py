"""``nostro import`` of an export: a new ledger with the same events."""

from __future__ import annotations

from pathlib import Path

from nostro.tools.cli.terminal import screen
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.exporting import import_export


def run(file: Path, directory: Path, *, as_json: bool, quiet: bool) -> None:
    """Import the export ``file`` and tell what was made."""
    with Interruption().listening(), show_progress("import", "bytes", quiet=quiet) as progress:
        imported = import_export(file, directory, progress=progress.update)
    if as_json:
        screen.json_line(
            {
                "path": str(directory),
                "ledger_id": imported.ledger_id.hex(),
                "ledger_id_before": imported.ledger_id_before.hex(),
                "position": imported.position,
                "requests": imported.requests,
                "state_sha256": imported.state_sha256.hex(),
            }
        )
        return
    screen.line(f"{directory} holds every event of {file}, up to position {imported.position:,}.")
    screen.facts(
        [
            ("ledger", imported.ledger_id.hex()),
            ("exported from", imported.ledger_id_before.hex()),
            ("requests", f"{imported.requests:,}"),
            ("state hash", imported.state_sha256.hex()),
        ]
    )
