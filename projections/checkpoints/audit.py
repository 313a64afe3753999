"""The audit: rebuild the state from the first event and compare it with every kept state."""

from __future__ import annotations

import time
from pathlib import Path

import attrs

from nostro.journal.errors import CorruptCheckpoint, DecodeError
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.rows import field_ints
from nostro.journal.storage.directory import Directory, read_head, require_ledger
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import checkpoint_paths, read_checkpoint
from nostro.projections.checkpoints.restore import Progress, apply_record, restore_state
from nostro.projections.state.ledger_state import LedgerState


@attrs.frozen
class Comparison:
    """One kept state beside the rebuilt one."""

    name: str
    position: int
    sha256_kept: bytes | None
    """None if the kept state cannot be read; then ``reason`` says why."""
    sha256_rebuilt: bytes
    reason: str = ""

    @property
    def agrees(self) -> bool:
        return self.sha256_kept == self.sha256_rebuilt


@attrs.frozen
class AuditReport:
    position: int
    timestamp: int
    accounts: int
    transfers: int
    events: int
    seconds: float
    state_sha256: bytes
    debits_posted: int
    credits_posted: int
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Every kept state equals the rebuilt one, and debits equal credits."""
        return self.debits_posted == self.credits_posted and all(
            comparison.agrees for comparison in self.comparisons
        )


def audit(
    path: Path | str,
    *,
    until_position: int | None = None,
    until_timestamp: int | None = None,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> AuditReport:
    """Replay from the first event; compare with every checkpoint and with what opening gives.

    The journal is taken as it is: an audit that passes does not show that nobody rewrote it.
    :meth:`EventTree.check` compares it with a root kept elsewhere.

    With a bound, only checkpoints within it are compared, and what opening gives is left out.

    Raises:
        Damage: the journal cannot be read.
    """
    storage = storage or Storage()
    directory = Directory(Path(path))
    require_ledger(directory)
    began = time.perf_counter()
    reader = Reader(directory.path, storage=storage)
    head = reader.head()
    last = head.position if until_position is None else min(until_position, head.position)
    live = None
    if until_position is None and until_timestamp is None:
        live = restore_state(storage, directory, position_max=last)
    kept = _read_checkpoints(storage, directory, head.ledger_id)
    state = LedgerState()
    comparisons = []
    events = 0
    for record in reader.records(Cursor(position=1)):
        if record.position_first > last:
            break
        events += apply_record(state, record, position_max=last, timestamp_max=until_timestamp)
        for name, sha256 in kept.pop(record.position_last, ()):
            if until_timestamp is None and record.position_last <= last:
                comparisons.append(Comparison(name, state.position, sha256, state.sha256()))
        if progress is not None:
            progress(min(record.position_last, last), last)
    comparisons += _unmatched(kept, last, until_timestamp)
    rebuilt = state.sha256()
    if live is not None:
        comparisons.append(
            Comparison("the ledger as it opens", live.state.position, live.state.sha256(), rebuilt)
        )
    rows = state.accounts.rows
    return AuditReport(
        position=state.position,
        timestamp=state.timestamp,
        accounts=len(rows),
        transfers=state.transfer_count,
        events=events,
        seconds=time.perf_counter() - began,
        state_sha256=rebuilt,
        debits_posted=sum(field_ints(rows["debits_posted"])),
        credits_posted=sum(field_ints(rows["credits_posted"])),
        comparisons=tuple(comparisons),
    )


def _read_checkpoints(
    storage: Storage, directory: Directory, ledger_id: bytes
) -> dict[int, list[tuple[str, bytes | None]]]:
    """(file name, hash of the state inside) by position; an unreadable one at position -1."""
    kept: dict[int, list[tuple[str, bytes | None]]] = {}
    state_bytes_max = LedgerState.dump_bytes_max(read_head(storage, directory).position)
    for path in checkpoint_paths(storage, directory, LedgerState.name):
        try:
            checkpoint, dump = read_checkpoint(
                storage, path, ledger_id=ledger_id, state_bytes_max=state_bytes_max
            )
            sha256 = LedgerState.load(dump).sha256()
            kept.setdefault(checkpoint.position, []).append((path.name, sha256))
        except (CorruptCheckpoint, DecodeError) as error:
            if not storage.exists(path):
                continue  # the ledger's writer has replaced it since it was listed
            kept.setdefault(-1, []).append((str(error), None))
    return kept


def _unmatched(
    kept: dict[int, list[tuple[str, bytes | None]]], last: int, until_timestamp: int | None
) -> list[Comparison]:
    """Checkpoints that no record ends at, within what was replayed."""
    comparisons = []
    for position, entries in kept.items():
        if position > last or until_timestamp is not None:
            continue
        for name, sha256 in entries:
            if position == 0 and sha256 == LedgerState().sha256():
                continue
            reason = "unreadable" if sha256 is None else "no record ends at its position"
            comparisons.append(Comparison(name, position, None, b"", reason))
    return comparisons
