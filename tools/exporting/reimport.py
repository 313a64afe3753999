"""Reading an export in JSON Lines back: a ledger with the same events at the same positions.

The file is read twice. First its SHA-256 and its lines are checked, then the requests are written
to a new journal as they were, with their times and what was refused; the rules are not asked again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np

from nostro.journal import (
    Account,
    CommandExecuted,
    CreateTransferStatus,
    DecodeError,
    EventRecorded,
    LedgerRepaired,
    LedgerRestored,
    PendingExpired,
    RecordKind,
    Transfer,
)
from nostro.journal.errors import CorruptFrame
from nostro.journal.format import codec
from nostro.journal.format.events import DomainEvent, decode_domain_event, encode_domain_event
from nostro.journal.format.frame import FrameHeader
from nostro.journal.model import BATCH_EVENTS_MAX
from nostro.journal.rows import account_rows, transfer_rows
from nostro.journal.storage.atomic_directory import atomic_directory, check_free
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.journal.upkeep.rewriting import rewrite_journal
from nostro.projections.checkpoints.restore import restore_state
from nostro.projections.deciding.timestamps import CLOCK_LEAD_SECONDS_MAX, lead_ns
from nostro.tools.exporting.errors import ExportDamaged, ExportUnfit
from nostro.tools.exporting.json_lines import VERSION
from nostro.tools.exporting.naming import Fact, data_from_json, from_json, origin_from_json
from nostro.tools.exporting.selection import CREATED

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

_PEEKED_BYTES: Final = 64
_BEGINNING: Final = b'{"nostro_export": '
_LINE_BYTES_MAX: Final = 16_384
_ACCOUNT_EVENTS: Final = ("account_created",)
_TRANSFER_EVENTS: Final = ("transfer_created", "transfer_refused")


@attrs.frozen
class ImportedExport:
    """The ledger that was made."""

    ledger_id: bytes
    ledger_id_before: bytes
    """The ledger that was exported."""
    position: int
    requests: int
    state_sha256: bytes


def is_export(path: Path) -> bool:
    """Whether a regular file begins as an export does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(_PEEKED_BYTES).startswith(_BEGINNING)


def import_export(
    path: Path,
    destination: Path,
    *,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> ImportedExport:
    """Make a ledger at ``destination``, which must be empty or not there, of the export ``path``.

    It has an identity of its own. Its state is that of the ledger that was exported.

    Raises:
        ExportUnfit: it is no export of this version, or one that leaves out events.
        ExportDamaged: it was altered or cut short.
        DestinationTaken, LedgerLocked, CopyFailed, JournalFull, WriterPoisoned: nothing is left.
    """
    storage = storage or Storage()
    check_free(storage, destination)
    size_bytes = path.stat().st_size

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, 2 * size_bytes)

    ledger_id, events = _check(path, tell)
    reading = _Reading(path, events, lambda done: tell(size_bytes + done))
    with atomic_directory(storage, destination) as unfinished:
        report = rewrite_journal(storage, unfinished, reading.records())
        try:
            state = restore_state(storage, Directory(unfinished)).state
        except CorruptFrame as damage:
            raise ExportDamaged(path, reading.line, damage.cause) from None
    return ImportedExport(
        report.ledger_id, ledger_id, report.position, reading.requests, state.sha256()
    )


def _check(path: Path, tell: Callable[[int], None]) -> tuple[bytes, int]:
    """The identity in the first line and the number of events, every byte having been hashed."""
    digest = hashlib.sha256()
    done, number, line = 0, 0, b""
    with path.open("rb") as file:
        first = file.readline(_LINE_BYTES_MAX)
        header = _object(path, 1, first)
        if header.get("nostro_export") != VERSION:
            raise ExportUnfit(path, f"it is not an export of version {VERSION}")
        if header.get("complete") is not True:
            raise ExportUnfit(path, "it leaves out events; only a complete export is a ledger")
        file.seek(0)
        before = b""
        while line := file.readline(_LINE_BYTES_MAX):
            digest.update(before)
            before = line
            number += 1
            done += len(line)
            if number % 4_096 == 0:
                tell(done)
    last = _object(path, number, before)
    if last.get("end") is not True or not before.endswith(b"\n"):
        raise ExportDamaged(path, number, "its last line is missing: it was cut short")
    if last.get("sha256") != digest.hexdigest():
        raise ExportDamaged(path, number, "it fails its SHA-256: it was altered")
    try:
        return bytes.fromhex(header["ledger_id"]), int(last["events"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ExportDamaged(path, 1, f"a field is missing or malformed: {error}") from None


def _object(path: Path, line: int, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ExportDamaged(path, line, "it is not a JSON object on one line")
    return value


class _Reading:
    """The second reading: lines become requests."""

    def __init__(self, path: Path, events: int, tell: Callable[[int], None]) -> None:
        self._path = path
        self._events = events
        self._tell = tell
        self.line = 1
        self.requests = 0

    def records(self) -> Iterator[tuple[FrameHeader, bytes]]:
        position = 1
        for request, group in itertools.groupby(self._lines(), lambda found: found.get("request")):
            found = list(itertools.islice(group, BATCH_EVENTS_MAX + 1))  # then it is refused
            places = [one.get("position") for one in found]
            if request != position or places != list(range(position, position + len(found))):
                raise self._damaged("positions do not follow on each other")
            try:
                header, payload = _record(found)
            except (
                AttributeError, KeyError, TypeError, ValueError, OverflowError, DecodeError
            ) as error:  # fmt: skip
                raise self._damaged(f"a field is missing or malformed: {error}") from None
            if header.timestamp_max > time.time_ns() + lead_ns(CLOCK_LEAD_SECONDS_MAX):
                raise ExportUnfit(
                    self._path,
                    f"line {self.line}: an event is later than this machine's clock, so nothing"
                    " could be written to the ledger; export the ledger with an earlier --to",
                )
            yield header, payload
            position += len(found)
            self.requests += 1
        if position != self._events + 1:
            raise self._damaged(f"it holds {position - 1:,} events and not {self._events:,}")

    def _lines(self) -> Iterator[dict[str, Any]]:
        done = 0
        with self._path.open("rb") as file:
            done += len(file.readline(_LINE_BYTES_MAX))
            while True:
                text = file.readline(_LINE_BYTES_MAX)
                self.line += 1
                found = _object(self._path, self.line, text)
                if "end" in found:
                    return
                yield found
                done += len(text)
                if self.line % 4_096 == 0:
                    self._tell(done)

    def _damaged(self, reason: str) -> ExportDamaged:
        return ExportDamaged(self._path, self.line, reason)


def _record(found: list[dict[str, Any]]) -> tuple[FrameHeader, bytes]:
    """One request as it was."""
    kind, frame_kind = found[0]["event"], RecordKind.EVENTS
    if "command" in found[0]:
        frame_kind = RecordKind.COMMANDS
        payload, times = _commands(found)
    elif kind in _ACCOUNT_EVENTS:
        rows, frame_kind = (
            account_rows(_facts(Account, found, _ACCOUNT_EVENTS)),
            RecordKind.ACCOUNTS,
        )
        payload = codec.encode_rows(RecordKind.ACCOUNTS, rows, None)
        times = rows["timestamp"].tolist()
    elif kind in _TRANSFER_EVENTS:
        rows = transfer_rows(_facts(Transfer, found, _TRANSFER_EVENTS))
        frame_kind = RecordKind.TRANSFERS
        statuses = np.array([_status(one) for one in found], np.uint32)
        created = bool((statuses == CREATED).all())
        payload = codec.encode_rows(RecordKind.TRANSFERS, rows, None if created else statuses)
        times = rows["timestamp"].tolist()
    else:
        payload = codec.encode_domain_events([_stored_event(one) for one in found])
        times = [one["timestamp_ns"] for one in found]
    header = FrameHeader(
        len(payload), len(found), 0, 0, min(times), max(times), b"", b"", frame_kind
    )
    return header, payload


def _commands(found: list[dict[str, Any]]) -> tuple[bytes, list[int]]:
    """The payload of commands, and the times of their events."""
    parts: tuple[list[dict[str, Any]], ...] = ([], [], [])
    counts: list[int] = []
    for _, command in itertools.groupby(found, lambda one: one["command"]):
        numbers = [0, 0, 0]
        least = 0
        for one in command:
            number = (
                0 if one["event"] in _ACCOUNT_EVENTS else 1 + (one["event"] != "transfer_created")
            )
            if number < least:
                raise ValueError("the events of a command are out of order")
            least = number
            numbers[number] += 1
            parts[number].append(one)
        counts += numbers
    accounts, transfers, events = parts
    payload = codec.encode_commands(
        account_rows([from_json(Account, one) for one in accounts]),
        transfer_rows([from_json(Transfer, one) for one in transfers]),
        [_stored_event(one) for one in events],
        counts,
    )
    return payload, [one["timestamp_ns"] for one in found]


def _stored_event(one: dict[str, Any]) -> dict[str, Any]:
    stored = encode_domain_event(_domain_event(one))
    decode_domain_event(stored, position=0)  # nothing is written that could not be read
    return stored


def _facts(kind: type[Fact], found: list[dict[str, Any]], names: tuple[str, ...]) -> list[Fact]:
    if any(one["event"] not in names for one in found):
        raise ValueError("a request holds events of more than one kind")
    return [from_json(kind, one) for one in found]


def _status(one: dict[str, Any]) -> int:
    if one["event"] == "transfer_created":
        return CREATED
    return int(CreateTransferStatus[one["status"]])


def _domain_event(one: dict[str, Any]) -> DomainEvent:
    kind, timestamp = one["event"], one["timestamp_ns"]
    if kind == "pending_expired":
        return PendingExpired(0, timestamp, int(one["id"]))
    if "." in kind:
        data = data_from_json(one["data"])
        return EventRecorded(0, timestamp, kind, one["version"], data, origin_from_json(one))
    if kind == "command_executed":
        sha256, answer = bytes.fromhex(one["command_sha256"]), data_from_json(one["answer"])
        origin_ = origin_from_json(one)
        return CommandExecuted(0, timestamp, one["event_count"], sha256, answer, origin_)
    origin = (
        0,
        timestamp,
        bytes.fromhex(one["from_ledger_id"]),
        one["position_kept"],
        bytes.fromhex(one["chain_hash"]),
    )
    if kind == "ledger_restored":
        return LedgerRestored(*origin)
    if kind == "ledger_repaired":
        return LedgerRepaired(*origin, one["events_lost"], one["cause"])
    raise ValueError(f"there is no event {kind!r}")
