"""Making a new, empty journal."""

from __future__ import annotations

import os
import time
from typing import Final

from nostro.journal.errors import NotALedger
from nostro.journal.format.frame import GENESIS_SHA256
from nostro.journal.format.head import Head, encode_slots
from nostro.journal.format.segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    encode_segment_header,
    segment_name,
)
from nostro.journal.storage.directory import Directory, make_folders
from nostro.journal.storage.files import Storage, check_directory, make_directories, replace_file

_LEDGER_ID_BYTES: Final = 16
_FIRST_SEGMENT: Final = segment_name(1)


def prepare_directory(storage: Storage, directory: Directory) -> None:
    """Make sure that the directory exists and can hold a ledger.

    Raises:
        NotALedger: the path is a file, or a directory with something else in it.
        NotOwner: it belongs to another user.
    """
    if not storage.exists(directory.path):
        make_directories(storage, directory.path)
    check_directory(directory.path)
    known = {directory.lock.name, directory.head.name, directory.manifest.name}
    known |= {folder.name for folder in directory.folders}
    foreign = [
        name
        for name in storage.names(directory.path)
        if name not in known and not name.endswith(".tmp")
    ]
    if foreign and not directory.segments.is_dir():
        raise NotALedger(path=directory.path, reason=f"it is not empty: it holds {foreign[0]!r}")


def is_initialised(storage: Storage, directory: Directory) -> bool:
    """Whether the creation of a journal was finished here; it writes HEAD last."""
    if storage.exists(directory.head) or storage.exists(directory.manifest):
        return True
    for folder in directory.folders:
        if folder != directory.segments and storage.exists(folder) and storage.names(folder):
            return True  # files derived from a journal exist: HEAD was lost
    return directory.segments.is_dir() and _holds_more_than_a_beginning(storage, directory)


def create_journal(storage: Storage, directory: Directory) -> None:
    """Write the first segment and then HEAD; the caller holds the lock.

    A crash in between leaves no HEAD, and the next call starts over.
    """
    make_folders(storage, directory)
    storage.sync_directory(directory.path)  # no crash may leave HEAD without them
    ledger_id = os.urandom(_LEDGER_ID_BYTES)
    header = SegmentHeader(
        ledger_id=ledger_id,
        number=0,
        position_first=1,
        previous_frame_sha256=GENESIS_SHA256,
        previous_file_sha256=bytes(32),
        previous_file_bytes=0,
        created_at_ns=time.time_ns(),
    )
    replace_file(storage, directory.segments / _FIRST_SEGMENT, encode_segment_header(header))
    head = Head(
        ledger_id=ledger_id,
        sequence=0,
        position=0,
        timestamp=0,
        segment_position=1,
        offset_bytes=SEGMENT_HEADER_BYTES,
        frame_sha256=GENESIS_SHA256,
        closed=True,
    )
    replace_file(storage, directory.head, encode_slots(head))


def _holds_more_than_a_beginning(storage: Storage, directory: Directory) -> bool:
    names = [name for name in storage.names(directory.segments) if not name.endswith(".tmp")]
    if names in ([], [_FIRST_SEGMENT]):
        sizes = [os.lstat(directory.segments / name).st_size for name in names]
        return any(size > SEGMENT_HEADER_BYTES for size in sizes)
    return True
