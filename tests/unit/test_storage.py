"""The storage seam: modes, links, owners, and the order in which a file is replaced."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from nostro.journal.errors import NotALedger, NotOwner, UnsupportedPlatform
from nostro.journal.storage.files import (
    Storage,
    check_directory,
    read_file,
    replace_file,
    sweep_temporaries,
)
from nostro.journal.writing.writer import Writer
from tests.descriptors import open_files
from tests.journals import commit, open_writer
from tests.storages import CHANGES, EIO, ENOSPC, FaultyStorage, RecordingStorage

STORAGE = Storage()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_a_ledger(tmp_path: Path, umask: int) -> None:
    """Every directory is 0700 and every file 0600, whatever the umask allows."""
    before = os.umask(umask)
    try:
        writer = open_writer(tmp_path / "above" / "ledger")
        for first in range(1, 61):
            commit(writer, first)
        writer.close()
    finally:
        os.umask(before)
    paths = [tmp_path / "above", *(tmp_path / "above").rglob("*")]
    assert len([path for path in paths if path.is_file()]) > 5
    for path in paths:
        assert mode_of(path) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("opening", ["create", "open_read", "open_write"])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, opening: str) -> None:
    """What a link points at is neither read nor written nor created."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the number is checked below
        getattr(STORAGE, opening)(link)
    assert caught.value.errno == errno.ELOOP
    assert target.read_bytes() == b"precious"


def test_descriptors_are_not_inherited(tmp_path: Path) -> None:
    """No program that is started holds a ledger's files open."""
    for opening in (STORAGE.create, STORAGE.open_read, STORAGE.open_write):
        fd = opening(tmp_path / "file")
        assert not os.get_inheritable(fd)
        STORAGE.close(fd)


def test_a_directory_of_this_user_is_accepted(tmp_path: Path) -> None:
    """A real directory that one owns is fit to be a ledger."""
    check_directory(tmp_path)


@pytest.mark.parametrize("what", ["missing", "below a file", "a file", "a link"])
def test_what_is_no_directory_is_refused(tmp_path: Path, what: str) -> None:
    """The path is named, with the reason."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    name = {"missing": "x", "below a file": "file/x", "a file": "file", "a link": "link"}[what]
    with pytest.raises(NotALedger) as caught:
        check_directory(tmp_path / name)
    assert caught.value.path == tmp_path / name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    """A ledger is opened by its owner only; root is nobody's owner either."""
    ledger = tmp_path / "ledger"
    open_writer(ledger).close()
    before = sorted(ledger.rglob("*"))
    os.chown(ledger, 12_345, -1)
    for opening in (lambda: check_directory(ledger), lambda: Writer.open(ledger)):
        with pytest.raises(NotOwner, match="12345") as caught:
            opening()
        assert (caught.value.owner_uid, caught.value.process_uid) == (12_345, 0)
    assert sorted(ledger.rglob("*")) == before


def test_somebody_elses_directory_is_refused_without_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner is compared with the user the process acts as."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotOwner) as caught:
        check_directory(tmp_path)
    assert caught.value.owner_uid == os.getuid()


def test_another_platform_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where durability is not implemented, nothing is opened at all."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UnsupportedPlatform, match="win32"):
        Storage()


@pytest.mark.parametrize("step", [1, 2, 1_000])
def test_short_writes_and_reads_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """However little the system takes or gives at a time, all of it arrives."""
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, step), at))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:step], at))
    fd = STORAGE.create(tmp_path / "file")
    STORAGE.write(fd, b"all of it", 3)
    assert STORAGE.read(fd, 100, 0) == b"\0\0\0all of it"
    assert STORAGE.read(fd, 3, 4) == b"ll "
    STORAGE.close(fd)


def test_reserved_room_is_zero(tmp_path: Path) -> None:
    """Allocating lengthens the file by zeros, and truncating takes them away."""
    fd = STORAGE.create(tmp_path / "file")
    STORAGE.write(fd, b"x", 0)
    STORAGE.allocate(fd, 1, 99)
    assert STORAGE.read(fd, 1_000, 0) == b"x" + bytes(99)
    STORAGE.truncate(fd, 1)
    assert STORAGE.size(fd) == 1
    STORAGE.close(fd)


# --- replacing a file -----------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_a_file_is_replaced_in_the_order_that_survives_a_crash(
    tmp_path: Path, exists: bool
) -> None:
    """The content is synced before it gets its name, and the name before this returns."""
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"old")
    storage = RecordingStorage()
    replace_file(storage, path, b"new")
    assert storage.story() == [
        ("create", "file.tmp"),
        ("write", "file.tmp"),
        ("sync", "file.tmp"),
        ("close", "file.tmp"),
        ("rename", "file.tmp"),
        ("sync_directory", tmp_path.name),
    ]
    assert read_file(storage, path) == b"new"
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("code", [EIO, ENOSPC])
@pytest.mark.parametrize("fail_at", [1, 2, 3, 4])
def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path, fail_at: int, code: int) -> None:
    """Whichever step fails, the old file is whole and nothing is left beside it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=os.strerror(code)):
        replace_file(FaultyStorage(fail_at, code), path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"old"}


def test_a_new_name_that_could_not_be_synced_is_reported(tmp_path: Path) -> None:
    """Without the last step the new file may vanish again, so it is not called replaced."""
    storage = FaultyStorage(1, EIO, only={"sync_directory"})
    with pytest.raises(OSError, match=os.strerror(EIO)):
        replace_file(storage, tmp_path / "file", b"new")
    assert "sync_directory" in CHANGES


@pytest.mark.skipif(sys.platform == "darwin", reason="syncs by another call there")
@pytest.mark.parametrize("call", ["sync", "sync_data", "sync_directory"])
def test_a_sync_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Of a file, of its data, and of a directory, whose descriptor is closed all the same."""

    def failing(_: int) -> None:
        raise OSError(EIO, os.strerror(EIO))

    storage = Storage()
    fd = storage.create(tmp_path / "file")
    before = open_files(tmp_path)
    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(OSError, match=os.strerror(EIO)):
        getattr(storage, call)(tmp_path if call == "sync_directory" else fd)
    assert open_files(tmp_path) == before
    storage.close(fd)


def test_leftovers_are_swept(tmp_path: Path) -> None:
    """Only what an interrupted replacement left is removed."""
    for name in ("a", "a.tmp", "b.tmp", "tmp", "c.tmp.torn"):
        (tmp_path / name).touch()
    sweep_temporaries(STORAGE, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c.tmp.torn", "tmp"]
