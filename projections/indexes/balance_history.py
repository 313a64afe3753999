"""The balances of accounts with the HISTORY flag after each transfer that named them.

Whoever folds transfers into balances calls :meth:`BalanceHistory.record` for each. What is newer
than the last run is kept packed; a run groups timestamps and balances by the account's slot.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from journal.codec import Rows
from journal.model import AccountBalance
from journal.rows import field_ints
from journal.storage import replacing
from projections.indexes.groups import Groups, group, merge, merged_count
from projections.indexes.run_file import Column, Kind, RunWriter, Span, open_run, write_run
from projections.indexes.run_stack import RunFiles, RunStack

BALANCE: Final = np.dtype(
    [
        ("slot", "<u8"),
        ("timestamp", "<u8"),
        ("debits_pending", "<u8", (2,)),
        ("debits_posted", "<u8", (2,)),
        ("credits_pending", "<u8", (2,)),
        ("credits_posted", "<u8", (2,)),
    ]
)
"""One account's balances after one transfer; a u128 is two u64 words, low word first."""

BALANCES: Final = Kind(
    ".balances",
    (np.dtype(np.uint64), np.dtype(np.uint32), np.dtype(np.uint64), np.dtype((np.uint64, (8,)))),
)

_ROW: Final = struct.Struct("<QQ16s16s16s16s")
_WORDS: Final = BALANCE.itemsize // 8
_CHUNK_BYTES: Final = 64 * 1024
_FIELDS: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")

Times = npt.NDArray[np.uint64]


@attrs.frozen(eq=False)
class BalanceRun:
    span: Span
    groups: Groups

    @property
    def size(self) -> int:
        return len(self.groups.values[0])


@attrs.frozen(eq=False)
class BalanceView:
    """The history as it was when it was asked for."""

    runs: tuple[BalanceRun, ...]
    recent: tuple[bytes, ...]

    def between(
        self, slot: int, first: int, last: int, *, limit: int, is_reversed: bool
    ) -> list[AccountBalance]:
        """The account's balances from time ``first`` to ``last``, up to ``limit``, in order."""
        found: list[Rows] = []
        parts = [run.groups for run in self.runs]
        parts.append(_grouped(self.recent, slot))
        for groups in reversed(parts) if is_reversed else parts:
            start, end = groups.bounds(slot)
            times = groups.values[0][start:end]
            a = start + int(np.searchsorted(times, np.uint64(first)))
            b = start + int(np.searchsorted(times, np.uint64(last), "right"))
            picked = np.arange(b - 1, a - 1, -1) if is_reversed else np.arange(a, b)
            found.append(_rows(groups, picked[:limit]))
            limit -= len(found[-1])
            if not limit:
                break
        return _balances(found)

    def at(self, slot: int, times: Times) -> list[AccountBalance]:
        """The account's balances after the transfers of these times, in the same order."""
        rows = np.zeros(len(times), BALANCE)
        for groups in (*(run.groups for run in self.runs), _grouped(self.recent, slot)):
            start, end = groups.bounds(slot)
            if start < end:
                known = groups.values[0][start:end]
                at = np.minimum(np.searchsorted(known, times), len(known) - 1)
                there = known[at] == times
                rows[there] = _rows(groups, start + at[there])
        return _balances([rows])


class BalanceHistory:
    """One thread records and freezes; any thread may search a view."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stack = RunStack(BALANCES, _read, _write)
        self._frozen: tuple[bytes, ...] = ()
        self._chunks: list[bytes] = []
        self._open = bytearray()

    def record(
        self,
        slot: int,
        timestamp: int,
        debits_pending: int,
        debits_posted: int,
        credits_pending: int,
        credits_posted: int,
    ) -> None:
        """A transfer of that time took effect; these are the account's balances after it.

        Called once for each transfer and account with HISTORY that it names, in order. The expiry
        of a pending transfer is no transfer and is not recorded.
        """
        self._open += _ROW.pack(
            slot,
            timestamp,
            debits_pending.to_bytes(16, "little"),
            debits_posted.to_bytes(16, "little"),
            credits_pending.to_bytes(16, "little"),
            credits_posted.to_bytes(16, "little"),
        )
        if len(self._open) >= _CHUNK_BYTES:
            self._chunks.append(bytes(self._open))
            self._open = bytearray()

    @property
    def recent_bytes(self) -> int:
        """How much is kept that no run holds."""
        return len(self._chunks) * _CHUNK_BYTES + len(self._open)

    def view(self) -> BalanceView:
        """Everything recorded so far. Call with the writer held off."""
        with self._lock:
            return BalanceView(self.stack.runs, (*self._frozen, *self._chunks, bytes(self._open)))

    def freeze(self) -> None:
        """Set what is newer than the runs aside, to become one. Call with the writer held off.

        What was set aside before and never finished becomes a part of the same run.
        """
        with self._lock:
            self._frozen = (*self._frozen, *self._chunks, bytes(self._open))
            self._chunks, self._open = [], bytearray()

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> None:
        """Make what was set aside, which ends at ``position_last``, a run."""
        run = None
        if position_last > self.stack.position:
            span = Span(self.stack.position + 1, position_last, frame_sha256)
            run = BalanceRun(span, _grouped(self._frozen, None))
        with self._lock:
            if run is not None:
                self.stack.append(run)
            self._frozen = ()


def _grouped(packed: Sequence[bytes], slot: int | None) -> Groups:
    """Recorded rows by slot: all, or those of one."""
    parts = [np.zeros((0, _WORDS), np.uint64)]
    for chunk in packed:
        words = np.frombuffer(chunk, np.uint64).reshape(-1, _WORDS)
        parts.append(words if slot is None else words[words[:, 0] == np.uint64(slot)])
    joined = np.concatenate(parts)
    return group(joined[:, 0], (joined[:, 1], joined[:, 2:]))


def _rows(groups: Groups, numbers: npt.NDArray[np.int64]) -> Rows:
    words = np.zeros((len(numbers), _WORDS), np.uint64)
    words[:, 1] = groups.values[0][numbers]
    words[:, 2:] = groups.values[1][numbers]
    return words.view(BALANCE).reshape(-1)


def _balances(parts: Sequence[Rows]) -> list[AccountBalance]:
    return [
        AccountBalance(*values)
        for rows in parts
        for values in zip(
            *(field_ints(rows[field]) for field in _FIELDS), rows["timestamp"].tolist(), strict=True
        )
    ]


def _read(files: RunFiles, path: Path) -> BalanceRun:
    span, columns = open_run(files.storage, path, BALANCES, ledger_id=files.ledger_id)
    return BalanceRun(span, Groups(columns[0], columns[1], (columns[2], columns[3])))


def _write(files: RunFiles, path: Path, span: Span, runs: Sequence[BalanceRun]) -> None:
    parts = [run.groups for run in runs]
    if len(parts) == 1:
        columns: list[Column] = [parts[0].keys, parts[0].ends, *parts[0].values]
        write_run(files.storage, path, BALANCES, span, columns, ledger_id=files.ledger_id)
        return
    keys, entries = merged_count(parts), sum(run.size for run in runs)
    with replacing(files.storage, path) as fd:
        writer = RunWriter(files.storage, fd, BALANCES, [keys, keys, entries, entries])
        for piece in merge(parts, [0] * len(parts)):
            columns = [piece.keys, piece.ends, *piece.values]
            for number, column in enumerate(columns):
                writer.append(number, column)
        writer.finish(span, ledger_id=files.ledger_id)
