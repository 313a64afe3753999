"""Checking every byte of a journal against everything that vouches for it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

import attrs

from journal import codec
from journal.directory import (
    Directory,
    SegmentFile,
    list_segments,
    read_head,
    require_ledger,
)
from journal.errors import (
    CorruptHead,
    CorruptSegment,
    Damage,
    DecodeError,
    JournalTruncated,
)
from journal.events import events_of
from journal.frame import FrameHeader
from journal.head import Head
from journal.manifest import SealedSegment, check_manifest, read_manifest
from journal.scan import FrameBreak, Place, ScannedFrame, scan, segment_start
from journal.storage import Storage

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


@attrs.frozen
class VerifyReport:
    """What was read and found sound."""

    ledger_id: bytes
    segments: int
    records: int
    events: int
    size_bytes: int
    position: int
    frame_sha256: bytes
    """The chain's last link: it stands for the whole journal."""
    bytes_past_head: int
    """Not acknowledged: left by a crash, or a writer is at work. Recovery decides about them."""


def verify(
    path: Path | str, *, progress: Progress | None = None, storage: Storage | None = None
) -> VerifyReport:
    """Read every byte: headers, CRCs, hash chain, payloads, whole-file hashes, manifest, HEAD.

    Takes no lock and changes nothing; may run beside a writer.

    Raises:
        Damage: the first thing that is not as it was written.
    """
    storage = storage or Storage()
    directory = Directory(Path(path))
    require_ledger(directory)
    head = read_head(storage, directory, both_slots=True)
    # In this order: beside a writer, what is listed last knows of everything listed before.
    listed = _read_manifest(storage, directory, head)
    files = list_segments(storage, directory, ledger_id=head.ledger_id)
    check_manifest(directory, listed, files)
    return _Verification(storage, directory, head, files, progress).run()


class _Verification:
    def __init__(
        self,
        storage: Storage,
        directory: Directory,
        head: Head,
        files: list[SegmentFile],
        progress: Progress | None,
    ) -> None:
        self._storage = storage
        self._directory = directory
        self._head = head
        self._files = [
            file for file in files if file.header.position_first <= head.segment_position
        ]
        self._progress = progress
        self._total = sum(file.size_bytes for file in self._files)
        self._done = self._records = self._events = 0

    def run(self) -> VerifyReport:
        head = self._head
        place = segment_start(self._files[0].header)
        for number, file in enumerate(self._files):
            successor = self._files[number + 1] if number + 1 < len(self._files) else None
            place = self._check_segment(file, place, successor)
        last = self._files[-1]
        if last.header.position_first != head.segment_position:
            raise JournalTruncated(
                self._directory.segment(head.segment_position), 0, "HEAD names it",
                head.segment_position,
            )  # fmt: skip
        if place.position != head.position + 1 or place.previous_sha256 != head.frame_sha256:
            raise CorruptHead(
                self._directory.head, 0, "it contradicts the last durable frame", head.position
            )
        return VerifyReport(
            ledger_id=head.ledger_id,
            segments=len(self._files),
            records=self._records,
            events=self._events,
            size_bytes=self._done,
            position=head.position,
            frame_sha256=head.frame_sha256,
            bytes_past_head=self._bytes_past_head(last),
        )

    def _check_segment(
        self, file: SegmentFile, place: Place, successor: SegmentFile | None
    ) -> Place:
        start = segment_start(file.header)
        if start.position != place.position or start.previous_sha256 != place.previous_sha256:
            raise CorruptSegment(
                file.path, 0, "it does not follow on the segment before it", place.position
            )
        is_last = file.header.position_first == self._head.segment_position
        end = self._head.offset_bytes if is_last else file.size_bytes
        if file.size_bytes < end:
            raise JournalTruncated(
                file.path, file.size_bytes, f"HEAD says that {end:,} bytes were acknowledged"
            )
        fd = self._storage.open_read(file.path)
        try:
            digest = hashlib.sha256(self._storage.read(fd, start.offset_bytes, 0))
            place = start
            for scanned in scan(
                self._storage, fd, start, end_bytes=end, ledger_id=self._head.ledger_id
            ):
                digest.update(scanned.frame)
                self._check_payload(file, scanned)
                place = scanned.next_place
                self._count(scanned.header)
        except FrameBreak as broken:
            raise broken.damage(file.path) from None
        finally:
            self._storage.close(fd)
        self._done += start.offset_bytes
        if successor is not None and digest.digest() != successor.header.previous_file_sha256:
            raise CorruptSegment(
                file.path, 0, f"its SHA-256 is not the one that {successor.path.name} names"
            )
        return place

    def _check_payload(self, file: SegmentFile, scanned: ScannedFrame) -> None:
        try:
            payload = codec.decode_payload(scanned.payload)
            if payload.event_count != scanned.header.event_count:
                raise DecodeError("the payload holds another number of events than its frame says")
            if payload.blocks:
                payload.rows()
            else:
                deque(events_of(payload, position_first=scanned.place.position), maxlen=0)
        except DecodeError as error:
            place = scanned.place
            raise Damage(file.path, place.offset_bytes, error.reason, place.position) from None

    def _count(self, header: FrameHeader) -> None:
        self._records += 1
        self._events += header.event_count
        self._done += header.frame_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _bytes_past_head(self, last: SegmentFile) -> int:
        fd = self._storage.open_read(last.path)
        try:
            start = self._head.offset_bytes
            return len(self._storage.read(fd, last.size_bytes - start, start).rstrip(b"\0"))
        finally:
            self._storage.close(fd)


def _read_manifest(storage: Storage, directory: Directory, head: Head) -> list[SealedSegment]:
    try:
        return read_manifest(storage, directory, ledger_id=head.ledger_id)
    except FileNotFoundError:
        return []  # derived: the next writer makes it anew
