"""Every exception the project raises, one class per physical cause.

A refusal by the rules of accounting is a *status* and is returned; see :mod:`model`. What
is listed here is raised. Fields are typed so that a program can act on them; the message is built
from the fields and names what and where.
"""

from __future__ import annotations

from pathlib import Path

import attrs


class JournalError(Exception):
    """Anything this project raises on purpose."""


# --- wrong use: nothing was changed on disk -------------------------------------------------------


@attrs.define(eq=False)
class InvalidField(JournalError, ValueError):
    """A value that no account, transfer or argument may carry."""

    field: str
    value: object
    reason: str
    row: int | None = None

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row}: "
        return f"{where}{self.field}={self.value!r} {self.reason}"


@attrs.define(eq=False)
class BatchTooLarge(JournalError, ValueError):
    count: int
    count_max: int

    def __str__(self) -> str:
        return f"a request holds at most {self.count_max:,} events, this one has {self.count:,}"


@attrs.define(eq=False)
class UnsupportedPlatform(JournalError):
    platform: str

    def __str__(self) -> str:
        return f"durable storage is implemented for Linux and macOS, not for {self.platform!r}"


@attrs.define(eq=False)
class NotALedger(JournalError):
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: not a ledger directory: {self.reason}"


@attrs.define(eq=False)
class NotOwner(JournalError):
    path: Path
    owner_uid: int
    process_uid: int

    def __str__(self) -> str:
        return (
            f"{self.path}: belongs to user {self.owner_uid}, this process runs as"
            f" {self.process_uid}; a ledger is opened by its owner only"
        )


@attrs.define(eq=False)
class LedgerLocked(JournalError):
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: this ledger is open for writing already, here or in another process"


@attrs.define(eq=False)
class UnsupportedFormat(JournalError):
    path: Path
    version: int
    version_supported: int

    def __str__(self) -> str:
        return (
            f"{self.path}: written in format version {self.version}; this program reads up to"
            f" {self.version_supported}: use a newer nostro"
        )


@attrs.define(eq=False)
class LedgerClosed(JournalError):
    path: Path | str
    """The directory, or the name of what is no directory."""

    def __str__(self) -> str:
        return f"{self.path}: the ledger is closed"


@attrs.define(eq=False)
class ReadOnly(JournalError):
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: opened for reading; it cannot be written through this object"


@attrs.define(eq=False)
class OutOfRange(JournalError, ValueError):
    """A position or time the journal does not reach."""

    what: str
    value: int
    value_max: int

    def __str__(self) -> str:
        return f"{self.what} {self.value} lies outside the journal (0 to {self.value_max})"


@attrs.define(eq=False)
class DestinationInside(JournalError):
    """What is to be written lies in the directory that is read, or is it."""

    path: Path
    source: Path

    def __str__(self) -> str:
        return f"{self.path}: lies in {self.source}, which is read; name a place outside"


@attrs.define(eq=False)
class DestinationTaken(JournalError):
    """Something is there already that must not be written over."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: nothing is written over what is there: {self.reason}"


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
    """The same ledger, but with events that the source does not have."""

    path: Path
    position: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: holds another history (position {self.position}): {self.reason}"


@attrs.define(eq=False)
class NothingToRepair(JournalError):
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: this journal is sound; there is nothing to repair"


@attrs.define(eq=False)
class OtherLoss(JournalError):
    """A repair would lose another number of events than was agreed to."""

    path: Path
    events_lost: int
    events_agreed: int

    def __str__(self) -> str:
        return (
            f"{self.path}: repairing it loses {self.events_lost:,} events, not"
            f" {self.events_agreed:,}"
        )


# --- the machine failed: what was acknowledged is safe --------------------------------------------


@attrs.define(eq=False)
class JournalFull(JournalError):
    """No room for the batch, which was refused whole.

    Reading goes on, and so does writing once there is room again.
    """

    path: Path
    bytes_needed: int

    def __str__(self) -> str:
        return f"{self.path}: no space left for {self.bytes_needed:,} bytes; the batch was refused"


@attrs.define(eq=False)
class NoRoomToRecover(JournalError):
    """No room for the copy that opening for writing makes of what a crash left.

    Nothing is lost, and the ledger can be read; it can be written once there is room again.
    """

    path: Path
    bytes_needed: int

    def __str__(self) -> str:
        return (
            f"{self.path}: no space left to recover what a crash left; that takes up to"
            f" {self.bytes_needed:,} bytes"
        )


@attrs.define(eq=False)
class WriterPoisoned(JournalError):
    """A write or fsync failed, and nothing more is acknowledged by this process.

    Whether the batches in flight survived is known after reopening, by looking their ids up.
    """

    path: Path
    operation: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.operation} failed ({self.reason}); the outcome of the batch is"
            " unknown until the ledger is reopened"
        )


# --- evidence: roots, proofs and keys -------------------------------------------------------------


@attrs.define(eq=False)
class InvalidProof(JournalError):
    """A proof that does not prove what it says."""

    reason: str

    def __str__(self) -> str:
        return f"the proof does not hold: {self.reason}"


@attrs.define(eq=False)
class InvalidEvidence(JournalError):
    """Text that is no root or proof as this program writes them."""

    what: str
    reason: str

    def __str__(self) -> str:
        return f"not a {self.what}: {self.reason}"


@attrs.define(eq=False)
class BadSignature(JournalError):
    """A root that its key did not sign, or that another key signed, or none."""

    reason: str

    def __str__(self) -> str:
        return f"the root cannot be trusted: {self.reason}"


@attrs.define(eq=False)
class ForeignRoot(JournalError):
    """A root, or a proof, of another ledger."""

    ledger_id: bytes
    ledger_id_expected: bytes

    def __str__(self) -> str:
        return f"this is of ledger {self.ledger_id.hex()}, not of {self.ledger_id_expected.hex()}"


@attrs.define(eq=False)
class RootDiffers(JournalError):
    """The events up to ``position`` are not those that the root was taken of."""

    position: int
    root: bytes
    root_expected: bytes

    def __str__(self) -> str:
        return (
            f"history was rewritten: the root of the first {self.position:,} events is"
            f" {self.root.hex()}, and it was {self.root_expected.hex()}"
        )


@attrs.define(eq=False)
class RootBeyondEnd(JournalError):
    """The journal ends before the position that the root was taken at."""

    position: int
    position_last: int

    def __str__(self) -> str:
        return (
            f"history was cut off: the root is of {self.position:,} events, and the journal has"
            f" {self.position_last:,}"
        )


@attrs.define(eq=False)
class InvalidKey(JournalError):
    """A file or a text that is no key to sign or to check with."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@attrs.define(eq=False)
class KeyExposed(JournalError):
    """Others than its owner may read or write a key file."""

    path: Path
    mode: int

    def __str__(self) -> str:
        return f"{self.path}: others may use this key: its mode is {self.mode:04o}, not 0600"


@attrs.define(eq=False)
class KeyBesideLedger(JournalError):
    """A key file where whoever can rewrite the ledger finds it."""

    path: Path
    ledger: Path

    def __str__(self) -> str:
        return f"{self.path}: a key does not belong inside a ledger's directory, {self.ledger}"


@attrs.define(eq=False)
class AlreadyThere(JournalError):
    """A file that would be overwritten, and is not."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path}: there already; it is not overwritten"


class SigningUnavailable(JournalError):
    """The package that signs is not installed."""

    def __str__(self) -> str:
        return "keys and signatures need the package cryptography: pip install 'nostro[sign]'"


@attrs.define(eq=False)
class CopyFailed(JournalError):
    """A file could not be written, or reads back differently; it was not put in place."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: could not be written: {self.reason}"


# --- damaged data ---------------------------------------------------------------------------------


@attrs.define(eq=False)
class DecodeError(JournalError):
    """Bytes that no version of this program writes."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(eq=False)
class Damage(JournalError):
    """Bytes on disk are not what was written. What lies before can still be read.

    ``position`` is the first event that cannot be read, where that is known.
    """

    path: Path
    offset_bytes: int
    cause: str
    position: int | None = None

    def __str__(self) -> str:
        position = "" if self.position is None else f" (position {self.position})"
        return f"{self.path}: damaged at byte {self.offset_bytes}{position}: {self.cause}"


class CorruptFrame(Damage):
    """A frame is incomplete or fails its checksum where no crash can have caused it."""


class CorruptSegment(Damage):
    """A segment's header, size or whole-file hash is wrong."""


class MissingSegment(Damage):
    """A segment between the first and the last is not there."""


class ForeignSegment(Damage):
    """A segment of another ledger lies in the directory."""


class CorruptHead(Damage):
    """HEAD, the witness of what was acknowledged, is missing or unreadable."""


class JournalTruncated(Damage):
    """The journal ends before a position that was acknowledged."""


class CorruptCheckpoint(Damage):
    """A checkpoint cannot be used; the next older one or a replay from the start can."""


class CorruptManifest(Damage):
    """The manifest contradicts the segments."""
