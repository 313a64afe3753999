"""The files of a mirror: its health, its log, and the lock that admits one mirror at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from nostro.journal.storage.directory import Directory, read_head
from nostro.journal.storage.file_lock import FileLock
from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.errors import AlreadyMirrored
from nostro.projections.tigerbeetle.mirror.health import MirrorHealth, MirrorState, read_health

_HEALTH: Final = ".health"
_PREFIX: Final = "tigerbeetle-"


@attrs.frozen
class MirrorFiles:
    """The files of one ledger's mirror in one cluster, in ``mirror/`` of the ledger's directory."""

    directory: Directory
    cluster_id: int

    @property
    def lock(self) -> Path:
        return self._file(".lock")

    @property
    def health(self) -> Path:
        """See :mod:`nostro.projections.tigerbeetle.mirror.health`."""
        return self._file(_HEALTH)

    @property
    def log(self) -> Path:
        """Standard error of a process that mirrors."""
        return self._file(".log")

    def make(self, storage: Storage) -> None:
        """Make the folder if it does not exist."""
        if not storage.exists(self.directory.mirror):
            storage.make_directory(self.directory.mirror)

    def health_now(self, storage: Storage) -> MirrorHealth | None:
        """The mirror's last health and whether it still runs; None if it never wrote any."""
        health = read_health(storage, self.health)
        if health is None:
            return None
        head = read_head(storage, self.directory).position
        if self._is_locked(storage):
            return attrs.evolve(health, position_head=max(head, health.position_head))
        state = health.state
        if state not in {MirrorState.DIVERGED, MirrorState.FAILED}:
            state = MirrorState.STOPPED
        return attrs.evolve(health, position_head=head, state=state, connected=False)

    def _is_locked(self, storage: Storage) -> bool:
        if not storage.exists(self.lock):
            return False
        try:
            lock_mirror(storage, self.lock, attempts=1).release()
        except AlreadyMirrored:
            return True
        return False

    def _file(self, suffix: str) -> Path:
        return self.directory.mirror / f"{_PREFIX}{self.cluster_id}{suffix}"


def mirrors_of(storage: Storage, directory: Directory) -> list[MirrorFiles]:
    """The files of each cluster that the ledger was mirrored into."""
    if not storage.exists(directory.mirror):
        return []
    return [
        MirrorFiles(directory, int(name.removeprefix(_PREFIX).removesuffix(_HEALTH)))
        for name in storage.names(directory.mirror)
        if name.startswith(_PREFIX) and name.endswith(_HEALTH)
    ]


def lock_mirror(storage: Storage, path: Path, *, attempts: int = 5) -> FileLock:
    """Take the right to mirror a ledger into a cluster.

    Args:
        attempts: a status command holds the lock for a moment, so a mirror tries several times.

    Raises:
        AlreadyMirrored: another mirror holds it.
    """
    return FileLock(storage, path, AlreadyMirrored(path), attempts=attempts)
