"""The files of a mirror, and the lock that admits one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from nostro import Ledger
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage
from nostro.projections.tigerbeetle.errors import AlreadyMirrored
from nostro.projections.tigerbeetle.mirror.files import MirrorFiles, lock_mirror

FORKER: Final = """
import os, sys
from pathlib import Path
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration
from nostro.projections.tigerbeetle.errors import AlreadyMirrored
from nostro.projections.tigerbeetle.mirror.mirror import Mirror

def refused(call):
    try:
        call()
    except AlreadyMirrored:
        return True
    return False

def open_mirror():
    return Mirror(Path(sys.argv[1]), ClusterConfiguration(7, ("127.0.0.1:1",)), connect=None)

mirror = open_mirror()
from_child, to_parent = os.pipe()
from_parent, to_child = os.pipe()
if os.fork() == 0:
    os.close(to_child)
    before = len(os.listdir("/dev/fd"))
    mirror.close()
    said = "idle " if refused(mirror.catch_up) and refused(lambda: mirror.run(None)) else ""
    said += "locked " if refused(open_mirror) else ""
    said += "leaks_nothing " if len(os.listdir("/dev/fd")) == before else ""
    os.write(to_parent, said.encode())
    os.close(to_parent)
    os.read(from_parent, 1)  # the child lives on until the parent is gone
    os._exit(0)
os.close(to_parent)
with os.fdopen(from_child) as pipe:
    said = pipe.read()
said += "parent_keeps_it " if refused(open_mirror) else ""
mirror.close()
open_mirror().close()
print(said + "free")
os.write(to_child, b"x")
os.wait()
"""


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    """Who comes too late is told, and leaks nothing; it is free again when it is released."""
    storage = Storage()
    lock = lock_mirror(storage, tmp_path / "lock")
    files_open = open_files()
    for _ in range(3):
        with pytest.raises(AlreadyMirrored, match="is running already"):
            lock_mirror(storage, tmp_path / "lock")
    assert open_files() <= files_open  # what an earlier test left may be closed meanwhile
    lock.release()
    lock_mirror(storage, tmp_path / "lock").release()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def open_files() -> int:
    """Of this process; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_each_cluster_has_files_of_its_own(tmp_path: Path) -> None:
    """In a folder that nobody else may look into."""
    (tmp_path / "ledger").mkdir()
    places = [MirrorFiles(Directory(tmp_path / "ledger"), id_) for id_ in (0, 2**128 - 1)]
    for place in places:
        place.make(Storage())
    assert len({file for place in places for file in (place.lock, place.health)}) == 4
    assert places[0].lock.parent.stat().st_mode & 0o777 == 0o700


def test_a_forked_child_neither_has_nor_keeps_the_lock(tmp_path: Path) -> None:
    """It cannot mirror, cannot prolong its parent's lock, and does not end it either."""
    Ledger.open(tmp_path / "ledger").close()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKER, str(tmp_path / "ledger")],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["idle", "locked", "leaks_nothing", "parent_keeps_it", "free"]
