"""Where crash tests keep their ledgers, and how long they run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.damage import SoundLedger, write_sound

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # only a folder of our own in it is used


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is such a thing: these tests write thousands of ledgers."""
    if not os.access(SHARED_MEMORY, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="nostro-", dir=SHARED_MEMORY))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def sound(ram: Path) -> SoundLedger:
    return write_sound(ram / "ledger")


@pytest.fixture
def is_long() -> bool:
    """Whether everything is to be tried, and not a sample of it: NOSTRO_CRASH=long."""
    return os.environ.get("NOSTRO_CRASH") == "long"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], is_long: bool) -> Callable[[str], None]:
    """Shows how far a long run is, at once; nothing in a short one."""

    def shown(line: str) -> None:
        if is_long:
            with capsys.disabled():
                print(line, flush=True)  # noqa: T201

    return shown
