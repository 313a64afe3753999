"""The TigerBeetle server program: where it is, which version it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from nostro.tools.cluster.errors import BinaryMissing, BinaryUnfit

VARIABLE: Final = "TIGERBEETLE_BINARY"
_NAME: Final = "tigerbeetle"
_BEFORE_VERSION: Final = "TigerBeetle version "
_SECONDS: Final = 30.0


def find_binary() -> Path:
    """Return the program that TIGERBEETLE_BINARY names, or else the one on the PATH.

    Raises:
        BinaryMissing: there is none.
    """
    if named := os.environ.get(VARIABLE):
        if found := shutil.which(named):
            return Path(found).absolute()
        raise BinaryMissing(f"{VARIABLE} names {named}, which is no program")
    if found := shutil.which(_NAME):
        return Path(found).absolute()
    raise BinaryMissing(f"{VARIABLE} is not set, and no {_NAME} is on the PATH")


def binary_version(binary: Path) -> str:
    """Return what the program says of itself, as in ``0.17.9+1259171``.

    Raises:
        BinaryUnfit: it does not run, or is another program.
    """
    try:
        done = subprocess.run(
            [binary, "version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinaryUnfit(binary, str(error)) from None
    first = done.stdout.decode(errors="replace").partition("\n")[0].strip()
    version = first.removeprefix(_BEFORE_VERSION)
    if done.returncode or version == first or not version:
        raise BinaryUnfit(binary, f"`version` answers {first[:100]!r}, exit code {done.returncode}")
    return version
