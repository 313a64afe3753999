"""Checkpoints: a projection's state at a position, so that a restart need not begin at event one.

Derived: every one of them may be deleted at any time.

A checkpoint binds the ledger's identity, the position, the hash of the last frame before it and
the hash of the state. The last two of a projection are kept; one that cannot be used is passed
over for the one before it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from nostro.journal.errors import CorruptCheckpoint, DecodeError
from nostro.journal.format import codec, container
from nostro.journal.reading.reader import Reader
from nostro.journal.storage.directory import Directory
from nostro.journal.storage.files import Storage, read_file, replace_file
from nostro.journal.writing.recovery import Witness

S = TypeVar("S")

FILE_TYPE: Final = "checkpoint"
VERSION: Final = 1
KEPT: Final = 2
SUFFIX: Final = ".checkpoint"
STATE_BYTES_MAX: Final = 64 * 1024**3
_FIELDS: Final[dict[str, type | int]] = {
    "frame_sha256": 32, "ledger": 16, "position": int, "projection": str,
    "projection_version": int, "state": bytes, "state_sha256": 32, "type": str, "version": int,
}  # fmt: skip
"""Their types, or how many bytes they have."""


@attrs.frozen
class Checkpoint:
    """What a checkpoint says of itself."""

    path: Path
    projection: str
    projection_version: int
    ledger_id: bytes
    position: int
    frame_sha256: bytes
    """The hash of the frame that ends at ``position``."""
    state_sha256: bytes
    size_bytes: int


def write_checkpoint(
    storage: Storage,
    directory: Directory,
    *,
    projection: str,
    projection_version: int,
    ledger_id: bytes,
    position: int,
    frame_sha256: bytes,
    encoded: Sequence[bytes],
) -> Checkpoint:
    """Write one, durably, and remove the oldest if there are more than two.

    Args:
        encoded: the state in canonical CBOR, in parts.

    Raises:
        OSError: it could not be written; those that were there still are.
    """
    digest = hashlib.sha256()
    for part in encoded:
        digest.update(part)
    state_sha256 = digest.digest()
    body = {
        "frame_sha256": frame_sha256,
        "ledger": ledger_id,
        "position": position,
        "projection": projection,
        "projection_version": projection_version,
        "state": codec.compress_parts(encoded),
        "state_sha256": state_sha256,
        "type": FILE_TYPE,
        "version": VERSION,
    }
    path = directory.checkpoints / f"{projection}-{position:020d}{SUFFIX}"
    data = container.pack(body)
    replace_file(storage, path, data)
    for old in checkpoint_paths(storage, directory, projection)[:-KEPT]:
        with contextlib.suppress(FileNotFoundError):  # another runner was faster
            storage.unlink(old)
    return Checkpoint(
        path, projection, projection_version, ledger_id, position, frame_sha256,
        state_sha256, len(data),
    )  # fmt: skip


def read_checkpoint(
    storage: Storage, path: Path, *, ledger_id: bytes, state_bytes_max: int = STATE_BYTES_MAX
) -> tuple[Checkpoint, Any]:
    """A checkpoint and its state.

    Args:
        state_bytes_max: refuse a state that has more than this, before memory is used.

    Raises:
        CorruptCheckpoint: it is damaged, of another version, or another ledger's.
    """
    checkpoint, packed = _read_envelope(storage, path, ledger_id=ledger_id)
    return checkpoint, _unpack(checkpoint, packed, state_bytes_max)


def newest_checkpoint(
    storage: Storage,
    reader: Reader,
    projection: str,
    version: int,
    load: Callable[[Checkpoint, Any], S | None],
    *,
    position_max: int | None = None,
    state_bytes_max: int = STATE_BYTES_MAX,
    refused: list[str] | None = None,
) -> tuple[S, Checkpoint] | None:
    """The newest checkpoint of a projection that fits the journal, and its state.

    Args:
        load: makes the state of its dump; None passes the checkpoint over. It may raise
            CorruptCheckpoint or DecodeError.
        position_max: pass over checkpoints after this position.
        refused: takes why a checkpoint could not be used.
    """
    refused = [] if refused is None else refused
    ledger_id = reader.head().ledger_id
    for path in reversed(checkpoint_paths(storage, reader.directory, projection)):
        try:
            checkpoint, packed = _read_envelope(storage, path, ledger_id=ledger_id)
            if checkpoint.projection_version != version:
                continue
            if not holds_frame(reader, checkpoint.position, checkpoint.frame_sha256):
                refused.append(
                    f"{path}: the journal holds another frame at its position: this checkpoint is"
                    " of another copy of the ledger, which went on by itself"
                )
                continue
            if position_max is not None and checkpoint.position > position_max:
                continue
            state = load(checkpoint, _unpack(checkpoint, packed, state_bytes_max))
        except (CorruptCheckpoint, DecodeError) as error:
            refused.append(str(error))
            continue
        if state is not None:
            return state, checkpoint
    return None


def holds_frame(reader: Reader, position: int, sha256: bytes) -> bool:
    """Whether the journal has, ending at ``position``, the frame with that hash."""
    if position == 0:
        return True
    record = reader.record_at(position)
    return record is not None and record.position_last == position and record.sha256 == sha256


def checkpoint_paths(
    storage: Storage, directory: Directory, projection: str | None = None
) -> list[Path]:
    """The checkpoints of one projection, oldest first, or of all; sound or not."""
    if not storage.exists(directory.checkpoints):
        return []
    return [
        directory.checkpoints / name
        for name in storage.names(directory.checkpoints)
        if name.endswith(SUFFIX) and projection in (None, name.rsplit("-", 1)[0])
    ]


def checkpoint_witnesses(storage: Storage, directory: Directory, ledger_id: bytes) -> list[Witness]:
    """What the sound checkpoints of any projection of this ledger prove about the journal."""
    witnesses: list[Witness] = []
    for path in checkpoint_paths(storage, directory):
        with contextlib.suppress(CorruptCheckpoint):
            checkpoint, _ = _read_envelope(storage, path, ledger_id=ledger_id)
            witnesses.append(Witness(path, checkpoint.position))
    return witnesses


def _read_envelope(storage: Storage, path: Path, *, ledger_id: bytes) -> tuple[Checkpoint, bytes]:
    """What the checkpoint says of itself, and its state, still compressed."""
    try:
        data = read_file(storage, path)
        body = container.unpack(data, file_type=FILE_TYPE)
        if body.get("version") != VERSION:
            raise DecodeError("the checkpoint has an unknown version")
        if body.get("ledger") != ledger_id:
            raise DecodeError("the checkpoint belongs to another ledger")
        if set(body) != set(_FIELDS) or not all(
            map(_has_form, body.values(), map(_FIELDS.get, body))
        ):
            raise DecodeError("the checkpoint has unknown, missing or malformed fields")
        checkpoint = Checkpoint(
            path, body["projection"], body["projection_version"], ledger_id, body["position"],
            body["frame_sha256"], body["state_sha256"], len(data),
        )  # fmt: skip
        return checkpoint, body["state"]
    except (DecodeError, OSError) as error:
        raise CorruptCheckpoint(path, 0, str(error)) from None


def _unpack(checkpoint: Checkpoint, packed: bytes, state_bytes_max: int) -> Any:
    try:
        encoded = codec.decompress(packed, size_bytes_max=state_bytes_max)
        if hashlib.sha256(encoded).digest() != checkpoint.state_sha256:
            raise DecodeError("the checkpoint's state fails its SHA-256")
        return codec.decode_cbor(encoded)
    except DecodeError as error:
        raise CorruptCheckpoint(checkpoint.path, 0, str(error)) from None


def _has_form(value: Any, form: type | int | None) -> bool:
    if isinstance(form, int):
        return isinstance(value, bytes) and len(value) == form
    return type(value) is form and (not isinstance(value, int) or value >= 0)
