"""Where a mirror keeps what it says of itself, and the lock that admits one."""

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
class MirrorPlace:
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
        """What a process that mirrors writes to standard error."""
        return self._file(".log")

    def make(self, storage: Storage) -> None:
        """Make the folder, if need be."""
        if not storage.exists(self.directory.mirror):
            storage.make_directory(self.directory.mirror)

    def health_now(self, storage: Storage) -> MirrorHealth | None:
        """What the mirror last said, and whether it still runs; None if it never said anything."""
        said = read_health(storage, self.health)
        if said is None:
            return None
        head = read_head(storage, self.directory).position
        if self._is_held(storage):
            return attrs.evolve(said, position_head=max(head, said.position_head))
        state = said.state
        if state not in {MirrorState.DIVERGED, MirrorState.FAILED}:
            state = MirrorState.STOPPED
        return attrs.evolve(said, position_head=head, state=state, connected=False)

    def _is_held(self, storage: Storage) -> bool:
        if not storage.exists(self.lock):
            return False
        try:
            MirrorLock(storage, self.lock, attempts=1).release()
        except AlreadyMirrored:
            return True
        return False

    def _file(self, suffix: str) -> Path:
        return self.directory.mirror / f"{_PREFIX}{self.cluster_id}{suffix}"


def mirror_places(storage: Storage, directory: Directory) -> list[MirrorPlace]:
    """Those of every cluster that the ledger was mirrored into."""
    if not storage.exists(directory.mirror):
        return []
    return [
        MirrorPlace(directory, int(name.removeprefix(_PREFIX).removesuffix(_HEALTH)))
        for name in storage.names(directory.mirror)
        if name.startswith(_PREFIX) and name.endswith(_HEALTH)
    ]


class MirrorLock(FileLock):
    """The right to mirror a ledger into a cluster, held while this object is open.

    Raises:
        AlreadyMirrored: somebody else holds it.
    """

    def __init__(self, storage: Storage, path: Path, *, attempts: int = 5) -> None:
        """Who only looks whether it is held holds it for a moment, so it takes several attempts."""
        super().__init__(storage, path, AlreadyMirrored(path), attempts=attempts)
