"""How one of the states is chosen that a disk may be in: by chance, or each in turn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Choices(Protocol):
    """Asked once about each file's size, then sector by sector, and about each folder."""

    def size(self, sizes: Sequence[int]) -> int: ...

    def sector(self, versions: Sequence[bytes]) -> bytes: ...

    def changes(self, changes: Sequence[T]) -> Sequence[T]:
        """Which changes of a folder's names have reached the disk."""
        ...


class Sampled:
    """By chance, and more often than chance would all new, all old, or all up to a point."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._likely = 0.0

    def size(self, sizes: Sequence[int]) -> int:
        self._likely = self._chance.choice((0.0, 0.5, 0.9, 1.0))
        return self._one_of(sizes)

    def sector(self, versions: Sequence[bytes]) -> bytes:
        return self._one_of(versions)

    def changes(self, changes: Sequence[T]) -> Sequence[T]:
        kind = self._chance.randrange(3)
        if kind == 0:
            return changes
        if kind == 1:
            return changes[: self._chance.randint(0, len(changes))]
        return [change for change in changes if self._chance.random() < 0.5]

    def _one_of(self, versions: Sequence[T]) -> T:
        """The newest, as likely as that; else the oldest or any one."""
        if self._chance.random() < self._likely:
            return versions[-1]
        return self._chance.choice((versions[0], self._chance.choice(versions)))


class Every:
    """Each combination once: ask for everything, then :meth:`step` to the next."""

    def __init__(self) -> None:
        self._digits: list[int] = []
        self._bases: list[int] = []
        self._at = 0

    def step(self) -> bool:
        """Go on to the next combination; False after the last."""
        del self._digits[self._at :], self._bases[self._at :]
        self._at = 0
        while self._digits:
            self._digits[-1] += 1
            if self._digits[-1] < self._bases[-1]:
                return True
            self._digits.pop()
            self._bases.pop()
        return False

    def size(self, sizes: Sequence[int]) -> int:
        return sizes[self._pick(len(sizes))]

    def sector(self, versions: Sequence[bytes]) -> bytes:
        return versions[self._pick(len(versions))]

    def changes(self, changes: Sequence[T]) -> Sequence[T]:
        return [change for change in changes if self._pick(2)]

    def _pick(self, count: int) -> int:
        if self._at == len(self._digits):
            self._digits.append(0)
            self._bases.append(count)
        self._at += 1
        return self._digits[self._at - 1]
