"""Pending transfers: those still open, and what became of the others.

Open ones stand in a table of rows with a map from their ids, so that both the rules and the columns
can read them. What became of a pending transfer is one byte by its position in the journal, for
ever: a second post must be told from a post of what expired.
"""

from __future__ import annotations

import heapq
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nostro.journal.errors import DecodeError
from nostro.journal.model import ROW_BYTES, TRANSFER, Rows
from nostro.journal.rows import columns, field_ints, u128_words
from nostro.projections.rules.values import (
    CLOSING,
    NS_PER_SECOND,
    PendingStatus,
    TransferRow,
)
from nostro.projections.state.id_map import MISSING, IdMap, Numbers
from nostro.projections.state.u128 import Words

OPEN: Final = np.dtype([("row", TRANSFER), ("position", "<u8")])
"""An open pending transfer and where it stands in the journal."""
_WORDS: Final = OPEN.itemsize // 8
_ROW_WORDS: Final = ROW_BYTES // 8
_NONE: Final = 0
_CAPACITY_MIN: Final = 1024


class _Table:
    """Pending transfers in the order they came, resolved ones among them until it is full."""

    def __init__(self, capacity: int) -> None:
        self.words: Words = np.zeros((max(capacity, _CAPACITY_MIN), _WORDS), np.uint64)
        self.is_open = np.zeros(len(self.words), np.bool_)
        self.count = 0
        self.map = IdMap(lambda: self.words)

    def add(self, opened: Words) -> None:
        end = self.count + len(opened)
        self.words[self.count : end] = opened
        self.is_open[self.count : end] = True
        self.count = end
        self.map.add(end)

    def open_words(self) -> Words:
        opened: Words = self.words[: self.count][self.is_open[: self.count]]
        return opened


class PendingTransfers:
    """Changed by one thread at a time; look-ups are safe from any thread."""

    def __init__(self) -> None:
        self._table = _Table(0)
        self._open_count = 0
        self._statuses = np.zeros(1024, np.uint8)
        self._position_max = 0
        """The last position that has a status."""
        self._expiries: list[tuple[int, int, int]] = []
        """(expires_at, timestamp, id) of pendings with a timeout: a heap; those resolved since
        stay in it until they come up."""
        self.next_expiry = 0
        """No open pending transfer runs out of time before this, ns; 0 if none ever does."""
        self._closing: set[int] = set()
        """Those that closed an account."""

    def __len__(self) -> int:
        return self._open_count

    def find(self, id_: int) -> TransferRow | None:
        """The open pending transfer of that id."""
        if not self._open_count:
            return None
        table = self._table
        number = table.map.find_one(*u128_words(id_))
        if number == MISSING or not table.is_open[number]:
            return None
        row = table.words[number : number + 1, :_ROW_WORDS]
        return next(map(TransferRow._make, columns(_rows(row))))

    def numbers_of(self, ids: Words) -> Numbers:
        """``i64[n]`` of ``u64[n, 2]``: numbers for :meth:`rows_at`, good while nothing changes.

        MISSING for one that is not open.
        """
        table = self._table
        numbers = table.map.find(ids)
        numbers[~table.is_open[numbers]] = MISSING
        return numbers

    def rows_at(self, numbers: Numbers) -> Rows:
        """``TRANSFER[n]``, copies."""
        return _rows(self._table.words[numbers, :_ROW_WORDS])

    def status_at(self, position: int) -> int:
        """The :class:`PendingStatus` of the transfer at ``position``; 0 if it was not pending."""
        return int(self._statuses[position]) if position <= self._position_max else _NONE

    def any_closing(self, ids: Words) -> bool:
        """Whether one of those that are open has closed an account."""
        return bool(self._closing) and not self._closing.isdisjoint(field_ints(ids))

    def add(self, rows: Rows, positions: npt.NDArray[np.uint64]) -> None:
        """Take in ``TRANSFER[n]``, new pending transfers, and where they stand (``u64[n]``)."""
        opened = np.empty((len(rows), _WORDS), np.uint64)
        opened[:, :_ROW_WORDS] = np.ascontiguousarray(rows).view(np.uint64).reshape(-1, _ROW_WORDS)
        opened[:, _ROW_WORDS] = positions
        self._grow(int(positions[-1]))
        self._statuses[positions.astype(np.int64)] = PendingStatus.PENDING
        table = self._table
        if table.count + len(opened) > len(table.words):
            still_open = table.open_words()
            table = _Table(2 * (len(still_open) + len(opened)))
            table.add(still_open)
        table.add(opened)
        self._open_count += len(opened)
        self._table = table
        for index in np.flatnonzero(rows["flags"] & CLOSING).tolist():
            self._closing.update(field_ints(rows["id"][index : index + 1]))
        timed = np.flatnonzero(rows["timeout"])
        for id_, timestamp, timeout in zip(
            field_ints(rows["id"][timed]),
            rows["timestamp"][timed].tolist(),
            rows["timeout"][timed].tolist(),
            strict=True,
        ):
            heapq.heappush(self._expiries, (timestamp + timeout * NS_PER_SECOND, timestamp, id_))
            self.next_expiry = self._expiries[0][0]

    def resolve(self, ids: Words, statuses: npt.NDArray[np.uint8]) -> None:
        """Open pending transfers (``u64[n, 2]``) were posted, were voided or expired."""
        table = self._table
        numbers = table.map.find(ids)
        positions = table.words[numbers, _ROW_WORDS].astype(np.int64)
        self._statuses[positions] = statuses  # first: a reader that finds it closed looks here
        table.is_open[numbers] = False
        self._open_count -= len(numbers)
        if self._closing:
            self._closing.difference_update(field_ints(ids))

    def due(self, now: int, count_max: int) -> list[int]:
        """Ids of open pending transfers that have run out of time by ``now``, in that order."""
        heap = self._expiries
        due: list[tuple[int, int, int]] = []
        while heap and len(due) < count_max:
            is_open = self.find(heap[0][2]) is not None
            if is_open and heap[0][0] > now:
                break
            entry = heapq.heappop(heap)
            if is_open:
                due.append(entry)
        for entry in due:  # until the record of their expiry is durable, they stay what they are
            heapq.heappush(heap, entry)
        self.next_expiry = heap[0][0] if heap else 0
        return [id_ for _, _, id_ in due]

    def dump(self) -> dict[str, Any]:
        """Everything, as CBOR can carry it; equal states give equal dumps."""
        return {
            "open": self._table.open_words().tobytes(),
            "statuses": self._statuses[: self._position_max + 1].tobytes(),
        }

    @classmethod
    def load(cls, dump: dict[str, Any]) -> PendingTransfers:
        """What :meth:`dump` gave.

        Raises:
            DecodeError: it is malformed.
        """
        stored, statuses = dump["open"], dump["statuses"]
        if len(dump) != 2 or len(stored) % OPEN.itemsize or not len(statuses):
            raise DecodeError("the pending transfers of a checkpoint are cut short")
        pendings = cls()
        opened = np.frombuffer(stored, np.uint64).reshape(-1, _WORDS)
        known = np.frombuffer(statuses, np.uint8)
        _check(known, opened[:, _ROW_WORDS])
        if len(opened):
            pendings.add(_rows(opened[:, :_ROW_WORDS]), opened[:, _ROW_WORDS])
        pendings._grow(len(known) - 1)
        pendings._statuses[: len(known)] = known
        return pendings

    def _grow(self, position: int) -> None:
        if position >= len(self._statuses):
            grown = np.zeros(max(position + 1, 2 * len(self._statuses)), np.uint8)
            grown[: len(self._statuses)] = self._statuses
            self._statuses = grown
        self._position_max = max(self._position_max, position)


def _check(known: npt.NDArray[np.uint8], positions: Words) -> None:
    """Check that statuses by position, and where open pending transfers stand, fit."""
    ends = known[0] == _NONE and (len(known) == 1 or known[-1] != _NONE)
    if not ends or known.max() > max(PendingStatus):
        raise DecodeError("the statuses of a checkpoint's pending transfers are malformed")
    if not np.array_equal(np.flatnonzero(known == PendingStatus.PENDING), positions):
        raise DecodeError("a checkpoint's pending transfers are open where its statuses have none")


def _rows(words: Words) -> Rows:
    """``TRANSFER[n]`` of ``u64[n, 16]``."""
    return np.ascontiguousarray(words).reshape(-1).view(TRANSFER)
