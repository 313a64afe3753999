"""Repairing a damaged journal: the events before the damage become a new ledger elsewhere.

The damaged directory is not changed. A repair keeps every frame up to the first damaged one. The
events after it depend on lost ones, so they are left out; their bytes go to ``quarantine`` in the
new directory. Damage to a segment's header, HEAD or the manifest alone loses no event.

The result is another ledger (journal/upkeep/rewriting.py). Its last event describes the repair.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from nostro.journal.errors import (
    CorruptManifest,
    Damage,
    DecodeError,
    NothingToRepair,
    OtherLoss,
    UnsupportedFormat,
)
from nostro.journal.format import frame
from nostro.journal.format.events import LedgerRepaired
from nostro.journal.format.frame import GENESIS_SHA256, HEADER_BYTES, BadFrame
from nostro.journal.format.head import decode_slots
from nostro.journal.format.segment import SEGMENT_HEADER_BYTES, SUFFIX
from nostro.journal.reading.scan import (
    FrameBreak,
    Place,
    ScannedFrame,
    headers_between,
    scan,
    written_end,
)
from nostro.journal.storage.atomic_directory import atomic_directory, check_free
from nostro.journal.storage.copying import as_copy_failed, copy_part
from nostro.journal.storage.directory import (
    Directory,
    Lock,
    read_head,
    read_segment_header,
    require_ledger,
)
from nostro.journal.storage.files import Storage, read_file, reading
from nostro.journal.upkeep.backup import check_apart
from nostro.journal.upkeep.rewriting import rewrite_journal
from nostro.journal.upkeep.verification import Progress, check_payload, verify
from nostro.journal.writing.manifest import read_manifest
from nostro.journal.writing.recovery import Witness, examine

Witnesses = Callable[[Storage, Directory, bytes], Sequence[Witness]]
"""Names the files that prove how far the journal of a ledger, given by identity, reached."""

_NO_LEDGER: Final = bytes(16)


@attrs.frozen
class Dropped:
    """Bytes that belong to no kept event."""

    path: Path
    offset_bytes: int
    size_bytes: int

    @property
    def name(self) -> str:
        """The name of the file in quarantine."""
        return f"{self.path.name}-{self.offset_bytes:012d}.dropped"


@attrs.frozen
class RepairPlan:
    """The events that a repair would keep and lose."""

    ledger_id: bytes
    damage: Damage
    """The first damage."""
    position_kept: int
    """The last event before the damage."""
    frame_sha256: bytes
    records_kept: int
    bytes_kept: int
    events_lost: int
    """How many events after ``position_kept`` are known to be lost."""
    dropped: tuple[Dropped, ...]

    @property
    def bytes_dropped(self) -> int:
        return sum(one.size_bytes for one in self.dropped)


@attrs.frozen
class RepairReport:
    """The repaired ledger."""

    plan: RepairPlan
    ledger_id: bytes
    position: int
    """The last event, which describes the repair."""
    quarantine: Path
    seconds: float


def plan_repair(
    path: Path | str, *, witnesses: Witnesses | None = None, storage: Storage | None = None
) -> RepairPlan:
    """The plan of :func:`repair`. Changes nothing.

    Args:
        witnesses: names files that prove how far the journal reached.

    Raises:
        NotALedger, NotOwner, LedgerLocked, UnsupportedFormat: it cannot be examined.
        NothingToRepair: it is sound.
    """
    storage = storage or Storage()
    directory = Directory(Path(path))
    require_ledger(directory)
    with _locked(storage, directory):
        return _plan(storage, directory, witnesses)


def repair(
    path: Path | str,
    destination: Path | str,
    *,
    lose: int,
    witnesses: Witnesses | None = None,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> RepairReport:
    """Make a ledger at ``destination``, empty or missing, from the events before the damage.

    Args:
        lose: the number of events that are lost, exactly as in the plan.

    Raises:
        As :func:`plan_repair`, and
        OtherLoss: ``lose`` is not the plan's number.
        DestinationInside, DestinationTaken: nothing was done.
        CopyFailed, JournalFull, WriterPoisoned: the disk is full or broken; nothing was left.
    """
    began = time.perf_counter()
    storage = storage or Storage()
    directory, destination = Directory(Path(path)), Path(destination)
    require_ledger(directory)
    check_apart(directory.path, destination)
    check_free(storage, destination)
    with _locked(storage, directory):
        plan = _plan(storage, directory, witnesses)
        if plan.events_lost != lose:
            raise OtherLoss(directory.path, plan.events_lost, lose)
        with atomic_directory(storage, destination) as unfinished:
            origin = plan.ledger_id, plan.position_kept, plan.frame_sha256
            kept = _Walk(storage, directory, plan.ledger_id).frames()
            made = rewrite_journal(
                storage,
                unfinished,
                ((scanned.header, bytes(scanned.payload)) for scanned in kept),
                lambda at: LedgerRepaired(0, at, *origin, plan.events_lost, _cause(plan.damage)),
                bytes_total=plan.bytes_kept,
                progress=progress,
            )
            quarantine = Directory(unfinished).quarantine
            for one in plan.dropped:
                with as_copy_failed(quarantine / one.name):
                    copy_part(
                        storage, one.path, one.offset_bytes, one.size_bytes, quarantine / one.name
                    )
        return RepairReport(
            plan,
            made.ledger_id,
            made.position,
            Directory(destination).quarantine,
            time.perf_counter() - began,
        )


@contextlib.contextmanager
def _locked(storage: Storage, directory: Directory) -> Iterator[None]:
    """Keep writers out, unless LOCK is missing: a damaged directory is not changed."""
    if not storage.exists(directory.lock):
        yield
        return
    lock = Lock(storage, directory)
    try:
        yield
    finally:
        lock.release()


def _plan(storage: Storage, directory: Directory, witnesses: Witnesses | None) -> RepairPlan:
    ledger_id = _identity(storage, directory)
    found = witnesses(storage, directory, ledger_id) if witnesses is not None else ()
    damage = _damage(storage, directory, found)
    if damage is None:
        raise NothingToRepair(directory.path)
    walk = _Walk(storage, directory, ledger_id)
    records = size_bytes = 0
    for scanned in walk.frames():
        records += 1
        size_bytes += len(scanned.frame)
    place = walk.place
    dropped = tuple(_dropped(storage, directory, walk))
    reached = [place.position - 1, *(one.position for one in found)]
    reached += _vouched_positions(storage, directory, ledger_id)
    for one in dropped:
        reached += _positions_in(storage, one, ledger_id)
    return RepairPlan(
        ledger_id=ledger_id,
        damage=damage,
        position_kept=place.position - 1,
        frame_sha256=place.previous_sha256 or GENESIS_SHA256,
        records_kept=records,
        bytes_kept=size_bytes,
        events_lost=max(reached) - (place.position - 1),
        dropped=dropped,
    )


def _damage(storage: Storage, directory: Directory, witnesses: Sequence[Witness]) -> Damage | None:
    """The first damage that no crash explains."""
    try:
        verify(directory.path, decode=True, storage=storage)
        examine(storage, directory, witnesses)
    except Damage as damage:
        return damage
    return None


def _vouched_positions(storage: Storage, directory: Directory, ledger_id: bytes) -> Iterator[int]:
    """The positions that HEAD, the manifest and the names of segments vouch for."""
    with contextlib.suppress(OSError, UnsupportedFormat):
        for head in decode_slots(read_file(storage, directory.head), path=directory.head):
            if head is not None and head.ledger_id == ledger_id:
                yield head.position
    with contextlib.suppress(OSError, CorruptManifest):
        for sealed in read_manifest(storage, directory, ledger_id=ledger_id):
            yield sealed.position_first  # a sealed segment has at least one event
    for name in storage.names(directory.segments):
        digits = name.removesuffix(SUFFIX)
        if not name.endswith(SUFFIX) or not digits.isdecimal():
            continue
        with contextlib.suppress(Damage):
            if (
                read_segment_header(storage, directory.segments / name).header.ledger_id
                != ledger_id
            ):
                continue
        yield int(digits) - 1  # a segment begins once everything before it is durable


def _identity(storage: Storage, directory: Directory) -> bytes:
    """The ledger's identity, from the first segment, its first frame, HEAD, or another segment."""
    path = directory.segment(1)
    if storage.exists(path):
        with contextlib.suppress(Damage):
            return read_segment_header(storage, path).header.ledger_id
        with reading(storage, path) as fd, contextlib.suppress(BadFrame):
            data = storage.read(fd, HEADER_BYTES, SEGMENT_HEADER_BYTES)
            return frame.decode_header(memoryview(data)).ledger_id
    with contextlib.suppress(Damage):
        return read_head(storage, directory).ledger_id
    for name in storage.names(directory.segments):
        if name.endswith(SUFFIX):
            with contextlib.suppress(Damage):
                return read_segment_header(storage, directory.segments / name).header.ledger_id
    return _NO_LEDGER


class _Walk:
    """Walks the sound frames from the first, and then knows where they end."""

    def __init__(self, storage: Storage, directory: Directory, ledger_id: bytes) -> None:
        self._storage = storage
        self._directory = directory
        self._ledger_id = ledger_id
        self.place = Place(SEGMENT_HEADER_BYTES, 1, GENESIS_SHA256)
        self.ends: dict[Path, int] = {}
        """Where the sound frames of each segment end, up to the first damage."""

    def frames(self) -> Iterator[ScannedFrame]:
        path = self._directory.segment(1)
        while self._storage.exists(path) and path not in self.ends:
            self.place = attrs.evolve(self.place, offset_bytes=SEGMENT_HEADER_BYTES)
            with reading(self._storage, path) as fd:
                end = written_end(self._storage, fd, self.place, self._storage.size(fd))
                yield from self._segment_frames(fd, end)
            self.ends[path] = self.place.offset_bytes
            path = self._directory.segment(self.place.position)

    def _segment_frames(self, fd: int, end: int) -> Iterator[ScannedFrame]:
        # After a break no segment begins with the position that is reached, so the walk ends.
        with contextlib.suppress(FrameBreak, DecodeError):
            for scanned in scan(
                self._storage, fd, self.place, end_bytes=end, ledger_id=self._ledger_id
            ):
                check_payload(scanned)
                yield scanned
                self.place = scanned.next_place


def _dropped(storage: Storage, directory: Directory, walk: _Walk) -> Iterator[Dropped]:
    """The bytes that belong to no kept frame. Derived files are left out: they lose nothing."""
    folders = [directory.segments]
    if storage.exists(directory.quarantine):
        folders.append(directory.quarantine)
    paths = [folder / name for folder in folders for name in storage.names(folder)]
    for path in [directory.head, directory.manifest, *paths]:
        if path.is_symlink() or not path.is_file():
            continue
        with reading(storage, path) as fd:
            size = storage.size(fd)
            start = walk.ends.get(path, 0)
            if start:
                size = written_end(storage, fd, Place(start, 0, None), size)
        if start:
            with contextlib.suppress(Damage):
                read_segment_header(storage, path)
                if size == start:
                    continue
                yield Dropped(path, start, size - start)
                continue
            yield Dropped(path, 0, SEGMENT_HEADER_BYTES)  # its header is damaged
        if size > start:
            yield Dropped(path, start, size - start)


def _positions_in(storage: Storage, dropped: Dropped, ledger_id: bytes) -> Iterator[int]:
    """The last position of each sound frame header in dropped bytes."""
    if dropped.path.suffix != SUFFIX:
        return
    with contextlib.suppress(Damage):
        header = read_segment_header(storage, dropped.path).header
        if header.ledger_id == ledger_id:
            yield header.position_first - 1
    with reading(storage, dropped.path) as fd:
        end = dropped.offset_bytes + dropped.size_bytes
        for _, found in headers_between(storage, fd, dropped.offset_bytes, end):
            if found.ledger_id == ledger_id:
                yield found.position_last


def _cause(damage: Damage) -> str:
    """The damage in words, without the path of the directory."""
    return f"{damage.path.name} damaged at byte {damage.offset_bytes}: {damage.cause}"
