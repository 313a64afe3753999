"""Where each transfer id stands in the journal: id -> position, refused ids included.

New ids go into a dictionary. Now and then they are frozen into a *run*: three sorted columns that
are written to a file of their own and never change. Runs of similar size are merged, so there are
only about log2(n) of them, and a run whose range of ids does not meet the batch's costs nothing:
time-ordered ids hardly ever touch an old run.
"""

from __future__ import annotations

import hashlib
import struct
from itertools import count
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from journal.errors import CorruptCheckpoint
from journal.rows import field_ints, u128_words

Column = npt.NDArray[np.uint64]

_MAGIC: Final = b"NOSTROIX"
_HEADER: Final = struct.Struct("<8s16s32sQQQ32s")
_BOUND: Final = struct.Struct("<16s32sQQQ")
SUFFIX: Final = ".ids"


@attrs.frozen(eq=False)
class Run:
    """The ids of positions ``position_first`` to ``position_last``, sorted.

    ``high``, ``low`` and ``positions`` are ``u64[n]``; positions without a transfer are left out.
    """

    position_first: int
    position_last: int
    frame_sha256: bytes
    """The hash of the frame that ends at ``position_last``."""
    high: Column
    low: Column
    positions: Column

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest id."""
        first = int(self.high[0]) << 64 | int(self.low[0])
        return first, int(self.high[-1]) << 64 | int(self.low[-1])

    def find(self, id_: int) -> int | None:
        low, high = u128_words(id_)
        start = int(np.searchsorted(self.high, np.uint64(high), "left"))
        end = int(np.searchsorted(self.high, np.uint64(high), "right"))
        at = start + int(np.searchsorted(self.low[start:end], np.uint64(low)))
        return int(self.positions[at]) if at < end and int(self.low[at]) == low else None


class TransferIndex:
    """Thread-safe for one writer and any readers."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._recent_columns: list[tuple[int, Column]] = []
        self._frozen: dict[int, int] = {}
        self._frozen_columns: list[tuple[int, Column]] = []
        self._runs: tuple[tuple[int, int, Run], ...] = ()
        self._position_frozen = 0
        self.stored: set[str] = set()
        """The names of the runs' files that are known to be sound."""
        self.id_max = 0
        """The greatest id taken in."""

    def __len__(self) -> int:
        runs = sum(len(run.positions) for _, _, run in self._runs)
        return runs + len(self._frozen) + len(self._recent)

    @property
    def runs(self) -> list[Run]:
        return [run for _, _, run in self._runs]

    def add(self, ids: Column, position_first: int) -> None:
        """Take in consecutive transfers: ``u64[n, 2]``, low word first, at least one."""
        values = field_ints(ids)
        self._recent.update(zip(values, count(position_first)))
        self._recent_columns.append((position_first, ids.copy()))
        self.id_max = max(self.id_max, *values)

    def find(self, id_: int) -> int | None:
        """The position of the transfer, or of its refusal; None if the id is unused."""
        if id_ > self.id_max:
            return None
        position = self._recent.get(id_)
        if position is None:
            position = self._frozen.get(id_)
        if position is None:
            for first, last, run in self._runs:
                if first <= id_ <= last and (position := run.find(id_)) is not None:
                    break
        return position

    def freeze(self) -> None:
        """Set the recent ids aside, to become a run. Call with the writer held off."""
        if self._frozen:
            raise AssertionError("the last freeze was not finished")
        # In this order: a reader looks in recent, then in frozen, then in the runs.
        self._frozen, self._recent = self._recent, {}
        self._frozen_columns, self._recent_columns = self._recent_columns, []

    def finish_freeze(self, position_last: int, frame_sha256: bytes) -> list[Run]:
        """Make the frozen ids, which end at ``position_last``, a run; return all the runs."""
        first = self._position_frozen + 1
        if position_last >= first:
            self.add_run(run_of_records(first, position_last, frame_sha256, self._frozen_columns))
        self._frozen, self._frozen_columns = {}, []
        return self.runs

    def add_run(self, run: Run) -> None:
        """Append the run that follows the last, and merge runs of similar size."""
        runs = self.runs
        runs.append(run)
        while len(runs) > 1 and len(runs[-2].positions) < 2 * len(runs[-1].positions):
            runs[-2:] = [_merge(runs[-2], runs[-1])]
        self._position_frozen = run.position_last
        if len(run.positions) and (greatest := run.range[1]) > self.id_max:
            self.id_max = greatest  # on opening only: a frozen id was taken in by `add` before
        self._runs = tuple((*(r.range if len(r.positions) else (1, 0)), r) for r in runs)


def run_of_records(
    position_first: int,
    position_last: int,
    frame_sha256: bytes,
    records: list[tuple[int, Column]],
) -> Run:
    """The run of consecutive ids (``u64[n, 2]``, low word first), each with its first position."""
    ids = np.concatenate([np.empty((0, 2), np.uint64), *[ids for _, ids in records]])
    positions = np.concatenate(
        [
            np.empty(0, np.uint64),
            *[np.arange(first, first + len(ids), dtype=np.uint64) for first, ids in records],
        ]
    )
    return _sorted_run(position_first, position_last, frame_sha256, ids, positions)


def encode_run(run: Run, *, ledger_id: bytes) -> bytes:
    """A file: 112 bytes of header, then the columns high, low and positions as u64."""
    columns = b"".join(column.tobytes() for column in (run.high, run.low, run.positions))
    bound = _BOUND.pack(
        ledger_id, run.frame_sha256, run.position_first, run.position_last, len(run.positions)
    )
    return _MAGIC + bound + hashlib.sha256(bound + columns).digest() + columns


def decode_run(data: bytes, *, path: Path, ledger_id: bytes) -> Run:
    """The run in a file.

    Raises:
        CorruptCheckpoint: it is damaged or another ledger's; it can be rebuilt.
    """
    if len(data) < _HEADER.size:
        raise CorruptCheckpoint(path, 0, "the file is cut short")
    magic, owner, frame_sha256, first, last, n, sha256 = _HEADER.unpack_from(data)
    if magic != _MAGIC or owner != ledger_id or len(data) != _HEADER.size + 24 * n:
        raise CorruptCheckpoint(path, 0, "the file is no index of this ledger, or cut short")
    digest = hashlib.sha256(data[len(_MAGIC) : len(_MAGIC) + _BOUND.size])
    digest.update(memoryview(data)[_HEADER.size :])
    if digest.digest() != sha256:
        raise CorruptCheckpoint(path, 0, "the file fails its SHA-256")
    columns = np.frombuffer(data, np.uint64, offset=_HEADER.size).reshape(3, n)
    return Run(first, last, frame_sha256, columns[0], columns[1], columns[2])


def run_name(run: Run) -> str:
    return f"{run.position_first:020d}-{run.position_last:020d}{SUFFIX}"


def _sorted_run(
    position_first: int, position_last: int, frame_sha256: bytes, ids: Column, positions: Column
) -> Run:
    order = np.lexsort((ids[:, 0], ids[:, 1]))
    return Run(
        position_first,
        position_last,
        frame_sha256,
        ids[order, 1],
        ids[order, 0],
        positions[order],
    )


def _merge(before: Run, after: Run) -> Run:
    ids = np.stack(
        (np.concatenate((before.low, after.low)), np.concatenate((before.high, after.high))), axis=1
    )
    positions = np.concatenate((before.positions, after.positions))
    return _sorted_run(
        before.position_first, after.position_last, after.frame_sha256, ids, positions
    )
