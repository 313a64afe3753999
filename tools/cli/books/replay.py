"""``nostro replay``: rebuild the state from the first event; with ``--check``, the audit."""

from __future__ import annotations

from pathlib import Path

import click

from nostro import journal
from nostro.projections import AuditReport, audit
from nostro.tools.amounts import format_amount
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import CHECK_FAILED, FINDS_REWRITING, GOOD
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.parameters import Place
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.cli.terminal.screen import Column
from nostro.tools.times import format_plain, format_rfc3339


@click.command(
    cls=DocumentedCommand,
    short_help="Rebuild from the first event; --check audits.",
    examples=(
        "nostro replay books",
        "nostro replay books --check",
        "nostro replay books --until 1993-06-30 --json",
    ),
)
@parameters.directory
@click.option(
    "--until",
    type=parameters.last_place,
    metavar="POSITION|TIME",
    help="Stop here, included; a bare date means its end.",
)
@click.option("--check", is_flag=True, help="Compare with every checkpoint and the live state.")
@parameters.quiet
@parameters.as_json
@click.pass_context
def replay(
    context: click.Context,
    directory: Path,
    *,
    until: Place | None,
    check: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Rebuild everything in DIR from the first event, and show what comes out.

    With --check this is the audit: the rebuilt state is compared, to the last bit, with every
    checkpoint and with the ledger as it opens, and debits with credits. The exit code is 1 when
    anything differs. An audit that passes shows that all of this is consistent with the journal;
    only `nostro verify --root` finds a journal that was rewritten. Reads only, and may run beside a
    writer.
    """
    report = _replay(directory, until or Place(), check=check, quiet=quiet)
    failed = check and not report.passed
    if as_json:
        screen.json_line(_json(report, check=check))
    else:
        _show(report)
        if check:
            _show_comparisons(report)
    context.exit(CHECK_FAILED if failed else GOOD)


def _replay(directory: Path, until: Place, *, check: bool, quiet: bool) -> AuditReport:
    head = journal.Reader(directory).head()
    position = until.position
    if position is not None and position > head.position:
        raise journal.OutOfRange("position", position, head.position)
    if position is None and until.timestamp is None and not check:
        position = head.position  # bounded, so that the live state is not made for nothing
    with show_progress("replay", "events", quiet=quiet) as progress:
        return audit(
            directory,
            until_position=position,
            until_timestamp=until.timestamp,
            progress=progress.update,
        )


def _show(report: AuditReport) -> None:
    rate = report.events / report.seconds if report.seconds > 0 else 0
    screen.facts(
        [
            ("events", f"{report.events:,} in {report.seconds:.2f} s ({rate:,.0f}/s)"),
            ("position", f"{report.position:,}"),
            ("latest time", format_plain(report.timestamp) if report.timestamp else ""),
            ("accounts", f"{report.accounts:,}"),
            ("transfers", f"{report.transfers:,}"),
            ("debits", format_amount(report.debits_posted, 0, group=True)),
            ("credits", format_amount(report.credits_posted, 0, group=True)),
            ("state hash", report.state_sha256.hex()),
        ]
    )


def _show_comparisons(report: AuditReport) -> None:
    rows = [
        (
            comparison.name,
            f"{comparison.position:,}" if comparison.position >= 0 else "",
            "equal" if comparison.agrees else comparison.reason or "DIFFERENT",
        )
        for comparison in report.comparisons
    ]
    balanced = report.debits_posted == report.credits_posted
    rows.append(("debits = credits", f"{report.position:,}", "equal" if balanced else "DIFFERENT"))
    screen.table([Column("compared with"), Column("position", right=True), Column("result")], rows)
    if report.passed:
        screen.line(
            "The audit passed: everything kept is consistent with the journal.", style="bold green"
        )
        screen.line(f"A rewritten journal can pass, too: {FINDS_REWRITING}")
    else:
        screen.line("The audit FAILED: see above.", style="bold red")


def _json(report: AuditReport, *, check: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "position": report.position,
        "timestamp": format_rfc3339(report.timestamp),
        "timestamp_ns": report.timestamp,
        "events": report.events,
        "accounts": report.accounts,
        "transfers": report.transfers,
        "debits_posted": str(report.debits_posted),
        "credits_posted": str(report.credits_posted),
        "state_sha256": report.state_sha256.hex(),
        "seconds": round(report.seconds, 3),
    }
    if check:
        shown["passed"] = report.passed
        shown["comparisons"] = [
            {
                "name": comparison.name,
                "position": comparison.position,
                "equal": comparison.agrees,
                "reason": comparison.reason,
            }
            for comparison in report.comparisons
        ]
    return shown
