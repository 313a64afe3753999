"""The manifest: the size and hash of each sealed segment. Derived, rebuilt when missing.

The header of the next segment has the same size and hash. The manifest has them all in one place.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import attrs

from nostro.journal.errors import CorruptManifest, DecodeError
from nostro.journal.format import container
from nostro.journal.storage.directory import Directory, SegmentFile
from nostro.journal.storage.files import NO_SPACE_ERRNOS, Storage, read_file, replace_file

FILE_TYPE: Final = "manifest"
VERSION: Final = 1


@attrs.frozen
class SealedSegment:
    position_first: int
    size_bytes: int
    sha256: bytes


def sealed_segments(files: list[SegmentFile]) -> list[SealedSegment]:
    """The sealed segments, as the header of each next one describes them."""
    return [
        SealedSegment(
            before.header.position_first,
            after.header.previous_file_bytes,
            after.header.previous_file_sha256,
        )
        for before, after in pairwise(files)
    ]


def write_manifest(
    storage: Storage, directory: Directory, *, ledger_id: bytes, sealed: list[SealedSegment]
) -> None:
    replace_file(storage, directory.manifest, _packed(ledger_id, sealed))


def refresh_manifest(
    storage: Storage, directory: Directory, *, ledger_id: bytes, sealed: list[SealedSegment]
) -> None:
    """Write it, but ignore a full disk: it may lag, and the next rotation or opening tries again.

    Raises:
        OSError: it could not be written for another reason.
    """
    try:
        write_manifest(storage, directory, ledger_id=ledger_id, sealed=sealed)
    except OSError as failure:
        if failure.errno not in NO_SPACE_ERRNOS:
            raise


def read_manifest(
    storage: Storage, directory: Directory, *, ledger_id: bytes
) -> list[SealedSegment]:
    """The sealed segments that the manifest lists.

    Raises:
        FileNotFoundError: it is missing, and can be rebuilt.
        CorruptManifest: it is damaged, of another version, or another ledger's.
    """
    try:
        data = read_file(storage, directory.manifest)
        body = container.unpack(data, file_type=FILE_TYPE)
        if body.get("version") != VERSION:
            raise DecodeError("the manifest has an unknown version")
        if body.get("ledger") != ledger_id:
            raise DecodeError("the manifest belongs to another ledger")
        listed = [_sealed_segment(entry) for entry in body["segments"]]
        if _packed(ledger_id, listed) != data:
            raise DecodeError("the manifest is not written as it should be")
        return listed
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise CorruptManifest(directory.manifest, 0, str(error)) from None


def check_manifest(
    directory: Directory, listed: list[SealedSegment], files: list[SegmentFile]
) -> None:
    """Compare the manifest with the segments: it may list fewer, and never more.

    Raises:
        CorruptManifest: it lists a sealed segment that is missing or different.
    """
    present = sealed_segments(files)
    for number, entry in enumerate(listed):
        if number >= len(present):
            raise CorruptManifest(
                directory.manifest,
                0,
                f"it lists a sealed segment from position {entry.position_first} whose successor"
                " is missing",
                entry.position_first,
            )
        if present[number] != entry:
            raise CorruptManifest(
                directory.manifest,
                0,
                f"it disagrees with the successor of segment {files[number].path.name}",
                entry.position_first,
            )


def _packed(ledger_id: bytes, sealed: list[SealedSegment]) -> bytes:
    return container.pack(
        {
            "ledger": ledger_id,
            "segments": [list(attrs.astuple(one)) for one in sealed],
            "type": FILE_TYPE,
            "version": VERSION,
        }
    )


def _sealed_segment(entry: Any) -> SealedSegment:
    position_first, size_bytes, sha256 = entry
    is_whole = type(position_first) is type(size_bytes) is int and isinstance(sha256, bytes)
    if not is_whole or len(sha256) != 32:
        raise TypeError("an entry of the manifest is malformed")
    return SealedSegment(position_first, size_bytes, sha256)
