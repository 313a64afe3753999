"""Pending transfers: those still open, and what became of the others.

Open ones are held as their 128-byte rows by id, so that both the rules and the columns can read
them. What became of a pending transfer is one byte by its position in the journal, for ever: a
second post must be told from a post of what expired.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from journal.codec import Rows
from journal.errors import DecodeError
from journal.model import ROW_BYTES, TRANSFER
from journal.rows import columns, field_ints
from projections.rules import CLOSING, NS_PER_SECOND, PendingStatus, TransferRow

OPEN: Final = np.dtype([("row", TRANSFER), ("position", "<u8")])
"""An open pending transfer and where it stands in the journal."""
_NONE: Final = 0


class Pendings:
    """Changed by one thread at a time; single look-ups are safe from any thread."""

    def __init__(self) -> None:
        self._open: dict[int, bytes] = {}
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
        return len(self._open)

    def find(self, id_: int) -> TransferRow | None:
        """The open pending transfer of that id."""
        stored = self._open.get(id_)
        if stored is None:
            return None
        return next(map(TransferRow._make, columns(np.frombuffer(stored, TRANSFER, 1))))

    def status_at(self, position: int) -> int:
        """The :class:`PendingStatus` of the transfer at ``position``; 0 if it was not pending."""
        return int(self._statuses[position]) if position <= self._position_max else _NONE

    def rows_of(self, ids: Iterable[int]) -> Rows:
        """``OPEN[n]`` of open pending transfers, in the order of ``ids``. All must be open."""
        return np.frombuffer(b"".join(map(self._open.__getitem__, ids)), OPEN)

    def any_closing(self, ids: Iterable[int]) -> bool:
        """Whether one of those that are open has closed an account."""
        return not self._closing.isdisjoint(ids)

    def add(self, rows: Rows, positions: npt.NDArray[np.uint64]) -> None:
        """Take in ``TRANSFER[n]``, new pending transfers, and where they stand (``u64[n]``)."""
        opened = np.empty((len(rows), OPEN.itemsize), np.uint8)
        opened[:, :ROW_BYTES] = np.ascontiguousarray(rows).view(np.uint8).reshape(-1, ROW_BYTES)
        opened[:, ROW_BYTES:] = np.ascontiguousarray(positions).view(np.uint8).reshape(-1, 8)
        size = OPEN.itemsize
        data = opened.tobytes()
        ids = field_ints(rows["id"])
        self._set(positions, PendingStatus.PENDING)
        self._open.update(
            zip(ids, (data[at : at + size] for at in range(0, len(data), size)), strict=True)
        )
        self._closing.update(ids[i] for i in np.flatnonzero(rows["flags"] & CLOSING).tolist())
        for index in np.flatnonzero(rows["timeout"]).tolist():
            timestamp = int(rows["timestamp"][index])
            expires_at = timestamp + int(rows["timeout"][index]) * NS_PER_SECOND
            heapq.heappush(self._expiries, (expires_at, timestamp, ids[index]))
            self.next_expiry = self._expiries[0][0]

    def resolve(self, ids: Iterable[int], status: PendingStatus) -> None:
        """Open pending transfers were posted, were voided or expired."""
        for id_ in ids:
            self._statuses[_position(self._open[id_])] = (
                status  # first: who does not find it open looks here
            )
            del self._open[id_]
            self._closing.discard(id_)

    def due(self, now: int, count_max: int) -> list[int]:
        """Ids of open pending transfers that have run out of time by ``now``, in that order."""
        heap = self._expiries
        due: list[tuple[int, int, int]] = []
        while heap and (heap[0][2] not in self._open or heap[0][0] <= now) and len(due) < count_max:
            entry = heapq.heappop(heap)
            if entry[2] in self._open:
                due.append(entry)
        for entry in due:  # until the record of their expiry is durable, they stay what they are
            heapq.heappush(heap, entry)
        self.next_expiry = heap[0][0] if heap else 0
        return [id_ for _, _, id_ in due]

    def dump(self) -> dict[str, Any]:
        """Everything, as CBOR can carry it; equal states give equal dumps."""
        by_position = sorted(self._open.values(), key=_position)
        return {
            "open": b"".join(by_position),
            "statuses": self._statuses[: self._position_max + 1].tobytes(),
        }

    @classmethod
    def load(cls, dump: dict[str, Any]) -> Pendings:
        """What :meth:`dump` gave.

        Raises:
            DecodeError: it is malformed.
        """
        stored, statuses = dump["open"], dump["statuses"]
        if len(stored) % OPEN.itemsize or not len(statuses):
            raise DecodeError("the pending transfers of a checkpoint are cut short")
        pendings = cls()
        opened = np.frombuffer(stored, OPEN)
        if len(opened):
            pendings.add(opened["row"], opened["position"])
        known = np.frombuffer(statuses, np.uint8)
        pendings._grow(len(known) - 1)
        pendings._statuses[: len(known)] = known
        return pendings

    def _set(self, positions: npt.NDArray[np.uint64], status: PendingStatus) -> None:
        self._grow(int(positions[-1]))
        self._statuses[positions.astype(np.int64)] = status

    def _grow(self, position: int) -> None:
        if position >= len(self._statuses):
            grown = np.zeros(max(position + 1, 2 * len(self._statuses)), np.uint8)
            grown[: len(self._statuses)] = self._statuses
            self._statuses = grown
        self._position_max = max(self._position_max, position)


def _position(stored: bytes) -> int:
    return int.from_bytes(stored[ROW_BYTES:], "little")
