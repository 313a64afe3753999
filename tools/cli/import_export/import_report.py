"""What an import says at its end: a table or JSON, and how to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import click

from nostro.tools.cli.terminal import screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED, GOOD
from nostro.tools.exporting import ImportedExport
from nostro.tools.importing.importer import ANOTHER_DATE, REFUSED
from nostro.tools.importing.report import Outcome, Report
from nostro.tools.importing.rows import BadRow
from nostro.tools.times import format_day, format_rfc3339

_OWN_KEY: Final = (
    "give each row a key of its own: name more columns in transfer.key, or set"
    " transfer.key_occurrence = true if equal rows are separate payments"
)
_OTHER_CONTENT: Final = (
    "the ledger has another transfer with this key: check transfer.key, or restore the row as it"
    " was imported"
)
_TOO_OLD: Final = (
    "the ledger already has later events, and dated rows must follow them in time: import older"
    " files first, or join and sort them and start a new ledger"
)
_QUOTE: Final = (
    'set file.quote = "" if the quotes are text, or file.multiline_rows = true if the cell is right'
)
_HINTS: Final = (
    ("key is that of", _OWN_KEY),
    (ANOTHER_DATE, _OTHER_CONTENT),
    ("EXISTS_WITH_DIFFERENT", _OTHER_CONTENT),
    ("IMPORTED_EVENT_TIMESTAMP_MUST", _TOO_OLD),
    ("ID_ALREADY_FAILED", "an earlier request used up this id: give the row another key"),
    ("EXCEEDS", "the account's limit forbids this row: correct the rows or the limit"),
    ("a quote opens", _QUOTE),
    ("a cell swallows", _QUOTE),
    ("date is earlier", "set date.sort = true to sort the rows by date"),
    ("rows run from", "correct the mapping"),
    ("amount has two", 'for example group_mark = ",", which makes 3.000 a three'),
    ("balance", "a row before this one is missing, doubled or changed: compare with the bank"),
)
"""What helps against the reasons that begin so."""


@attrs.frozen
class Summary:
    """The report of an import and its context. ``dry`` is None for a real run."""

    report: Report
    scale: int
    directory: Path
    dry: str | None


def show(summary: Summary, *, as_json: bool) -> int:
    """Write the report to standard output and what went wrong to standard error.

    Returns the exit code: 1 when the import stopped before its end, or left out a bad row.
    """
    if as_json:
        screen.json_line(_json(summary))
    else:
        _table(summary)
    report = summary.report
    if report.outcome is Outcome.STOPPED and report.bad_row is not None:
        _warn(f"stopped at {report.bad_row}", _way_on(summary, report.bad_row))
    elif report.outcome is Outcome.INTERRUPTED:
        are_in = f"{report.rows_in:,} rows are in" if summary.dry is None else "nothing was written"
        _warn(f"interrupted; {are_in}", "run the same command to continue")
    elif report.bad_row is not None:
        skipped = screen.counted(sum(report.skipped.values()), "row")
        where = "would not be" if summary.dry is not None else "are not"
        _warn(
            f"{skipped} skipped; the first: {report.bad_row}",
            f"these rows {where} in the ledger; --errors-to FILE writes them down",
        )
    return CHECK_FAILED if report.outcome is not Outcome.COMPLETE or report.skipped else GOOD


def show_unfinished(report: Report) -> None:
    """Report what was imported, before the error that ended the import."""
    click.echo(f"nostro: {report.rows_in:,} rows are in, up to line {report.line_last}", err=True)


def show_export(file: Path, directory: Path, imported: ImportedExport, *, as_json: bool) -> None:
    """Report the ledger that was made from the export ``file``."""
    if as_json:
        shown = attrs.asdict(
            imported,
            value_serializer=lambda _, __, value: (
                value.hex() if isinstance(value, bytes) else value
            ),
        )
        screen.json_line({"path": str(directory), **shown})
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


def _warn(message: str, hint: str) -> None:
    click.echo(f"nostro: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def _way_on(summary: Summary, bad: BadRow) -> str:
    reason = bad.reason.removeprefix(REFUSED).removeprefix("account ").removeprefix(REFUSED)
    hint = next((hint for start, hint in _HINTS if reason.startswith(start)), "correct the row")
    if summary.dry is not None:
        return f"{hint}; --on-error skip finds every bad row in one run"
    rows = summary.report.rows_in
    state = f"{screen.counted(rows, 'row')} went in before it" if rows else "nothing was posted"
    return f"{state}; {hint}, or leave bad rows out with --on-error skip"


def _table(summary: Summary) -> None:
    report = summary.report
    verb = "would be created" if summary.dry is not None else "created"
    heading = {
        Outcome.COMPLETE: "Import complete",
        Outcome.STOPPED: "Import stopped",
        Outcome.INTERRUPTED: "Import interrupted",
    }[report.outcome]
    if summary.dry is not None:
        heading = f"Dry run, nothing written ({summary.dry})"
    screen.line(heading, style="bold")
    screen.facts(
        [
            ("rows read", f"{report.rows_read:,}"),
            (f"transfers {verb}", f"{report.created:,}"),
            ("already there", f"{report.already_there:,}"),
            (f"accounts {verb}", f"{report.accounts_created:,}"),
            ("left out by the mapping", f"{report.ignored:,}" if report.ignored else ""),
            *((f"skipped: {reason}", f"{count:,}") for reason, count in report.skipped.items()),
            ("dates", _dates(report)),
            ("seconds", f"{report.seconds:.2f} ({report.rows_per_second:,.0f} rows/s)"),
        ]
    )


def _dates(report: Report) -> str:
    if report.date_first is None or report.date_last is None:
        return ""
    return f"{format_day(report.date_first)} to {format_day(report.date_last)}"


def _json(summary: Summary) -> dict[str, object]:
    report = summary.report
    bad = report.bad_row
    return {
        "outcome": report.outcome.value,
        "dry_run": summary.dry is not None,
        "rows_read": report.rows_read,
        "transfers_created": report.created,
        "already_there": report.already_there,
        "ignored": report.ignored,
        "skipped": report.skipped,
        "accounts_created": report.accounts_created,
        "date_first": None if report.date_first is None else format_rfc3339(report.date_first),
        "date_last": None if report.date_last is None else format_rfc3339(report.date_last),
        "line_last": report.line_last,
        "bad_row": None
        if bad is None
        else {"line": bad.line, "reason": bad.reason, "detail": bad.detail},
        "seconds": round(report.seconds, 3),
        "rows_per_second": round(report.rows_per_second),
    }
