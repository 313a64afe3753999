"""Where a mirror keeps what it says of itself, and the lock that admits one."""

from __future__ import annotations

from pathlib import Path

import attrs

from journal.directory import Directory
from journal.storage import Storage
from projections.tigerbeetle.errors import AlreadyMirrored


@attrs.frozen
class MirrorPlace:
    """The files of one ledger's mirror in one cluster, in ``mirror/`` of the ledger's directory."""

    directory: Directory
    cluster_id: int

    @property
    def lock(self) -> Path:
        return self.directory.mirror / f"tigerbeetle-{self.cluster_id}.lock"

    @property
    def health(self) -> Path:
        """See :mod:`projections.tigerbeetle.health`."""
        return self.directory.mirror / f"tigerbeetle-{self.cluster_id}.health"

    def make(self, storage: Storage) -> None:
        if not storage.exists(self.directory.mirror):
            storage.make_directory(self.directory.mirror)


class FileLock:
    """The system's lock on a file; it ends with the process that holds it.

    Raises:
        AlreadyMirrored: somebody else holds it.
    """

    def __init__(self, storage: Storage, path: Path) -> None:
        self._storage = storage
        self._fd = storage.open_write(path) if storage.exists(path) else storage.create(path)
        if not storage.try_lock(self._fd):
            storage.close(self._fd)
            raise AlreadyMirrored(path)

    def release(self) -> None:
        self._storage.close(self._fd)
