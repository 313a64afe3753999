"""The exit code and the hint for every failure that a user can meet.

They are in :data:`FAILURES`. Any other exception is our own bug, and keeps its traceback.
"""

from __future__ import annotations

from typing import Final

import attrs
import click

from nostro import journal
from nostro.projections.tigerbeetle.errors import (
    AlreadyMirrored,
    ClientMissing,
    ConnectionFailed,
    Divergence,
)
from nostro.tools.cluster.errors import ClusterDamaged, ClusterError, ClusterRefused
from nostro.tools.exporting import ExportDamaged, ExportUnfit
from nostro.tools.importing.errors import MappingError, SourceError

GOOD: Final = 0
CHECK_FAILED: Final = 1
WRONG_USE: Final = 2
DAMAGED: Final = 3

FINDS_REWRITING: Final = (
    "`nostro verify DIR --root FILE` finds a rewriting, with a root that you kept elsewhere."
)
"""What checks say that take the journal as it is."""


class CommandFailed(Exception):
    """A command's own failure: the message, the exit code and a hint (may be empty)."""

    def __init__(self, message: str, *, code: int = CHECK_FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@attrs.frozen
class Failure:
    """The exit code and the hint for an exception of this kind, or of one of these kinds."""

    kind: type[Exception] | tuple[type[Exception], ...]
    code: int
    hint: str = ""
    """Empty: the exception has its own."""


_AGAIN: Final = "every acknowledged event is safe; run the same command again to continue"

FAILURES: Final = (  # the first that matches counts, so a subclass stands before its base
    Failure(journal.ForeignSegment, DAMAGED, "move the foreign file out of the directory"),
    Failure(journal.MissingSegment, DAMAGED, "put the file back, or restore it from a backup"),
    Failure(
        (journal.Damage, journal.DecodeError),
        DAMAGED,
        "nothing was changed; `nostro log DIR` reads the events before the damage, and"
        " `nostro repair` copies them to a new ledger",
    ),
    Failure(
        (journal.RootDiffers, journal.RootBeyondEnd),
        DAMAGED,
        "compare the ledger with a backup: the root was taken from other events",
    ),
    Failure(
        journal.BadSignature,
        CHECK_FAILED,
        "use a root file that you kept yourself, outside the ledger's directory",
    ),
    Failure(journal.InvalidProof, CHECK_FAILED, "ask for a new proof"),
    Failure(journal.ForeignRoot, WRONG_USE, "name the ledger of this root or proof"),
    Failure(
        journal.InvalidEvidence,
        WRONG_USE,
        "name a file from `nostro root --out` or `prove --out`",
    ),
    Failure(
        journal.KeyExposed,
        WRONG_USE,
        "run chmod 600 FILE if nobody else has read it; otherwise make a new key",
    ),
    Failure(
        journal.KeyBesideLedger, WRONG_USE, "keep the key where the ledger's writer cannot read it"
    ),
    Failure(journal.AlreadyThere, WRONG_USE, "name another file"),
    Failure(
        journal.NotALedger, WRONG_USE, "check the path, or create a ledger with `nostro init DIR`"
    ),
    Failure(journal.NotOwner, WRONG_USE, "run the command as the ledger's owner"),
    Failure(
        journal.LedgerLocked,
        WRONG_USE,
        "stop the other writer, or wait; commands that only read still work",
    ),
    Failure(journal.UnsupportedPlatform, WRONG_USE, "use Linux or macOS"),
    Failure(journal.OutOfRange, WRONG_USE, "`nostro log DIR` shows the events of the ledger"),
    Failure(
        (journal.DestinationTaken, journal.OtherLedger, journal.OtherHistory),
        WRONG_USE,
        "nothing was changed; name a new or empty directory",
    ),
    Failure(
        journal.NothingToRepair, WRONG_USE, "recovery repairs a torn tail when the ledger is opened"
    ),
    Failure(
        journal.OtherLoss,
        WRONG_USE,
        "nothing was changed; run it without --apply and --lose to see the loss",
    ),
    Failure(
        journal.CopyFailed,
        CHECK_FAILED,
        "free space or check the disk; the earlier copy is still usable",
    ),
    Failure(
        (journal.NoRoomToRecover, journal.JournalFull),
        CHECK_FAILED,
        f"free space on the disk; {_AGAIN}",
    ),
    Failure(
        journal.WrongClock,
        CHECK_FAILED,
        "docs/guides/backup.md explains what to do after a clock was wrong",
    ),
    Failure(
        journal.LedgerReplaced,
        CHECK_FAILED,
        "docs/guides/backup.md explains what to do when a ledger's files were replaced",
    ),
    Failure(journal.WriterPoisoned, CHECK_FAILED, f"check the disk; {_AGAIN}"),
    Failure(journal.LedgerClosed, CHECK_FAILED, _AGAIN),
    Failure(ClientMissing, WRONG_USE, "nothing was changed"),
    Failure(AlreadyMirrored, WRONG_USE, "`nostro mirror DIR --status` shows its state"),
    Failure(
        ConnectionFailed,
        CHECK_FAILED,
        "check the addresses, the cluster id and the logs of the replicas",
    ),
    Failure(
        Divergence,
        CHECK_FAILED,
        "nothing was overwritten; `nostro reconcile DIR` shows every difference",
    ),
    Failure(journal.JournalError, WRONG_USE, "nothing was changed"),
    Failure(MappingError, WRONG_USE, "docs/guides/import.md explains every key of a mapping"),
    Failure(SourceError, WRONG_USE, "check the path and the [file] table of the mapping"),
    Failure(ExportDamaged, DAMAGED, "nothing was written; export the ledger again"),
    Failure(ExportUnfit, WRONG_USE, "nothing was written"),
    Failure(ClusterDamaged, DAMAGED),
    Failure(ClusterRefused, WRONG_USE),
    Failure(ClusterError, CHECK_FAILED),
    Failure(OSError, CHECK_FAILED, "check that the path exists and that you may use it"),
)


def report_failure(error: Exception) -> int:
    """Write the message and the hint to standard error; return the exit code.

    Raises:
        Exception: ``error`` itself, when no entry of :data:`FAILURES` matches.
    """
    if isinstance(error, CommandFailed):
        return _report(str(error), error.hint, error.code)
    if isinstance(error, click.ClickException):
        return _report(error.format_message(), _usage_hint(error), error.exit_code)
    for failure in FAILURES:
        if isinstance(error, failure.kind):
            hint = failure.hint or getattr(error, "hint", "")
            return _report(_message(error), hint, failure.code)
    raise error


def _report(message: str, hint: str, code: int) -> int:
    click.echo(f"nostro: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else ""


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, journal.JournalError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return str(error)
