"""``nostro import``: rows of a CSV or JSON Lines file into the ledger."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import attrs
import click

from nostro.journal import JournalError
from nostro.projections import LedgerPreview
from nostro.tools.cli.books.init import ledger_exists, open_for_writing
from nostro.tools.cli.import_export import import_report
from nostro.tools.cli.terminal import parameters
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.interruption import Interruption
from nostro.tools.cli.terminal.progress import Progress, show_progress
from nostro.tools.exporting import import_export, is_export
from nostro.tools.importing.batch import BATCH_ROWS_MAX
from nostro.tools.importing.importer import Importer, Options
from nostro.tools.importing.mapping_file import check_columns, read_mapping
from nostro.tools.importing.report import Outcome, Report
from nostro.tools.importing.rows import BadRow, RowReader
from nostro.tools.importing.source import RawRow, Source
from nostro.tools.importing.survey import Survey
from nostro.tools.regular_files import open_at_once

_METER_ROWS = 2_048
BATCHES_KEPT = 16
"""Of a rehearsal, so that few rows are made ready once and not twice."""


@click.command(
    "import",
    cls=DocumentedCommand,
    short_help="Import rows of CSV or JSON Lines.",
    examples=(
        "nostro import books rows.csv --mapping m.toml --dry-run",
        "nostro import books rows.csv --mapping m.toml",
        "nostro import books rows.csv -m m.toml --on-error skip --errors-to bad.csv",
        "nostro import new books.jsonl",
    ),
)
@parameters.directory
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--mapping",
    "mapping_path",
    metavar="M.toml",
    type=click.Path(path_type=Path),
    help="The TOML file that says what each column means. An export needs none.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What a bad row does to the import.",
)
@click.option(
    "--errors-to",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the bad rows there, as CSV with line and reason.",
)
@click.option(
    "--batch-rows",
    type=click.IntRange(1, BATCH_ROWS_MAX),
    default=BATCH_ROWS_MAX,
    metavar="N",
    help=f"Rows per durable request; {BATCH_ROWS_MAX:,} by default.",
)
@parameters.quiet
@parameters.as_json
@click.pass_context
def import_file(
    context: click.Context,
    directory: Path,
    file: Path,
    *,
    mapping_path: Path | None,
    dry_run: bool,
    on_error: str,
    errors_to: Path | None,
    batch_rows: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Import the rows of FILE (CSV or JSON Lines) into the ledger in DIR.

    A mapping file gives the meaning of each column; docs/guides/import.md explains it. The key of a
    row determines its id. So the same command continues a stopped import, and running it twice
    doubles nothing. The command makes DIR if it does not exist.

    A FILE that `nostro export` wrote as JSON Lines needs no mapping. It becomes a new ledger in
    DIR, with the same events at the same positions. DIR must be empty or must not exist.
    """
    if mapping_path is None:
        if not is_export(file):
            raise click.UsageError("Missing option '-m' / '--mapping'.")
        if dry_run or on_error == "skip" or errors_to is not None:
            raise click.UsageError("an export is imported whole or not at all: leave options out")
        with Interruption().listening(), show_progress("import", "bytes", quiet=quiet) as progress:
            imported = import_export(file, directory, progress=progress.update)
        import_report.show_export(file, directory, imported, as_json=as_json)
        return
    if errors_to is not None and os.path.realpath(errors_to) in map(
        os.path.realpath, (file, mapping_path)
    ):
        raise click.UsageError("--errors-to names a file that is read")
    mapping = read_mapping(mapping_path)
    interruption = Interruption()
    with contextlib.ExitStack() as stack:
        used = tuple(column for column, _ in mapping.columns())
        source = stack.enter_context(Source(file, mapping.file, columns_used=used))
        check_columns(mapping_path, mapping, source.columns)
        preview = stack.enter_context(_preview(directory)) if dry_run else None
        progress = stack.enter_context(
            show_progress("dry run" if dry_run else "import", "rows", quiet=quiet)
        )
        options = Options(
            skip_bad_rows=on_error == "skip",
            batch_rows=batch_rows,
            dates=mapping.date,
            rejected=stack.enter_context(_rejects(errors_to, source.columns)),
            posted=lambda report: progress.update(
                source.bytes_done, source.bytes_total, report.rows_read
            ),
            shield=interruption.shield,
        )
        stack.enter_context(interruption.listening())
        report = Report()
        with contextlib.suppress(KeyboardInterrupt):
            rows = _metered(source, progress)
            survey = stack.enter_context(Survey(rows, RowReader(mapping, source.columns), mapping))
            seen = [one for one in source.columns if one not in source.columns_unseen]
            check_columns(mapping_path, mapping, seen)
            report = _post(directory, survey, options, preview)
            report.ignored = survey.ignored
            if report.outcome is Outcome.COMPLETE and report.rows_counted != len(survey):
                raise AssertionError(f"{len(survey)} rows, and {report.rows_counted} outcomes")
    dry = None
    if preview is not None:
        dry = "compared with the ledger as it is" if ledger_exists(directory) else "a new ledger"
    summary = import_report.Summary(report, mapping.amount.scale, directory, dry=dry)
    code = import_report.show(summary, as_json=as_json)
    context.exit(interruption.exit_code if report.outcome is Outcome.INTERRUPTED else code)


def _post(
    directory: Path, survey: Survey, options: Options, preview: LedgerPreview | None
) -> Report:
    """Post all rows, or none if one of them is bad and bad rows are not to be skipped."""
    if preview is not None:
        return Importer(preview, options).run(survey, disorder=survey.disorder)
    with contextlib.ExitStack() as stack:
        ledger = None
        if ledger_exists(directory):  # locked first, so that the rehearsal stays true
            ledger = stack.enter_context(open_for_writing(directory))
        batches = None
        if survey.disorder is not None or not options.skip_bad_rows:
            with _preview(directory) as past:
                rehearsal = Importer(past, attrs.evolve(options, batches_kept=BATCHES_KEPT))
                report = rehearsal.run(survey, disorder=survey.disorder)
            if report.outcome is not Outcome.COMPLETE:
                return report.of_a_rehearsal()
            batches = rehearsal.batches
        importer = Importer(ledger or stack.enter_context(open_for_writing(directory)), options)
        try:
            return importer.run(survey if batches is None else batches)
        except JournalError as error:
            import_report.show_unfinished(importer.report)
            raise error from None


def _preview(directory: Path) -> LedgerPreview:
    if ledger_exists(directory):
        return LedgerPreview(directory)
    if directory.exists() and not directory.is_dir():
        raise CommandFailed(f"{directory}: is not a directory", code=WRONG_USE)
    return LedgerPreview()


def _metered(source: Source, progress: Progress) -> Iterator[RawRow]:
    for number, row in enumerate(source.rows(), start=1):
        if number % _METER_ROWS == 0:
            progress.update(source.bytes_done, source.bytes_total, number)
        yield row


@contextlib.contextmanager
def _rejects(path: Path | None, columns: tuple[str, ...]) -> Iterator[Callable[[BadRow], None]]:
    """Yield what takes the bad rows: a CSV file, made with the first of them, or nothing."""
    with contextlib.ExitStack() as stack:
        writer: Any = None

        def write(bad: BadRow) -> None:
            nonlocal writer
            if path is None:
                return
            if writer is None:
                writer = csv.writer(stack.enter_context(_open_new(path)))
                writer.writerow(["line", "reason", "detail", *columns])
            writer.writerow([bad.line, bad.reason, bad.detail, *bad.cells])

        yield write


def _open_new(path: Path) -> TextIO:
    return open(
        path, "w", encoding="utf-8", errors="surrogateescape", newline="", opener=open_at_once
    )
