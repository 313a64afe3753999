"""``nostro key``: make a key that signs roots, and show its public half."""

from __future__ import annotations

from pathlib import Path

import click

from nostro.journal import SigningKey, new_key, read_key
from nostro.tools.cli.evidence import files as evidence
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.help_examples import DocumentedCommand, DocumentedGroup

_file = click.argument("file", type=evidence.FILE)


@click.group(
    cls=DocumentedGroup,
    short_help="Make a key that signs roots.",
    examples=(
        "nostro key new ~/nostro.key",
        "nostro key public ~/nostro.key",
    ),
)
def key() -> None:
    """Make a key that signs roots, or show its public half.

    Keep the key away from the ledger. With both, a forger can rewrite history and sign it.
    """


@key.command(
    cls=DocumentedCommand,
    short_help="Make a key.",
    examples=("nostro key new ~/nostro.key",),
)
@_file
@parameters.as_json
def new(file: Path, *, as_json: bool) -> None:
    """Make an Ed25519 key in FILE, which only you may read, and show its public half.

    The command never overwrites a file, and never writes a key into a ledger's directory.
    """
    _show(new_key(file), file, as_json=as_json)


@key.command(
    cls=DocumentedCommand,
    short_help="Show a key's public half.",
    examples=("nostro key public ~/nostro.key",),
)
@_file
@parameters.as_json
def public(file: Path, *, as_json: bool) -> None:
    """Show the public half of the key in FILE. It checks the roots that the key signs."""
    _show(read_key(file), file, as_json=as_json)


def _show(made: SigningKey, file: Path, *, as_json: bool) -> None:
    if as_json:
        screen.json_line({"path": str(file), "public_key": made.public_key.hex()})
    else:
        screen.facts([("key", str(file)), ("public key", made.public_key.hex())])
