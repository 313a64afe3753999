"""Derived files: whole or refused, and a manifest that is held against the segments."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs
import pytest

from nostro.journal.errors import CorruptManifest, DecodeError
from nostro.journal.format import container
from nostro.journal.format.codec import encode_cbor
from nostro.journal.storage.directory import Directory, SegmentFile, list_segments, read_head
from nostro.journal.storage.files import Storage
from nostro.journal.writing.manifest import (
    SealedSegment,
    check_manifest,
    read_manifest,
    sealed_segments,
    write_manifest,
)
from tests.journals import write_journal

BODY = {"type": "sample", "list": [1, b"2", None], "map": {"a": True}}
STORAGE = Storage()


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """A closed journal of several segments."""
    write_journal(tmp_path / "ledger", 80)
    return Directory(tmp_path / "ledger")


def segments_of(directory: Directory) -> list[SegmentFile]:
    ledger_id = read_head(STORAGE, directory).ledger_id
    return list_segments(STORAGE, directory, ledger_id=ledger_id)


def read(directory: Directory) -> list[SealedSegment]:
    return read_manifest(STORAGE, directory, ledger_id=read_head(STORAGE, directory).ledger_id)


# --- the container --------------------------------------------------------------------------------


def test_what_is_packed_is_unpacked() -> None:
    """The map comes back equal, under the type it says it has."""
    assert container.unpack(container.pack(BODY), file_type="sample") == BODY


def test_every_flipped_bit_is_refused() -> None:
    """No bit of the file can change unseen."""
    data = container.pack(BODY)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError):
            container.unpack(bytes(flipped), file_type="sample")


def test_every_truncation_and_every_addition_is_refused() -> None:
    """Neither a beginning of the file nor the file and more passes for the file."""
    data = container.pack(BODY)
    for changed in [*(data[:size] for size in range(len(data))), data + b"\0"]:
        with pytest.raises(DecodeError):
            container.unpack(changed, file_type="sample")


def test_another_type_of_file_is_refused() -> None:
    """A checkpoint under the manifest's name is not read as a manifest."""
    with pytest.raises(DecodeError, match="not a manifest"):
        container.unpack(container.pack(BODY), file_type="manifest")


@pytest.mark.parametrize("body", [[], 1, "sample", {}, {"type": 1}])
def test_a_sound_hash_does_not_make_a_sound_file(body: object) -> None:
    """What the hash covers is checked as if it were not."""
    encoded = encode_cbor(body)
    data = container.MAGIC + hashlib.sha256(encoded).digest() + encoded
    with pytest.raises(DecodeError):
        container.unpack(data, file_type="sample")


# --- the manifest ---------------------------------------------------------------------------------


def test_the_manifest_says_what_the_sealed_segments_are(directory: Directory) -> None:
    """Position, size and SHA-256 of each sealed file, in order; the active one is not listed."""
    files = segments_of(directory)
    listed = read(directory)
    assert len(listed) == len(files) - 1 > 2
    for entry, file in zip(listed, files, strict=False):
        content = file.path.read_bytes()
        assert entry.position_first == file.header.position_first
        assert entry.size_bytes == len(content)
        assert entry.sha256 == hashlib.sha256(content).digest()
    assert listed == sealed_segments(files)
    check_manifest(directory, listed, files)


def test_a_manifest_may_lag(directory: Directory) -> None:
    """A crash between sealing and the manifest leaves a shorter list, which is no damage."""
    files = segments_of(directory)
    check_manifest(directory, read(directory)[:-1], files)
    check_manifest(directory, [], files)


def test_a_manifest_may_not_lead(directory: Directory) -> None:
    """A listed segment whose successor is gone is missed by its position."""
    files = segments_of(directory)
    listed = read(directory)
    with pytest.raises(CorruptManifest, match="successor is missing") as caught:
        check_manifest(directory, listed, files[:-1])
    assert caught.value.position == listed[-1].position_first
    assert caught.value.path == directory.manifest


@pytest.mark.parametrize(
    "change", [{"position_first": 2}, {"size_bytes": 1}, {"sha256": bytes(32)}]
)
def test_a_manifest_may_not_disagree(directory: Directory, change: dict[str, Any]) -> None:
    """A difference in any field is refused, and the segment is named."""
    files = segments_of(directory)
    listed = read(directory)
    listed[1] = attrs.evolve(listed[1], **change)
    with pytest.raises(CorruptManifest, match=files[1].path.name):
        check_manifest(directory, listed, files)


def test_a_missing_manifest_is_told_from_a_damaged_one(directory: Directory) -> None:
    """Without a file, whoever asks can make it anew; so that is no damage."""
    directory.manifest.unlink()
    with pytest.raises(FileNotFoundError):
        read(directory)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"version": 2}, id="a newer version"),
        pytest.param({"version": ...}, id="no version"),
        pytest.param({"ledger": b"another"}, id="another ledger"),
        pytest.param({"ledger": ...}, id="no ledger"),
        pytest.param({"type": "checkpoint"}, id="another type"),
        pytest.param({"segments": ...}, id="no segments"),
        pytest.param({"segments": 1}, id="a number of segments"),
        pytest.param({"segments": "abc"}, id="segments as text"),
        pytest.param({"segments": [1]}, id="an entry that is a number"),
        pytest.param({"segments": [[1, 2]]}, id="an entry too short"),
        pytest.param({"segments": [[1, 2, bytes(32), 4]]}, id="an entry too long"),
        pytest.param({"segments": [["1", 2, bytes(32)]]}, id="a position as text"),
        pytest.param({"segments": [[1, True, bytes(32)]]}, id="a size that is no number"),
        pytest.param({"segments": [[1, 2, bytes(31)]]}, id="a hash too short"),
        pytest.param({"segments": [[1, 2, "x" * 32]]}, id="a hash as text"),
        pytest.param({"segments": [[1, 2, 3]]}, id="a hash as a number"),
        pytest.param({"segments": {}}, id="segments as a map"),
        pytest.param({"version": True}, id="a version that is no number"),
        pytest.param({"more": 1}, id="an unknown field"),
    ],
)
def test_a_malformed_manifest_is_damage(directory: Directory, change: dict[str, Any]) -> None:
    """Whatever is wrong with it, the manifest is refused by name, and nothing else is raised."""
    ledger_id = read_head(STORAGE, directory).ledger_id
    write_manifest(STORAGE, directory, ledger_id=ledger_id, sealed=[])
    body = container.unpack(directory.manifest.read_bytes(), file_type="manifest")
    changed = {key: value for key, value in {**body, **change}.items() if value is not ...}
    directory.manifest.write_bytes(container.pack(changed))
    with pytest.raises(CorruptManifest) as caught:
        read(directory)
    assert caught.value.path == directory.manifest


def test_many_small_items_are_refused_before_memory_is_used() -> None:
    """A byte of CBOR may take 80 in memory, so a file has no more items than its size explains."""
    items = 10**6
    body = b"\x9a" + items.to_bytes(4, "big") + b"\x80" * items
    data = container.MAGIC + hashlib.sha256(body).digest() + body
    with pytest.raises(DecodeError, match="items"):
        container.unpack(data, file_type="manifest")
