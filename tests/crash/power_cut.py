"""A simulated disk: what may be on it after the power fails, by the rules and no better.

What a sync did not cover may have reached the disk or not: each 512-byte sector by itself, in any
version it ever had since; the size of a file at any of its values since; the names in a directory
up to any change, or with any change left out. What a sync did cover is there.
"""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import TypeVar

import attrs

from journal.frame import SECTOR_BYTES
from tests.storages import Operation, RecordingStorage

ZEROS = bytes(SECTOR_BYTES)
T = TypeVar("T")


@attrs.define(eq=False)
class File:
    """Versions of each sector, and sizes, since the last sync; the last is the newest."""

    sectors: dict[int, list[bytes]] = attrs.field(factory=dict)
    sizes: list[int] = attrs.field(factory=lambda: [0])

    def write(self, offset_bytes: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, start = divmod(offset_bytes + at, SECTOR_BYTES)
            part = data[at : at + SECTOR_BYTES - start]
            versions = self.sectors.setdefault(number, [ZEROS])
            newest = versions[-1]
            versions.append(newest[:start] + part + newest[start + len(part) :])
            at += len(part)
        self.sizes.append(max(self.sizes[-1], offset_bytes + len(data)))

    def resize(self, size_bytes: int) -> None:
        kept, rest = divmod(size_bytes, SECTOR_BYTES)
        for number, versions in self.sectors.items():
            if number > kept or (number == kept and not rest):
                versions.append(ZEROS)
            elif number == kept:
                versions.append(versions[-1][:rest].ljust(SECTOR_BYTES, b"\0"))
        self.sizes.append(size_bytes)

    def sync(self) -> None:
        self.sectors = {number: versions[-1:] for number, versions in self.sectors.items()}
        self.sizes = self.sizes[-1:]

    def after_power_cut(self, chance: random.Random) -> bytes:
        """One of the contents that the disk may have."""
        likely = chance.choice((0.0, 0.5, 0.9, 1.0))
        size = _one_of(self.sizes, likely, chance)
        content = bytearray(-(-size // SECTOR_BYTES) * SECTOR_BYTES)
        for number, versions in self.sectors.items():
            if number * SECTOR_BYTES < size:
                at = number * SECTOR_BYTES
                content[at : at + SECTOR_BYTES] = _one_of(versions, likely, chance)
        return bytes(content[:size])


@attrs.define(eq=False)
class Folder:
    """Names on disk, and what was changed since: (name, what it names from then on, or None)."""

    durable: dict[str, File | Folder] = attrs.field(factory=dict)
    changes: list[list[tuple[str, File | Folder | None]]] = attrs.field(factory=list)

    @property
    def now(self) -> dict[str, File | Folder]:
        return _applied(self.durable, self.changes)

    def sync(self) -> None:
        self.durable, self.changes = self.now, []

    def after_power_cut(self, chance: random.Random) -> dict[str, File | Folder]:
        """One of the sets of names that the disk may have."""
        kind = chance.randrange(3)
        if kind == 0:
            kept = self.changes
        elif kind == 1:
            kept = self.changes[: chance.randint(0, len(self.changes))]
        else:
            kept = [change for change in self.changes if chance.random() < 0.5]
        return _applied(self.durable, kept)


class Disk:
    """What lies below ``root``, and may lie there after a power cut."""

    def __init__(self, root: Path) -> None:
        """From the directory as it is, all of it durable."""
        self._root = root
        self._top = _loaded(root)

    def apply(self, operation: Operation) -> None:
        """Take in one operation of a :class:`RecordingStorage`."""
        path = operation.path
        match operation.name:
            case "create":
                if path.name in self._folder(path.parent).now:
                    self._file(path).resize(0)
                else:
                    self._folder(path.parent).changes.append([(path.name, File())])
            case "write":
                self._file(path).write(operation.offset_bytes, operation.data)
            case "allocate":
                file = self._file(path)
                file.sizes.append(max(file.sizes[-1], operation.offset_bytes + operation.count))
            case "truncate":
                self._file(path).resize(operation.offset_bytes)
            case "sync" | "sync_data":
                self._file(path).sync()
            case "make_directory":
                self._folder(path.parent).changes.append([(path.name, Folder())])
            case "sync_directory":
                self._folder(path).sync()
            case "rename":
                assert operation.target is not None
                moved = self._folder(path.parent).now[path.name]
                self._folder(path.parent).changes.append(
                    [(path.name, None), (operation.target.name, moved)]
                )
            case "unlink":
                self._folder(path.parent).changes.append([(path.name, None)])
            case _:
                pass  # opening and closing leave nothing on a disk

    def after_power_cut(self, target: Path, chance: random.Random) -> None:
        """Put one of the states that the disk may be in into the empty directory ``target``."""
        _put(target, self._top, chance)

    def _folder(self, path: Path) -> Folder:
        folder = self._top
        for part in path.relative_to(self._root).parts:
            inner = folder.now[part]
            assert isinstance(inner, Folder)
            folder = inner
        return folder

    def _file(self, path: Path) -> File:
        file = self._folder(path.parent).now[path.name]
        assert isinstance(file, File)
        return file


class Tape(RecordingStorage):
    """Records operations, and between them what was promised to a caller."""

    def __init__(self) -> None:
        super().__init__()
        self._promises: dict[int, int] = {}

    def promise(self, position: int) -> None:
        """From here on, the events up to ``position`` must survive."""
        self._promises[len(self.operations)] = position

    def promised(self, operations: int) -> int:
        """What had been promised after so many operations."""
        return max((p for at, p in self._promises.items() if at <= operations), default=0)


def _applied(
    names: dict[str, File | Folder], changes: list[list[tuple[str, File | Folder | None]]]
) -> dict[str, File | Folder]:
    names = dict(names)
    for change in changes:
        for name, named in change:
            if named is None:
                names.pop(name, None)
            else:
                names[name] = named
    return names


def _loaded(path: Path) -> Folder:
    folder = Folder()
    for entry in path.iterdir():
        if entry.is_dir():
            folder.durable[entry.name] = _loaded(entry)
        else:
            file = File()
            file.write(0, entry.read_bytes())
            file.sync()
            folder.durable[entry.name] = file
    return folder


def _put(path: Path, folder: Folder, chance: random.Random) -> None:
    for name, entry in folder.after_power_cut(chance).items():
        if isinstance(entry, Folder):
            (path / name).mkdir(mode=0o700)
            _put(path / name, entry, chance)
        else:
            (path / name).write_bytes(entry.after_power_cut(chance))


def _one_of(versions: list[T], likely: float, chance: random.Random) -> T:
    """The newest, as likely as that; else the oldest or any one."""
    if chance.random() < likely:
        return versions[-1]
    return chance.choice((versions[0], chance.choice(versions)))


_numbers = count(1)


def fresh_directory(parent: Path) -> Path:
    """A new, empty directory."""
    path = parent / f"cut-{next(_numbers)}"
    path.mkdir()
    return path
