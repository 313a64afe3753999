"""Checking every byte of a journal against its checksums, hashes, manifest and HEAD."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import (
    CorruptHead,
    CorruptSegment,
    Damage,
    DecodeError,
    InvalidField,
    SplitHistory,
)
from nostro.journal.format import codec
from nostro.journal.format.codec import RecordKind
from nostro.journal.format.events import events_of
from nostro.journal.format.head import Head
from nostro.journal.format.parts import parts_of, positions_of
from nostro.journal.reading.bulk_scan import FrameChunk, scan_chunks
from nostro.journal.reading.scan import (
    OTHER,
    Place,
    ScannedFrame,
    check_follows,
    last_written,
    reading_frames,
    scan,
    segment_start,
)
from nostro.journal.storage.copying import sha256_of
from nostro.journal.storage.directory import (
    Directory,
    SegmentFile,
    durable_end,
    list_segments,
    read_head,
    require_ledger,
    vouched_for,
)
from nostro.journal.storage.files import Storage, reading
from nostro.journal.writing.manifest import SealedSegment, check_manifest, read_manifest

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


_POLL_SECONDS: Final = 0.1


@attrs.frozen
class VerifyReport:
    """The sound journal that was read."""

    ledger_id: bytes
    segments: int
    records: int | None
    """None if sealed segments were checked by their hash alone, so records were not counted."""
    events: int
    size_bytes: int
    position: int
    frame_sha256: bytes
    """The last link of the hash chain."""
    bytes_past_head: int
    """Bytes that no caller got an answer for, of a crash or of a writer at work."""


def verify(
    path: Path | str,
    *,
    decode: bool = False,
    quick: bool = False,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> VerifyReport:
    """Read every byte: headers, CRCs, hash chain, whole-file hashes, manifest, HEAD.

    A journal that passes is consistent with itself. A history that was rewritten can pass, too:
    only a :class:`Root` kept elsewhere, and :meth:`EventTree.check`, show that.

    Takes no lock and changes nothing; may run beside a writer. Reads segments on one thread per
    processor.

    Args:
        decode: decompress and decode each payload too, which takes ten times as long.
        quick: check only the SHA-256 of each sealed segment, which the next one names. This finds
            damage in sealed segments; only the last segment's headers, CRCs and hash chain are
            checked.

    Raises:
        Damage: the first part that does not fit.
        InvalidField: both ``decode`` and ``quick``.
    """
    if decode and quick:
        raise InvalidField("quick", quick, "cannot be combined with decode")
    storage = storage or Storage()
    directory = Directory(Path(path))
    require_ledger(directory)
    head = read_head(storage, directory, both_slots=True)
    # In this order: a writer beside this may add a segment before it is in the manifest.
    listed = _read_manifest(storage, directory, head)
    files = list_segments(storage, directory, ledger_id=head.ledger_id)
    check_manifest(directory, listed, files)
    files = vouched_for(directory, files, head)
    successors: list[SegmentFile | None] = [*files[1:], None]
    checks = [
        _SegmentCheck(storage, head, file, successor, decode=decode, quick=quick)
        for file, successor in zip(files, successors, strict=True)
    ]
    _run(checks, progress)
    return _report(storage, directory, head, checks)


def check_payload(scanned: ScannedFrame) -> None:
    """Decode everything in a frame.

    Raises:
        DecodeError: this program writes no such payload.
    """
    payload = codec.decode_payload(scanned.payload)
    if payload.event_count != scanned.header.event_count:
        raise DecodeError("the payload holds another number of events than its frame says")
    if scanned.header.kind not in (0, payload.kind):
        raise DecodeError("the payload is of another kind than its frame says")
    for part in parts_of(payload):
        if part.kind is RecordKind.EVENTS:
            places = positions_of(part.places, scanned.place.position)
            deque(events_of(part.payload, places), maxlen=0)
        else:
            part.payload.rows()


def _run(checks: list[_SegmentCheck], progress: Progress | None) -> None:
    """Run all checks; raise the first damage in the order of the journal."""
    total = sum(check.file.size_bytes for check in checks)
    place = segment_start(checks[0].file.header)
    with ThreadPoolExecutor(min(len(checks), os.cpu_count() or 1), "nostro-verify") as pool:
        futures = [pool.submit(check.run) for check in checks]
        try:
            for check, future in zip(checks, futures, strict=True):
                check_follows(check.file.path, check.file.header, place)
                while not wait([future], _POLL_SECONDS).done:
                    _report_progress(checks, total, progress)
                place = future.result()
                _report_progress(checks, total, progress)
        finally:
            for check in checks:
                check.is_wanted = False
            pool.shutdown(cancel_futures=True)


def _report_progress(checks: list[_SegmentCheck], total: int, progress: Progress | None) -> None:
    if progress is not None:
        progress(sum(check.done_bytes for check in checks), total)


def _report(
    storage: Storage, directory: Directory, head: Head, checks: list[_SegmentCheck]
) -> VerifyReport:
    last = checks[-1]
    if last.place.position != head.position + 1:
        raise CorruptHead(directory.head, 0, "it contradicts the last durable frame", head.position)
    if last.place.previous_sha256 != head.frame_sha256:
        raise SplitHistory(directory.head, 0, f"the frame that HEAD names {OTHER}", head.position)
    with reading(storage, last.file.path) as fd:
        written = last_written(storage, fd, head.offset_bytes, last.file.size_bytes)
    return VerifyReport(
        ledger_id=head.ledger_id,
        segments=len(checks),
        records=None if any(c.is_by_hash for c in checks) else sum(c.records for c in checks),
        events=sum(check.events for check in checks),
        size_bytes=sum(check.done_bytes for check in checks),
        position=head.position,
        frame_sha256=head.frame_sha256,
        bytes_past_head=written - head.offset_bytes,
    )


@attrs.define(eq=False)
class _SegmentCheck:
    """The check of one segment by itself; :func:`check_follows` compares it with the one before."""

    _storage: Storage
    _head: Head
    file: SegmentFile
    _successor: SegmentFile | None
    _decode: bool
    _quick: bool
    place: Place = attrs.field(init=False)
    """Where the sound frames end so far."""
    records: int = 0
    events: int = 0
    done_bytes: int = 0
    is_by_hash: bool = False
    is_wanted: bool = True

    def __attrs_post_init__(self) -> None:
        self.place = segment_start(self.file.header)

    def run(self) -> Place:
        """Check the segment; returns where it ends."""
        file, head = self.file, self._head
        end = durable_end(file.path, file.header.position_first, file.size_bytes, head)
        with reading_frames(self._storage, file.path) as fd:
            if self._quick and self._is_as_sealed(fd, end):
                return self.place
            digest = self._scan(fd, end)
        successor = self._successor
        if successor is not None and digest != successor.header.previous_file_sha256:
            check_follows(successor.path, successor.header, self.place)
            raise CorruptSegment(
                file.path, 0, f"its SHA-256 is not the one that {successor.path.name} names"
            )
        return self.place

    def _is_as_sealed(self, fd: int, end_bytes: int) -> bool:
        """Whether its SHA-256 is the one that the next segment names. If not, a scan follows."""
        if self._successor is None:
            return False
        sealed = self._successor.header
        if sha256_of(self._storage, fd, end_bytes, self._count) != sealed.previous_file_sha256:
            self.done_bytes = 0
            return False
        self.is_by_hash = True
        self.events = sealed.position_first - self.place.position
        self.place = Place(end_bytes, sealed.position_first, sealed.previous_frame_sha256)
        return True

    def _count(self, count: int) -> None:
        self.done_bytes += count

    def _scan(self, fd: int, end_bytes: int) -> bytes:
        """Check the frames; returns the SHA-256 of everything up to ``end_bytes``."""
        start = self.place
        digest = hashlib.sha256(self._storage.read(fd, start.offset_bytes, 0))
        self.done_bytes += start.offset_bytes
        for chunk in self._chunks(fd, start, end_bytes):
            digest.update(chunk.data)
            self.place = chunk.next_place
            self.records += chunk.records
            self.events += chunk.events
            self.done_bytes += len(chunk.data)
            if not self.is_wanted:
                break
        return digest.digest()

    def _chunks(self, fd: int, start: Place, end_bytes: int) -> Iterator[FrameChunk]:
        """The frames, many at a time, or one by one and decoded."""
        storage, ledger_id = self._storage, self._head.ledger_id
        if not self._decode:
            yield from scan_chunks(storage, fd, start, end_bytes=end_bytes, ledger_id=ledger_id)
            return
        for scanned in scan(storage, fd, start, end_bytes=end_bytes, ledger_id=ledger_id):
            place = scanned.place
            try:
                check_payload(scanned)
            except DecodeError as error:
                raise Damage(
                    self.file.path, place.offset_bytes, error.reason, place.position
                ) from None
            yield FrameChunk.of(scanned)


def _read_manifest(storage: Storage, directory: Directory, head: Head) -> list[SealedSegment]:
    try:
        return read_manifest(storage, directory, ledger_id=head.ledger_id)
    except FileNotFoundError:
        return []  # derived: the next writer makes it again
