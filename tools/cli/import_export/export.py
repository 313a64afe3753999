"""``nostro export``: the events as JSON Lines, or as tables in CSV or Parquet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from nostro import journal
from nostro.journal.storage.atomic_directory import atomic_directory, check_free
from nostro.journal.storage.files import Storage, replacing
from nostro.journal.upkeep.backup import check_apart
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.parameters import Place
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.exporting import (
    Exported,
    Selection,
    export_csv,
    export_json_lines,
    export_parquet,
)
from nostro.tools.exporting.selection import Progress

_JSON_LINES: Final = "jsonl"


@click.command(
    cls=DocumentedCommand,
    short_help="Write the events to files for other programs.",
    examples=(
        "nostro export books --out books.jsonl",
        "nostro export books --from 2024-05-01 --to 2024-05-31 | jq -r .id",
        "nostro export books --format parquet --out tables",
    ),
)
@parameters.directory
@click.option(
    "--format",
    "form",
    type=click.Choice([_JSON_LINES, "csv", "parquet"]),
    default=_JSON_LINES,
    show_default=True,
    help="JSON Lines hold everything in one file; the others are tables in a directory.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file, or for tables the directory; nothing may be there. Without it, JSON Lines"
    " go to standard output.",
)
@parameters.from_place
@parameters.to_place
@parameters.quiet
@parameters.as_json
def export(
    directory: Path,
    *,
    form: str,
    out: Path | None,
    start: Place | None,
    end: Place | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write every event in DIR, or those from a place to another, for other programs to read.

    JSON Lines are complete: `nostro import NEW FILE` makes a ledger with the same events, times,
    balances and refused ids. CSV and Parquet are tables of accounts, transfers and other events.
    The command can run beside a writer, and needs little memory. --json reports what went to --out.
    """
    if out is None and (form != _JSON_LINES or as_json):
        raise click.UsageError("--format csv, --format parquet and --json need --out PATH")
    start, end = start or Place(), end or Place()
    selection = Selection(start.position, end.position, start.timestamp, end.timestamp)
    reader = journal.Reader(directory)
    if out is not None:
        check_apart(directory, out)
        if out.exists() and not (form != _JSON_LINES and out.is_dir()):
            raise journal.DestinationTaken(out, "it exists already")
    with Interruption().listening(), show_progress("export", "events", quiet=quiet) as progress:

        def tell(done: int, total: int) -> None:
            progress.update(done, total, done)

        if out is None:
            export_json_lines(reader, sys.stdout.buffer.write, selection, progress=tell)
            return
        exported = _write(reader, form, out, selection, tell)
    _report(out, exported, as_json=as_json)


def _write(
    reader: journal.Reader, form: str, out: Path, selection: Selection, progress: Progress
) -> Exported:
    storage = Storage()
    if form == _JSON_LINES:
        with _file(storage, out) as write:
            return export_json_lines(reader, write, selection, progress=progress)
    check_free(storage, out)
    with atomic_directory(storage, out) as folder:
        if form == "csv":
            return export_csv(reader, folder, selection, progress=progress)
        try:
            return export_parquet(reader, folder, selection, progress=progress)
        except ImportError:
            raise CommandFailed(
                "Parquet needs pyarrow, which is not installed",
                code=WRONG_USE,
                hint="pip install 'nostro[parquet]'",
            ) from None


@contextlib.contextmanager
def _file(storage: Storage, out: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield what appends to the file ``out``, which is there whole or not at all."""
    with replacing(storage, out) as fd:
        end_bytes = 0

        def write(data: bytes) -> None:
            nonlocal end_bytes
            storage.write(fd, data, end_bytes)
            end_bytes += len(data)

        yield write


def _report(out: Path, exported: Exported, *, as_json: bool) -> None:
    if as_json:
        screen.json_line(
            {
                "path": str(out),
                "ledger_id": exported.ledger_id.hex(),
                "position": exported.position,
                "events": exported.events,
                "accounts": exported.accounts,
                "transfers": exported.transfers,
                "others": exported.others,
            }
        )
        return
    screen.line(
        f"{screen.counted(exported.accounts, 'account')},"
        f" {screen.counted(exported.transfers, 'transfer')} and"
        f" {screen.counted(exported.others, 'other event')} are in {out}."
    )
