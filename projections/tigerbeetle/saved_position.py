"""Positions kept beside the ledger's checkpoints: how far work with a cluster has come.

Each is a small checkpoint, bound to the ledger's identity, the cluster's id, a position and the
hash of the frame that ends there. It is derived: without it the work begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from nostro.journal.errors import CorruptCheckpoint
from nostro.journal.format import codec
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.checkpoints.checkpoint import (
    Checkpoint,
    checkpoint_paths,
    holds_frame,
    read_checkpoint,
    write_checkpoint,
)

VERSION: Final = 1


@attrs.frozen
class SavedPosition:
    """The position of one kind of work with one cluster."""

    storage: Storage
    directory: Directory
    cluster_id: int
    work: str = ""
    """What is done up to the position; empty for mirroring."""

    @property
    def name(self) -> str:
        """The checkpoints are kept under this name."""
        return f"tigerbeetle_{self.cluster_id}" + (f"_{self.work}" if self.work else "")

    def read(self, reader: Reader) -> Iterator[tuple[Checkpoint, dict[str, Any]]]:
        """Yield those that fit the journal with their state, the newest first."""
        ledger_id = reader.head().ledger_id
        for path in reversed(checkpoint_paths(self.storage, self.directory, self.name)):
            try:
                found, state = read_checkpoint(self.storage, path, ledger_id=ledger_id)
            except CorruptCheckpoint:
                continue
            if found.projection_version == VERSION and holds_frame(
                reader, found.position, found.frame_sha256
            ):
                yield found, state

    def write(
        self, state: dict[str, Any], *, ledger_id: bytes, position: int, frame_sha256: bytes
    ) -> None:
        """Save ``state``. Raises OSError on failure; the older one is then unchanged."""
        write_checkpoint(
            self.storage,
            self.directory,
            projection=self.name,
            projection_version=VERSION,
            ledger_id=ledger_id,
            position=position,
            frame_sha256=frame_sha256,
            encoded=[codec.encode_cbor(state)],
        )

    def forget(self) -> None:
        """Delete all of them."""
        for path in checkpoint_paths(self.storage, self.directory, self.name):
            self.storage.unlink(path)
