"""Making a whole directory: it appears complete, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nostro.journal.errors import DestinationTaken, LedgerLocked
from nostro.journal.storage.copying import as_copy_failed
from nostro.journal.storage.files import Storage, make_directories

_UNFINISHED: Final = ".unfinished"


@contextlib.contextmanager
def atomic_directory(storage: Storage, destination: Path) -> Iterator[Path]:
    """A directory to fill; at the end, without an error, it becomes ``destination``, durably.

    Until then it is ``NAME.unfinished``, beside ``destination``. The next call removes one that a
    killed process left.

    Raises:
        DestinationTaken: ``destination`` exists, and is not an empty directory.
        LedgerLocked: another process is making it.
        CopyFailed: the system refuses.
    """
    check_free(storage, destination)
    destination = Path(os.path.realpath(destination))
    temporary = destination.with_name(destination.name + _UNFINISHED)
    with as_copy_failed(destination):
        if not storage.exists(destination.parent):
            make_directories(storage, destination.parent)
        if not storage.exists(temporary):
            storage.make_directory(temporary)
        fd = storage.open_directory(temporary)
    try:
        if not storage.try_lock(fd) or storage.identity(fd) != storage.identity_at(temporary):
            raise LedgerLocked(temporary)
        with as_copy_failed(temporary):
            clear_directory(storage, temporary)
        try:
            yield temporary
            check_free(storage, destination)
            with as_copy_failed(destination):
                storage.sync_directory(temporary)
                storage.rename(temporary, destination)
        except BaseException:
            with contextlib.suppress(OSError):
                clear_directory(storage, temporary)
                storage.remove_directory(temporary)
            raise
        with as_copy_failed(destination):
            storage.sync_directory(destination.parent)
    finally:
        storage.close(fd)


def check_free(storage: Storage, path: Path) -> None:
    """Refuse a path that is in use.

    Raises:
        DestinationTaken: it exists, and is not an empty directory.
    """
    if not storage.exists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise DestinationTaken(path, "it is not a directory")
    if names := storage.names(path):
        raise DestinationTaken(path, f"it is not empty: it holds {names[0]!r}")


def clear_directory(storage: Storage, path: Path) -> None:
    """Remove everything in a directory."""
    for name in storage.names(path):
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            clear_directory(storage, entry)
            storage.remove_directory(entry)
        else:
            storage.unlink(entry)
