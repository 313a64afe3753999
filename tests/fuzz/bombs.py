"""Inputs that are small and ask for much: memory, depth or time.

Each is made when it is tried, so that only one of them is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import cbor2
import zstandard

Bomb = Callable[[], bytes]

MIB: Final = 1024 * 1024


def around(wrap: Callable[[bytes], bytes], bombs: tuple[Bomb, ...]) -> tuple[Bomb, ...]:
    """The same bombs in an envelope."""
    return tuple(partial(_wrapped, wrap, bomb) for bomb in bombs)


def _wrapped(wrap: Callable[[bytes], bytes], bomb: Bomb) -> bytes:
    return wrap(bomb())


def array(item: bytes, size_bytes: int = 16 * MIB - 16) -> bytes:
    """CBOR: an array of so many bytes."""
    count = size_bytes // len(item)
    return b"\x9a" + count.to_bytes(4, "big") + item * count


def zeros(size: int) -> bytes:
    """So many zero bytes in one zstd frame that says so."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    chunk = bytes(min(size, MIB))
    parts = [compressor.compress(chunk) for _ in range(size // len(chunk))]
    return b"".join([*parts, compressor.flush()])


CBOR_SHALLOW: Final[tuple[Bomb, ...]] = (
    lambda: b"\x5b" + (2**40).to_bytes(8, "big"),
    lambda: b"\x7b" + (2**62).to_bytes(8, "big"),
    lambda: b"\x9b" + (2**40).to_bytes(8, "big"),
    lambda: b"\xbb" + (2**40).to_bytes(8, "big"),
    lambda: b"\x9a\x7f\xff\xff\xff" + bytes(1024),
    lambda: b"\x81" * MIB,
    lambda: b"\xa1\x00" * MIB,
    lambda: b"\x9f" * MIB,
    lambda: b"\xbf\x61a" * (MIB // 3),
    lambda: b"\xd8\x1c" * (MIB // 2),
    lambda: b"\xc2\x5a\x00\x10\x00\x00" + b"\xff" * MIB,
)
"""Lengths that are only declared, endless nesting, a huge tagged number."""

CBOR: Final[tuple[Bomb, ...]] = (
    *CBOR_SHALLOW,
    lambda: array(b"\x80"),
    lambda: array(b"\xa0"),
    lambda: array(b"\x42ab"),
    lambda: array(b"\x62ab"),
    lambda: array(b"\x19\x7f\xff"),
    lambda: array(b"\x80", 900 * 1024),
    lambda: b"\xa4\x61e" + array(b"\x80", 15 * MIB) + b"\x61k\x03\x61n\x01\x61v\x01",
    lambda: b"\xa4\x61b" + array(b"\x40", 15 * MIB) + b"\x61k\x02\x61n\x01\x61v\x01",
)
"""And what is made of many small things, of which each takes many times its size in memory."""

CBOR_FEW: Final[tuple[Bomb, ...]] = (
    lambda: b"\x81" * MIB,
    lambda: array(b"\x80"),
    lambda: array(b"\x62ab"),
)
"""The worst of them, for what reads CBOR in the same way."""

CBOR_SEEDS: Final = tuple(
    cbor2.dumps(value, canonical=True)
    for value in (
        None, True, 0, 23, 24, -1, 2**64 - 1, b"", b"ab", "", "\u00e9\u4e2d", [], [1, [2, [3]]],
        {"a": 1, "bb": {"c": [None, False]}, "": b"\0" * 30}, {1: 2, -1: 3, b"k": 4},
    )
)  # fmt: skip

CBOR_WORDS: Final = (
    b"\x9f", b"\xbf", b"\x5f", b"\x7f", b"\xff", b"\xf9\x7e\x00", b"\xfb" + bytes(8), b"\xf7",
    b"\xe0", b"\xf8\xff", b"\xc0", b"\xc2\x41\x01", b"\xd9\xd9\xf7", b"\xd8\x1c", b"\xd8\x1d\x00",
    b"\x1b" + b"\xff" * 8, b"\x3b" + b"\xff" * 8, b"\x5b" + b"\xff" * 8, b"\x9b\x7f" + b"\xff" * 7,
    b"\x18\x00", b"\x61\xff", b"\x81" * 9, b"\xa1\x00" * 9, b"\xa2\x00\x00\x00\x00",
    b"\xa1\x80\x00",
)  # fmt: skip

ZSTD: Final[tuple[Bomb, ...]] = (
    lambda: zeros(64 * MIB),
    lambda: zeros(1024 * MIB),
    lambda: zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16 * MIB)),
    lambda: zstandard.ZstdCompressor().compress(bytes(100)) * 10_000,
    lambda: b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + bytes(100),
    lambda: b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little") + bytes(100),
    lambda: b"\x28\xb5\x2f\xfd\x80\xff" + (100).to_bytes(4, "little") + bytes(100),
)
"""Sizes far above what is there, no size, several frames, the widest window."""
