"""``nostro verify``: read every byte of the journal and check that it fits together."""

from __future__ import annotations

from pathlib import Path

import click

from nostro import journal
from nostro.journal import Root
from nostro.tools.cli.evidence import files as evidence
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import DAMAGED, FAILURES, FINDS_REWRITING
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.progress import show_progress
from nostro.tools.cli.upkeep.reports import damage_json, report_json


@click.command(
    cls=DocumentedCommand,
    short_help="Check every byte of the journal.",
    examples=(
        "nostro verify books",
        "nostro verify books --root 2026-01-31.root --public-key 0f3c…",
        "nostro verify books --quick",
        "nostro verify books --decode",
        "nostro verify books --json --quiet",
    ),
)
@parameters.directory
@click.option(
    "--decode", is_flag=True, help="Decode every event too; this takes ten times as long."
)
@click.option(
    "--quick",
    is_flag=True,
    help="Check only the SHA-256 of each sealed segment; much faster after many small requests.",
)
@click.option(
    "--root",
    type=evidence.read_root,
    metavar="FILE",
    help="Prove that every event under this root is still here, unchanged.",
)
@evidence.public_key
@parameters.quiet
@parameters.as_json
@click.pass_context
def verify(
    context: click.Context,
    directory: Path,
    *,
    decode: bool,
    quick: bool,
    root: Root | None,
    public_key: bytes | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read every byte of the journal in DIR and check it.

    Checks headers, checksums, the hash chain from the first event to the last, the sealed files'
    own hashes and HEAD. Changes nothing, and may run beside a writer. On damage the exit code is
    3, and the message names file, byte, position and cause.

    A journal that passes is consistent with itself. `nostro replay --check` then shows that the
    balances follow from it.

    With --quick, only the SHA-256 of each sealed segment is compared with the one that the next
    segment names; its frames are read only if they differ. That finds damage in a sealed
    segment, but does not check the checksums and the chain of hashes inside it.

    A person who can write to DIR can rewrite the history and make it consistent again. Only --root
    finds that: every event is hashed again and compared with a root that you kept elsewhere.
    """
    if public_key is not None and root is None:
        raise click.UsageError("--public-key needs --root")
    if decode and quick:
        raise click.UsageError("give --decode or --quick, not both")
    if root is not None and public_key is not None:
        root.check_signature(public_key)
    try:
        report = _verify(directory, root, decode=decode, quick=quick, quiet=quiet)
    except (journal.Damage, journal.RootDiffers, journal.RootBeyondEnd) as error:
        if not as_json:
            raise
        screen.json_line(_failure_json(error))
        context.exit(DAMAGED)
    if as_json:
        rooted = {} if root is None else {"root": root.shown()}
        compared = {"compared_with_root": root is not None}
        screen.json_line({"sound": True, **compared, **report_json(report), **rooted})
        return
    screen.line("Sound: the journal is consistent with itself.", style="bold green")
    screen.facts(
        [
            ("ledger", report.ledger_id.hex()),
            ("events", f"{report.events:,}{_in_records(report.records)}"),
            ("bytes", f"{report.size_bytes:,} in {screen.counted(report.segments, 'segment')}"),
            ("chain hash", report.frame_sha256.hex()),
            (
                "unfinished",
                f"{report.bytes_past_head:,} bytes were never acknowledged"
                if report.bytes_past_head
                else "",
            ),
        ]
    )
    if root is None:
        screen.line(f"A rewritten history can be, too: {FINDS_REWRITING}")
    else:
        _show_root(root, report.events)


def _show_root(root: Root, events: int) -> None:
    screen.line(f"The first {root.position:,} events are those of the root.", style="bold green")
    screen.facts([("taken", root.shown()["time"]), ("signed by", evidence.signed_by(root))])
    if events > root.position:
        later = screen.counted(events - root.position, "event")
        screen.line(f"The root does not cover the {later} after them.")


def _verify(
    directory: Path, root: Root | None, *, decode: bool, quick: bool, quiet: bool
) -> journal.VerifyReport:
    with show_progress("verify", "bytes", quiet=quiet) as progress:
        report = journal.verify(
            directory,
            decode=decode,
            quick=quick,
            progress=progress.update,
        )
    if root is not None:
        with evidence.event_tree(directory, "root", quiet=quiet, use_kept=False) as tree:
            tree.check(root)
    return report


def _in_records(records: int | None) -> str:
    return "" if records is None else f" in {screen.counted(records, 'record')}"


def _failure_json(error: journal.JournalError) -> dict[str, object]:
    hint = next(failure.hint for failure in FAILURES if isinstance(error, failure.kind))
    if isinstance(error, journal.Damage):
        return {"sound": False, **damage_json(error), "hint": hint}
    return {"sound": False, "kind": type(error).__name__, "cause": str(error), "hint": hint}
