"""The Merkle tree's lower part, kept: the root of each whole run of 4,096 events. Derived.

That is 8 bytes for 1,000 events. The levels above follow from these hashes at once; the levels
below follow from the journal, 4,096 events at a time. The file names the ledger and the hash of the
frame with the last event it covers. In a rewritten journal that hash differs, and the file is
ignored, like one that is missing or damaged.
"""

from __future__ import annotations

from typing import Any, Final

from nostro.journal.errors import DecodeError
from nostro.journal.evidence.merkle import HASH_BYTES
from nostro.journal.format import container
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage, read_file, replace_file

SUBTREE_EVENTS: Final = 4096
FILE_TYPE: Final = "tree"
VERSION: Final = 1


def read_subtrees(storage: Storage, directory: Directory, reader: Reader) -> bytes:
    """The kept roots, one after another; empty if the file cannot be used.

    Raises:
        Damage: the journal cannot be read where the roots end.
    """
    try:
        body = _read_body(storage, directory, reader.head().ledger_id)
        frame_sha256 = _frame_sha256(reader, body["subtrees"])
    except (OSError, DecodeError, KeyError):
        return b""
    is_bound = frame_sha256 is not None and body.get("frame_sha256") == frame_sha256
    return body["subtrees"] if is_bound else b""


def kept_position(storage: Storage, directory: Directory, ledger_id: bytes) -> int:
    """The last event under the kept roots, whatever the journal holds; 0 without a sound file."""
    try:
        subtrees = _read_body(storage, directory, ledger_id)["subtrees"]
    except (OSError, DecodeError, KeyError):
        return 0
    return len(subtrees) // HASH_BYTES * SUBTREE_EVENTS


def _read_body(storage: Storage, directory: Directory, ledger_id: bytes) -> dict[str, Any]:
    body = container.unpack(read_file(storage, directory.subtrees), file_type=FILE_TYPE)
    if body.get("version") != VERSION or body["ledger"] != ledger_id:
        raise DecodeError("the tree is another ledger's")
    subtrees: object = body["subtrees"]
    if not isinstance(subtrees, bytes) or not subtrees or len(subtrees) % HASH_BYTES:
        raise DecodeError("the tree holds no hashes")
    return body


def write_subtrees(
    storage: Storage, directory: Directory, reader: Reader, subtrees: bytes, *, ledger_id: bytes
) -> None:
    """Keep the roots.

    Raises:
        Damage: the journal cannot be read where they end.
        OSError: they could not be written; the old file is unchanged.
    """
    body = {
        "frame_sha256": _frame_sha256(reader, subtrees),
        "ledger": ledger_id,
        "subtrees": subtrees,
        "type": FILE_TYPE,
        "version": VERSION,
    }
    if not storage.exists(directory.tree):
        storage.make_directory(directory.tree)
        storage.sync_directory(directory.path)
    replace_file(storage, directory.subtrees, container.pack(body))


def _frame_sha256(reader: Reader, subtrees: bytes) -> bytes | None:
    """The hash of the frame with the last event under the roots; None if it is missing."""
    record = reader.record_at(len(subtrees) // HASH_BYTES * SUBTREE_EVENTS)
    return None if record is None else record.sha256
