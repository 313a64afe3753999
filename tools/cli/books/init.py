"""``nostro init``: begin an empty ledger."""

from __future__ import annotations

from pathlib import Path

import click

from nostro import journal
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.journal.writing.creation import is_initialised
from nostro.projections import Ledger
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand


@click.command(
    cls=DocumentedCommand,
    short_help="Begin an empty ledger.",
    examples=(
        "nostro init books",
        "nostro init books --json",
    ),
)
@parameters.directory
@parameters.as_json
def init(directory: Path, *, as_json: bool) -> None:
    """Begin an empty ledger in DIR.

    DIR is made if it is not there. On a directory that is a ledger already, nothing changes.
    """
    was_there = ledger_exists(directory)
    ledger = (
        Ledger.open(directory, create=False, read_only=True)
        if was_there
        else open_for_writing(directory)
    )
    with ledger:
        identity, position = ledger.ledger_id.hex(), ledger.position
    if as_json:
        screen.json_line(
            {
                "path": str(directory),
                "ledger_id": identity,
                "created": not was_there,
                "position": position,
            }
        )
    elif was_there:
        screen.line(f"{directory} is a ledger already, with {position:,} events; nothing changed.")
    else:
        screen.line(f"An empty ledger, {identity}, is in {directory}.")
        screen.line(f"Next: nostro import {directory} FILE --mapping M.toml")


def open_for_writing(directory: Path) -> Ledger:
    """Open the ledger in ``directory``, which is made if it is not there.

    Raises:
        CommandFailed: something else is there already.
    """
    try:
        return Ledger.open(directory)
    except journal.NotALedger as error:
        raise CommandFailed(
            str(error), code=WRONG_USE, hint="name a ledger, or a new or an empty directory"
        ) from None


def ledger_exists(directory: Path) -> bool:
    """Whether there is a ledger in ``directory``, sound or damaged, that this user may read.

    What an interrupted creation left behind is none: opening it for writing finishes it.
    """
    try:
        journal.Reader(directory)
    except journal.NotALedger:
        return False
    return is_initialised(Storage(), Directory(directory))
