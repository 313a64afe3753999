"""A simulated disk: what may be on it after the power fails, by the rules and no better.

What a sync did not cover may have reached the disk or not: each 512-byte sector by itself, in any
version it ever had since; the size of a file at any of its values since; the names in a directory
up to any change, or with any change left out. What a sync did cover is there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import count
from math import prod
from pathlib import Path
from typing import TypeVar

import attrs

from nostro.journal.format.frame import SECTOR_BYTES
from tests.crash.choices import Choices, Sampled
from tests.crash.memory import Tree, put, taken
from tests.storages import Operation, RecordingStorage

V = TypeVar("V", int, bytes)


@attrs.define(eq=False)
class File:
    """What the last sync covered, and what may be there of what came since; the last is newest."""

    durable: bytes = b""
    sectors: dict[int, list[bytes]] = attrs.field(factory=dict)
    """Versions of each sector that was changed, from the durable one on; none is there twice."""
    sizes: list[int] = attrs.field(factory=lambda: [0])

    @classmethod
    def of(cls, content: bytes) -> File:
        return cls(content, sizes=[len(content)])

    def write(self, offset_bytes: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, start = divmod(offset_bytes + at, SECTOR_BYTES)
            part = data[at : at + SECTOR_BYTES - start]
            newest = self._versions(number)[-1]
            self._change(number, newest[:start] + part + newest[start + len(part) :])
            at += len(part)
        self._grow(offset_bytes + len(data))

    def allocate(self, end_bytes: int) -> None:
        self._grow(end_bytes)

    def resize(self, size_bytes: int) -> None:
        kept, rest = divmod(size_bytes, SECTOR_BYTES)
        for number in range(kept, -(-max(self.sizes) // SECTOR_BYTES)):
            newest = self._versions(number)[-1]
            self._change(number, newest[: rest if number == kept else 0].ljust(SECTOR_BYTES, b"\0"))
        _put_last(self.sizes, size_bytes)

    def sync(self) -> None:
        if self.sectors or len(self.sizes) > 1:
            self.durable = self._content(
                {n: v[-1] for n, v in self.sectors.items()}, self.sizes[-1]
            )
            self.sectors, self.sizes = {}, self.sizes[-1:]

    def after_power_cut(self, choices: Choices) -> bytes:
        """One of the contents that the disk may have."""
        if not self.sectors and len(self.sizes) == 1:
            return self.durable
        size = choices.size(self.sizes)
        chosen = {
            number: choices.sector(versions)
            for number, versions in self.sectors.items()
            if number * SECTOR_BYTES < size
        }
        return self._content(chosen, size)

    def _content(self, sectors: dict[int, bytes], size: int) -> bytes:
        content = bytearray(
            self.durable[:size].ljust(-(-size // SECTOR_BYTES) * SECTOR_BYTES, b"\0")
        )
        for number, sector in sectors.items():
            content[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES] = sector
        return bytes(content[:size])

    def _versions(self, number: int) -> list[bytes]:
        versions = self.sectors.get(number)
        if versions is None:
            durable = self.durable[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES]
            versions = [durable.ljust(SECTOR_BYTES, b"\0")]
        return versions

    def _change(self, number: int, sector: bytes) -> None:
        versions = self._versions(number)
        if number in self.sectors or sector != versions[-1]:
            _put_last(versions, sector)
            self.sectors[number] = versions

    def _grow(self, end_bytes: int) -> None:
        _put_last(self.sizes, max(self.sizes[-1], end_bytes))


@attrs.define(eq=False)
class Folder:
    """Names on disk, and what was changed since: (name, what it names from then on, or None)."""

    durable: dict[str, File | Folder] = attrs.field(factory=dict)
    changes: list[list[tuple[str, File | Folder | None]]] = attrs.field(factory=list)

    @classmethod
    def of(cls, tree: Tree) -> Folder:
        """All of it durable."""
        return cls(
            {
                name: Folder.of(entry) if isinstance(entry, dict) else File.of(entry)
                for name, entry in tree.items()
            }
        )

    @property
    def now(self) -> dict[str, File | Folder]:
        return _applied(self.durable, self.changes) if self.changes else self.durable

    def sync(self) -> None:
        self.durable, self.changes = self.now, []

    def after_power_cut(self, choices: Choices) -> Tree:
        """One of the trees that the disk may have."""
        names = self.durable
        if self.changes:
            names = _applied(names, choices.changes(self.changes))
        return {name: entry.after_power_cut(choices) for name, entry in names.items()}

    def entries(self) -> Iterator[File | Folder]:
        """This folder and all that may lie in it."""
        yield self
        seen = {id(entry): entry for entry in self.durable.values()}
        for change in self.changes:
            seen |= {id(entry): entry for _, entry in change if entry is not None}
        for entry in seen.values():
            if isinstance(entry, Folder):
                yield from entry.entries()
            else:
                yield entry


class Disk:
    """What lies below ``root``, and may lie there after a power cut."""

    def __init__(self, root: Path, tree: Tree | None = None) -> None:
        """From ``tree``, or the directory as it is; all of it durable."""
        self._root = root
        self._top = Folder.of(taken(root) if tree is None else tree)

    def apply(self, operation: Operation) -> None:
        """Take in one operation of a :class:`RecordingStorage`."""
        path = operation.path
        match operation.name:
            case "create" | "create_new":
                if path.name in self._folder(path.parent).now:
                    self._file(path).resize(0)
                else:
                    self._folder(path.parent).changes.append([(path.name, File())])
            case "write":
                self._file(path).write(operation.offset_bytes, operation.data)
            case "allocate":
                self._file(path).allocate(operation.offset_bytes + operation.count)
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
            case "link":
                assert operation.target is not None
                folder, file = self._folder(operation.target.parent), self._file(path)
                folder.changes.append([(operation.target.name, file)])
            case "unlink" | "remove_directory":
                self._folder(path.parent).changes.append([(path.name, None)])
            case _:
                pass  # opening and closing leave nothing on a disk

    def state(self, choices: Choices) -> Tree:
        """One of the states that the disk may be in."""
        return self._top.after_power_cut(choices)

    def after_power_cut(self, target: Path, chance: random.Random) -> None:
        """Put one of the states that the disk may be in into the empty directory ``target``."""
        put(target, self.state(Sampled(chance)))

    def unsynced(self) -> tuple[int, int]:
        """How many sectors no sync covered, and how many states there are, at most."""
        sectors, states = 0, 1
        for entry in self._top.entries():
            if isinstance(entry, Folder):
                states *= 2 ** len(entry.changes)
            else:
                sectors += len(entry.sectors)
                states *= len(entry.sizes) * prod(map(len, entry.sectors.values()))
        return sectors, states

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
    names: dict[str, File | Folder], changes: Sequence[list[tuple[str, File | Folder | None]]]
) -> dict[str, File | Folder]:
    names = dict(names)
    for change in changes:
        for name, named in change:
            if named is None:
                names.pop(name, None)
            else:
                names[name] = named
    return names


def _put_last(versions: list[V], newest: V) -> None:
    """Each is there once, and ``newest`` at the end."""
    if versions[-1] != newest:
        if newest in versions:
            versions.remove(newest)
        versions.append(newest)


_numbers = count(1)


def fresh_directory(parent: Path) -> Path:
    """A new, empty directory."""
    path = parent / f"cut-{next(_numbers)}"
    path.mkdir()
    return path
