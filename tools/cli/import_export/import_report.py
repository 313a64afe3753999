"""What an import says at its end: a table or JSON, and how to go on."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from nostro.tools.cli.terminal import screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED, GOOD
from nostro.tools.exporting import ImportedExport
from nostro.tools.importing.report import Outcome, Report
from nostro.tools.importing.rows import BadRow
from nostro.tools.times import format_day, format_rfc3339


@attrs.frozen
class Told:
    """The report, and what else its telling needs. ``dry`` is None for a real run."""

    report: Report
    scale: int
    directory: Path
    dry: str | None


def tell(told: Told, *, as_json: bool) -> int:
    """Write the report to standard output and what went wrong to standard error.

    Returns the exit code: 1 when the import ended before its end, or a dry run found bad rows.
    """
    if as_json:
        screen.json_line(_json(told))
    else:
        _table(told)
    report = told.report
    if report.outcome is Outcome.STOPPED and report.bad_row is not None:
        _say(f"stopped at {report.bad_row}", _way_on(told))
    elif report.outcome is Outcome.INTERRUPTED:
        _say(f"interrupted; {report.rows_in:,} rows are in", "run the same command to continue")
    elif report.skipped and not as_json:
        _say(f"{sum(report.skipped.values()):,} rows skipped; the first: {report.bad_row}", "")
    failed = report.outcome is not Outcome.COMPLETE or (told.dry is not None and report.skipped)
    return CHECK_FAILED if failed else GOOD


def tell_unfinished(report: Report) -> None:
    """Report what was imported, before the error that ended the import."""
    click.echo(f"nostro: {report.rows_in:,} rows are in, up to line {report.line_last}", err=True)


def tell_export(file: Path, directory: Path, imported: ImportedExport, *, as_json: bool) -> None:
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


def _say(message: str, hint: str) -> None:
    click.echo(f"nostro: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def _way_on(told: Told) -> str:
    if told.dry is not None:
        return "--on-error skip finds every bad row in one go"
    if _is_burnt(told.report.bad_row):
        return "the ledger keeps its answer for ever; go on with --on-error skip"
    return (
        f"{told.report.rows_in:,} rows are in; correct the row and run the same command to"
        " continue, or use --on-error skip"
    )


def _is_burnt(bad: BadRow | None) -> bool:
    """Whether the same row can never succeed: a refused id is used up."""
    return bad is not None and bad.reason.startswith("refused by the ledger: ")


def _table(told: Told) -> None:
    report = told.report
    verb = "would be created" if told.dry is not None else "created"
    heading = {
        Outcome.COMPLETE: "Import complete",
        Outcome.STOPPED: "Import stopped",
        Outcome.INTERRUPTED: "Import interrupted",
    }[report.outcome]
    if told.dry is not None:
        heading = f"Dry run, nothing written ({told.dry})"
    screen.line(heading, style="bold")
    screen.facts(
        [
            ("rows read", f"{report.rows_read:,}"),
            (f"transfers {verb}", f"{report.created:,}"),
            ("already there", f"{report.already_there:,}"),
            (f"accounts {verb}", f"{report.accounts_created:,}"),
            *((f"skipped: {reason}", f"{count:,}") for reason, count in report.skipped.items()),
            ("dates", _dates(report)),
            ("seconds", f"{report.seconds:.2f} ({report.rows_per_second:,.0f} rows/s)"),
        ]
    )


def _dates(report: Report) -> str:
    if report.date_first is None or report.date_last is None:
        return ""
    return f"{format_day(report.date_first)} to {format_day(report.date_last)}"


def _json(told: Told) -> dict[str, object]:
    report = told.report
    bad = report.bad_row
    return {
        "outcome": report.outcome.value,
        "dry_run": told.dry is not None,
        "rows_read": report.rows_read,
        "transfers_created": report.created,
        "already_there": report.already_there,
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
