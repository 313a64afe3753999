"""The files of a mirror, and the lock that admits one."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.directory import Directory
from journal.storage import Storage
from projections.tigerbeetle.errors import AlreadyMirrored
from projections.tigerbeetle.place import FileLock, MirrorPlace


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    """Who comes too late is told, and leaks nothing; it is free again when it is released."""
    storage = Storage()
    lock = FileLock(storage, tmp_path / "lock")
    files_open = open_files()
    for _ in range(3):
        with pytest.raises(AlreadyMirrored, match="is running already"):
            FileLock(storage, tmp_path / "lock")
    assert open_files() <= files_open  # what an earlier test left may be closed meanwhile
    lock.release()
    FileLock(storage, tmp_path / "lock").release()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def open_files() -> int:
    """Of this process; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_each_cluster_has_files_of_its_own(tmp_path: Path) -> None:
    """In a folder that nobody else may look into."""
    (tmp_path / "ledger").mkdir()
    places = [MirrorPlace(Directory(tmp_path / "ledger"), id_) for id_ in (0, 2**128 - 1)]
    for place in places:
        place.make(Storage())
    assert len({file for place in places for file in (place.lock, place.health)}) == 4
    assert places[0].lock.parent.stat().st_mode & 0o777 == 0o700
