"""Running a projection: cursor -> apply -> checkpoint.

::

    from nostro import Runner

    runner = Runner("data", TurnoverByDay())
    runner.catch_up()
    print(runner.state)
    runner.checkpoint()

The runner never locks the ledger; it may run beside the writer, in this process or another.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Generic

from nostro.journal.errors import DecodeError, InvalidField
from nostro.journal.format import codec
from nostro.journal.reading.reader import Cursor, Reader, Record
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    write_checkpoint,
)
from nostro.projections.checkpoints.projection import Projection, State

_NAME: Final = re.compile(r"[A-Za-z0-9_]+\Z")
RESERVED_NAME: Final = "ledger"


class Runner(Generic[State]):
    """One projection's state and how far it has read.

    Raises:
        InvalidField: the projection's name cannot be a file name, or is the ledger's own.
        NotALedger, CorruptHead: there is no journal to read.
    """

    def __init__(
        self,
        path: Path | str,
        projection: Projection[State],
        *,
        storage: Storage | None = None,
    ) -> None:
        if not _NAME.match(projection.name) or projection.name == RESERVED_NAME:
            raise InvalidField(
                "name",
                projection.name,
                "cannot name a projection: use letters, digits and _, and not 'ledger'",
            )
        self._storage = storage or Storage()
        self._reader = Reader(path, storage=self._storage)
        self._projection = projection
        self._ledger_id = self._reader.head().ledger_id
        self.state = projection.initial()
        self.position = 0
        """The last event the state contains."""
        self._frame_sha256 = bytes(32)
        self._resume()

    def catch_up(self) -> State:
        """Apply everything that is durable by now."""
        for record in self._reader.records(Cursor(position=self.position + 1)):
            self._apply(record)
        return self.state

    def follow(
        self, *, stop: threading.Event | None = None, timeout_seconds: float | None = None
    ) -> Iterator[State]:
        """The state after each record, those to come included; see :meth:`Reader.follow`."""
        cursor = Cursor(position=self.position + 1)
        for record in self._reader.follow(cursor, stop=stop, timeout_seconds=timeout_seconds):
            self._apply(record)
            yield self.state

    def checkpoint(self) -> Checkpoint:
        """Write the state down, so that the next runner starts here.

        Raises:
            InvalidField: the projection's dump is not what CBOR carries.
            OSError: it could not be written; older checkpoints are as they were.
        """
        encoded = codec.encode_cbor(self._projection.dump(self.state))
        try:
            codec.decode_cbor(encoded)
        except DecodeError as error:
            raise InvalidField("dump", self._projection.name, str(error)) from None
        try:
            return self._write_checkpoint(encoded)
        except FileNotFoundError:  # swept away unfinished, by a writer that opened meanwhile
            return self._write_checkpoint(encoded)

    def _write_checkpoint(self, encoded: bytes) -> Checkpoint:
        return write_checkpoint(
            self._storage,
            self._reader.directory,
            projection=self._projection.name,
            projection_version=self._projection.version,
            ledger_id=self._ledger_id,
            position=self.position,
            frame_sha256=self._frame_sha256,
            encoded=[encoded],
        )

    def _apply(self, record: Record) -> None:
        self.state = self._projection.apply(self.state, record)
        self.position = record.position_last
        self._frame_sha256 = record.sha256

    def _resume(self) -> None:
        """Start from the newest checkpoint that fits the journal and this projection's version."""
        found = newest_checkpoint(
            self._storage,
            self._reader,
            self._projection.name,
            self._projection.version,
            lambda _, dump: (self._projection.load(dump),),
        )
        if found is not None:
            (self.state,), checkpoint = found
            self.position = checkpoint.position
            self._frame_sha256 = checkpoint.frame_sha256
