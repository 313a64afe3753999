"""``nostro root``: one hash over every event so far. Keep it elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from nostro.journal import Root, read_key
from nostro.tools.cli.evidence import files as evidence
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand


@click.command(
    cls=DocumentedCommand,
    short_help="Take the journal's root, and sign it.",
    examples=(
        "nostro root books",
        "nostro root books --key ~/nostro.key --out 2026-01-31.root",
        "nostro root books --at 20000 --json",
    ),
)
@parameters.directory
@click.option(
    "--at",
    type=click.IntRange(0),
    metavar="POSITION",
    help="Take the root of the events up to this position.",
)
@click.option(
    "--key", type=evidence.FILE, metavar="FILE", help="Sign the root with the key in FILE."
)
@click.option("--fresh", is_flag=True, help="Hash every event again instead of using DIR/tree.")
@evidence.out
@parameters.quiet
@parameters.as_json
def root(
    directory: Path,
    *,
    at: int | None,
    key: Path | None,
    fresh: bool,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Take the Merkle root over every event in DIR.

    Keep the root where a person who can write to DIR cannot change it. Later, `nostro verify
    --root` proves that no event was altered, removed or inserted. The command may run beside a
    writer. It keeps its hashes in DIR/tree, and the next root takes less time.
    """
    signing_key = None if key is None else read_key(key)
    with evidence.event_tree(directory, "root", quiet=quiet, use_kept=not fresh) as tree:
        position = tree.position if at is None else at
        taken = Root.take(tree.ledger_id, position, tree.root(position))
    if signing_key is not None:
        taken = taken.sign(signing_key)
    if out is not None:
        evidence.write_evidence(out, taken.encode())
    if as_json:
        screen.json_line(taken.shown())
        return
    screen.facts(
        [
            ("ledger", taken.ledger_id.hex()),
            ("events", f"{taken.position:,}"),
            ("root", taken.root.hex()),
            ("signed by", evidence.signed_by(taken)),
            ("written to", "" if out is None else str(out)),
        ]
    )
