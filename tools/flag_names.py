"""The names of flags, as files, answers and tables show them."""

from __future__ import annotations

import functools
from enum import IntFlag


@functools.lru_cache(4_096)
def flag_names(kind: type[IntFlag], flags: int) -> tuple[str, ...]:
    """The names of the flags set in ``flags``, in lower case; -1 sets all of them."""
    return tuple(flag.name.lower() for flag in kind if flag & flags and flag.name)
