"""Transfers that were refused for good: the first answer, which the journal keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from nostro.journal.format.codec import CREATED, RecordKind
from nostro.journal.model import CreateTransferStatus, Transfer
from nostro.journal.reading.reader import Cursor, Reader
from nostro.journal.rows import transfers_from_rows


@attrs.frozen
class RefusedTransfer:
    """A transfer that was refused for good. Its id is used up: it answers ID_ALREADY_FAILED."""

    transfer: Transfer
    """As it was asked for, with the time of its refusal."""
    status: CreateTransferStatus
    """The first answer: why it was refused."""
    timestamp: int
    """When it was refused, ns."""
    position: int
    """Where its refusal stands in the journal."""


def refused_transfers(reader: Reader, positions: Iterable[int]) -> Iterator[RefusedTransfer]:
    """Yield the transfers at ``positions`` that were refused for good, in that order.

    Raises:
        Damage: the journal cannot be read there.
    """
    record = None
    for position in positions:
        if record is None or not record.position_first <= position <= record.position_last:
            record = next(iter(reader.records(Cursor(position=position))), None)
        if record is None:
            continue
        part, at = record.part_at(position)
        statuses = part.statuses
        if part.kind is not RecordKind.TRANSFERS or statuses is None:
            continue
        status = int(statuses[at])
        if status != CREATED:
            [transfer] = transfers_from_rows(part.rows[at : at + 1])
            yield RefusedTransfer(
                transfer, CreateTransferStatus(status), transfer.timestamp, position
            )
