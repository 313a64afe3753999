"""What a decoder is to the fuzzer: what it is given, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

INPUT_BYTES_MAX: Final = 64 * 1024
"""No mutated input is larger. Bombs are, and are tried one by one."""


@attrs.frozen
class Form:
    """How bytes are taken apart into lists, maps and scalars, and put together again."""

    open: Callable[[bytes], Any]
    close: Callable[[Any], bytes]
    """Of what :attr:`open` gave, or of anything else: then it may raise whatever it likes."""


@attrs.frozen
class Decoder:
    """One of the program's decoders."""

    name: str
    decode: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    """Valid inputs, made by the program's own writers."""
    errors: tuple[type[Exception], ...]
    """What it may raise, and nothing else."""
    agrees: Callable[[Any, bytes], bool] | None = None
    """Whether what it returned would be written as that input: there is one encoding."""
    repairs: tuple[Callable[[bytes], bytes], ...] = ()
    """Each puts checksums right, as whoever forges a file would."""
    forms: tuple[Form, ...] = ()
    words: tuple[bytes, ...] = ()
    """What its inputs are made of."""
    bombs: tuple[Callable[[], bytes], ...] = ()
    """Make inputs that ask for much memory or much time."""


def check(decoder: Decoder, data: bytes) -> bool:
    """Give ``data`` to the decoder; return whether it was accepted.

    Raises:
        AssertionError: it was accepted, but is not what would be written.
        BaseException: anything that the decoder may not raise.
    """
    try:
        value = decoder.decode(data)
    except decoder.errors:
        return False
    if decoder.agrees is not None and not decoder.agrees(value, data):
        raise AssertionError(f"{decoder.name} accepts what is not written like this: {value!r}")
    return True
