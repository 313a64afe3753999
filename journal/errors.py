"""The exceptions that the journal raises: one class per physical cause.

A refusal by the rules of accounting is not an exception: it is a *status* and is returned, see
:mod:`model`. Each exception has typed fields, which a program can act on. Its message is made from
them, and says what is wrong, where, and what to do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import attrs


class JournalError(Exception):
    """Anything this project raises on purpose."""

    MESSAGE: ClassVar[str] = ""
    """What ``str`` returns: a format whose argument 0 is the error."""

    def __str__(self) -> str:
        return self.MESSAGE.format(self)


# --- wrong use: nothing was changed on disk -------------------------------------------------------


@attrs.define(eq=False)
class InvalidField(JournalError, ValueError):
    """A value that an account, a transfer or an argument may not have."""

    field: str
    value: object
    reason: str
    row: int | None = None

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row}: "
        return f"{where}{self.field}={self.value!r} {self.reason}"


@attrs.define(eq=False)
class BadDomain(JournalError, ValueError):
    """A domain, a type of event or a table is defined in a way that cannot work."""

    MESSAGE = "{0.reason}"

    reason: str


@attrs.define(eq=False)
class BatchTooLarge(JournalError, ValueError):
    MESSAGE = "a request holds at most {0.count_max:,} events; this one has {0.count:,}"

    count: int
    count_max: int


@attrs.define(eq=False)
class UnsupportedPlatform(JournalError):
    MESSAGE = "a ledger needs Linux or macOS; this is {0.platform!r}"

    platform: str


@attrs.define(eq=False)
class NotALedger(JournalError):
    MESSAGE = "{0.path}: not a ledger directory: {0.reason}"

    path: Path
    reason: str


@attrs.define(eq=False)
class NotOwner(JournalError):
    MESSAGE = (
        "{0.path}: belongs to user {0.owner_uid}, but this process runs as user"
        " {0.process_uid}; only the owner can open a ledger"
    )

    path: Path
    owner_uid: int
    process_uid: int


@attrs.define(eq=False)
class LedgerLocked(JournalError):
    MESSAGE = (
        "{0.path}: already open for writing, in this process or in another; close it there first"
    )

    path: Path


@attrs.define(eq=False)
class UnsupportedFormat(JournalError):
    MESSAGE = (
        "{0.path}: written in format version {0.version}; this program reads versions up to"
        " {0.version_supported}; use a newer nostro"
    )

    path: Path
    version: int
    version_supported: int


@attrs.define(eq=False)
class LedgerClosed(JournalError):
    MESSAGE = "{0.path}: the ledger is closed"

    path: Path | str
    """The directory, or a name for a ledger that has none."""


@attrs.define(eq=False)
class ReadOnly(JournalError):
    MESSAGE = "{0.path}: opened for reading only; open the ledger for writing instead"

    path: Path


@attrs.define(eq=False)
class OutOfRange(JournalError, ValueError):
    """A position or time the journal does not reach."""

    MESSAGE = "{0.what} {0.value} is outside the journal (0 to {0.value_max})"

    what: str
    value: int
    value_max: int


@attrs.define(eq=False)
class DestinationInside(JournalError):
    """The destination is the directory that is read, or lies inside it."""

    MESSAGE = "{0.path}: lies inside {0.source}, which is being read; choose a place outside it"

    path: Path
    source: Path


@attrs.define(eq=False)
class DestinationTaken(JournalError):
    """The destination holds something that must not be overwritten."""

    MESSAGE = "{0.path}: not overwritten: {0.reason}"

    path: Path
    reason: str


@attrs.define(eq=False)
class OtherLedger(JournalError):
    path: Path
    ledger_id: bytes
    ledger_id_expected: bytes

    def __str__(self) -> str:
        return (
            f"{self.path}: holds ledger {self.ledger_id.hex()}, not {self.ledger_id_expected.hex()}"
        )


@attrs.define(eq=False)
class OtherHistory(JournalError):
    """The same ledger, with events that the source does not have."""

    MESSAGE = "{0.path}: holds another history (position {0.position}): {0.reason}"

    path: Path
    position: int
    reason: str


@attrs.define(eq=False)
class NothingToRepair(JournalError):
    MESSAGE = "{0.path}: this journal is sound; there is nothing to repair"

    path: Path


@attrs.define(eq=False)
class OtherLoss(JournalError):
    """A repair would lose more or fewer events than the caller agreed to."""

    MESSAGE = "{0.path}: repairing it loses {0.events_lost:,} events, not {0.events_agreed:,}"

    path: Path
    events_lost: int
    events_agreed: int


@attrs.define(eq=False)
class WrongClock(JournalError):
    """The clock contradicts the ledger. Nothing was written.

    Either it is far behind the newest event, which a wrong clock recorded, or it is past 2200.
    """

    clock: int
    """ns since 1970."""
    timestamp_newest: int
    """Of all events, ns; 0 if there is none."""

    def __str__(self) -> str:
        if self.timestamp_newest <= self.clock:
            return f"the clock says {_moment(self.clock)}; nothing was written; set it right"
        return (
            f"the newest event is of {_moment(self.timestamp_newest)}, but the clock says"
            f" {_moment(self.clock)}; nothing was written. If the clock is wrong, set it right."
            " Otherwise a wrong clock recorded the events after that: wait, leave them out with"
            f" `nostro restore LEDGER NEW --until-time {_moment(self.clock)}`, or keep them and"
            " raise clock_lead_seconds_max"
        )


def _moment(timestamp: int) -> str:
    """RFC 3339, without a fraction; the number where there is no such date."""
    try:
        return f"{datetime.fromtimestamp(timestamp // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{timestamp} ns"


# --- the machine failed: what was acknowledged is safe --------------------------------------------


@attrs.define(eq=False)
class JournalFull(JournalError):
    """The disk has no room for the batch, which was refused whole.

    Reading still works. Writing works again once there is room.
    """

    MESSAGE = "{0.path}: no space left for {0.bytes_needed:,} bytes; the batch was refused"

    path: Path
    bytes_needed: int


@attrs.define(eq=False)
class TablesUnavailable(JournalError):
    """The machine could not read or write a domain's tables. Nothing is lost; try again.

    The journal has every event, and what was not written stays in memory.
    """

    MESSAGE = "{0.path}: the tables cannot be read or written now: {0.reason}; nothing is lost"

    path: Path
    reason: str


@attrs.define(eq=False)
class NoRoomToRecover(JournalError):
    """The disk has no room for the copies that opening for writing makes after a crash.

    Nothing is lost. The ledger can be read; it can be opened for writing once there is room.
    """

    MESSAGE = (
        "{0.path}: no space left to recover after a crash; free up to {0.bytes_needed:,} bytes"
        " and open the ledger again"
    )

    path: Path
    bytes_needed: int


@attrs.define(eq=False)
class WriterPoisoned(JournalError):
    """A write or an fsync failed; this writer acknowledges nothing more.

    The batches in flight may have survived: reopen the ledger and look their ids up.
    """

    MESSAGE = (
        "{0.path}: {0.operation} failed ({0.reason}); reopen the ledger to see whether the batch"
        " was saved"
    )

    path: Path
    operation: str
    reason: str


@attrs.define(eq=False)
class LedgerReplaced(WriterPoisoned):
    """The files at the ledger's path are no longer those that this writer opened.

    Somebody removed, renamed or replaced them while it was open. Nothing more is acknowledged. The
    requests in flight may be lost; everything acknowledged before is in the files that were opened.
    """

    MESSAGE = (
        "{0.path}: {0.reason} while this ledger was open for writing; nothing more is written."
        " Close it, find out which files hold the acknowledged events, put them at this path and"
        " verify them"
    )


# --- evidence: roots, proofs and keys -------------------------------------------------------------


@attrs.define(eq=False)
class InvalidProof(JournalError):
    """A proof that does not prove what it claims."""

    MESSAGE = "the proof does not hold: {0.reason}"

    reason: str


@attrs.define(eq=False)
class InvalidEvidence(JournalError):
    """Text that is not a root or a proof in this program's format."""

    MESSAGE = "not a {0.what}: {0.reason}"

    what: str
    reason: str


@attrs.define(eq=False)
class BadSignature(JournalError):
    """A root that is not signed, is signed by another key, or was altered."""

    MESSAGE = "the root cannot be trusted: {0.reason}"

    reason: str


@attrs.define(eq=False)
class ForeignRoot(JournalError):
    """A root or a proof of another ledger."""

    ledger_id: bytes
    ledger_id_expected: bytes

    def __str__(self) -> str:
        found, expected = self.ledger_id.hex(), self.ledger_id_expected.hex()
        return f"this belongs to ledger {found}, not to {expected}"


@attrs.define(eq=False)
class RootDiffers(JournalError):
    """The events up to ``position`` differ from those that the root was taken of."""

    position: int
    root: bytes
    root_expected: bytes

    def __str__(self) -> str:
        return (
            f"history was rewritten: the root of the first {self.position:,} events is"
            f" {self.root.hex()}; it was {self.root_expected.hex()}"
        )


@attrs.define(eq=False)
class RootBeyondEnd(JournalError):
    """The journal ends before the position that the root was taken at."""

    MESSAGE = (
        "history was cut off: the root covers {0.position:,} events, but the journal has"
        " {0.position_last:,}"
    )

    position: int
    position_last: int


@attrs.define(eq=False)
class InvalidKey(JournalError):
    """A file or a text that does not hold a usable key."""

    MESSAGE = "{0.source}: {0.reason}"

    source: str
    reason: str


@attrs.define(eq=False)
class KeyExposed(JournalError):
    """Other users may read or write a key file."""

    MESSAGE = "{0.path}: other users can use this key: its mode is {0.mode:04o}; set it to 0600"

    path: Path
    mode: int


@attrs.define(eq=False)
class KeyBesideLedger(JournalError):
    """A key file inside a ledger: anyone who can rewrite the ledger could use it."""

    MESSAGE = "{0.path}: a key must not lie inside a ledger's directory; this one is in {0.ledger}"

    path: Path
    ledger: Path


@attrs.define(eq=False)
class AlreadyThere(JournalError):
    """A file exists that would have been overwritten."""

    MESSAGE = "{0.path}: already exists; it is not overwritten"

    path: Path


class SigningUnavailable(JournalError):
    """The package that signs is not installed."""

    MESSAGE = "keys and signatures need the package cryptography: pip install 'nostro[sign]'"


@attrs.define(eq=False)
class CopyFailed(JournalError):
    """A file could not be written, or reads back differently; it was not put in place."""

    MESSAGE = "{0.path}: could not be written: {0.reason}"

    path: Path
    reason: str


# --- damaged data ---------------------------------------------------------------------------------


@attrs.define(eq=False)
class DecodeError(JournalError):
    """Bytes that no version of this program writes."""

    MESSAGE = "{0.reason}"

    reason: str


@attrs.define(eq=False)
class Damage(JournalError):
    """Bytes on disk are not those that were written. The events before them can still be read.

    ``position`` is the first event that cannot be read, if it is known.
    """

    path: Path
    offset_bytes: int
    cause: str
    position: int | None = None

    def __str__(self) -> str:
        position = "" if self.position is None else f" (position {self.position})"
        return f"{self.path}: damaged at byte {self.offset_bytes}{position}: {self.cause}"


class CorruptFrame(Damage):
    """A frame is incomplete or fails its checksum, and no crash can have caused that."""


class CorruptSegment(Damage):
    """A segment's header, size or whole-file hash is wrong."""


class MissingSegment(Damage):
    """A segment between the first and the last is missing."""


class ForeignSegment(Damage):
    """A segment of another ledger lies in the directory."""


class CorruptHead(Damage):
    """HEAD, the witness of what was acknowledged, is missing or unreadable."""


class JournalTruncated(Damage):
    """The journal ends before a position that was acknowledged."""


class SplitHistory(Damage):
    """Files of two lives of one ledger: each went on from the same events, without the other.

    That happens when a copy or a restored backup is written to beside the ledger itself. A file
    that was altered together with its checksums looks the same.
    """


class CorruptCheckpoint(Damage):
    """A checkpoint cannot be used; an older one or a replay from the start can."""


@attrs.define(eq=False)
class TablesDamaged(JournalError):
    """A domain's tables cannot be used. They are derived: delete the file, and they are rebuilt."""

    MESSAGE = "{0.path}: the tables are damaged: {0.reason}; they have to be rebuilt"

    path: Path
    reason: str


class CorruptManifest(Damage):
    """The manifest contradicts the segments."""
