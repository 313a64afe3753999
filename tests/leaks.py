"""Every test gives back what it took: threads, open files, mapped files and processes.

What a test leaves behind does its work while another test runs, which then fails, now and then and
somewhere else. So the test that leaves something fails itself, and is told what.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.descriptors import descriptors

PATIENCE_SECONDS: Final = 10.0
"""So long a test may take to end what ends by itself, once it was told to."""
_PAUSE_SECONDS: Final = 0.01
_IS_LINUX: Final = sys.platform == "linux"
_SHARED_MAPPING: Final = re.compile(r"^\S+ ..[-x]s \S+ \S+ \S+ +(/.*)$", re.MULTILINE)
"""A line of /proc/self/maps. Files of data are mapped like this, and programs are not."""
_SYSTEM_FOLDERS: Final = ("/usr/", "/lib/", "/lib64/")
"""Files that the C library maps once and keeps, such as its table of encodings."""
_has_failed: Final = pytest.StashKey[bool]()


@attrs.frozen
class Held:
    """What this process holds. Outside Linux only its threads can be told."""

    threads: frozenset[threading.Thread]
    files: frozenset[tuple[int, str]]
    """The number of each descriptor, and what it leads to."""
    mappings: Counter[str]
    """How often each file is mapped."""
    children: frozenset[int]

    @classmethod
    def now(cls) -> Held:
        return cls(
            frozenset(filter(_must_end, threading.enumerate())),
            frozenset(_files()),
            Counter(_mappings()),
            frozenset(_children()),
        )

    def since(self, before: Held) -> list[str]:
        """What was not held before, each in words."""
        threads = self.threads - before.threads
        return [
            *(f"the thread {thread.name}, which runs {_task(thread)}" for thread in threads),
            *(f"descriptor {n}, open on {name}" for n, name in sorted(self.files - before.files)),
            *(f"a mapping of {path}" for path in sorted(self.mappings - before.mappings)),
            *(f"process {id_}: {_command(id_)}" for id_ in sorted(self.children - before.children)),
        ]


@pytest.fixture(autouse=True)
def gives_back_what_it_took(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that ends with something that it did not find at its start.

    Fixtures of a wider scope come before this one, and so does what they hold.
    """
    before = Held.now()
    yield
    if request.node.stash.get(_has_failed, False):
        return  # its traceback holds what it had, and one failure is enough
    if left := left_since(before):
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_has_failed] = True
    return report


def left_since(before: Held, *, patience_seconds: float = PATIENCE_SECONDS) -> list[str]:
    """What is held that was not before, once what ends by itself has had time to, in words."""
    left = Held.now().since(before)
    if not left:
        return left
    gc.collect()  # what only a cycle of references holds is given back
    pause, deadline = threading.Event(), time.monotonic() + patience_seconds
    while (left := Held.now().since(before)) and time.monotonic() < deadline:
        pause.wait(_PAUSE_SECONDS)
    return left


# --- what is held ---


def _must_end(thread: threading.Thread) -> bool:
    """Whether it is Python's. One of a library that called Python once is listed for ever."""
    # private: Python has no public name for it
    return not isinstance(thread, threading._DummyThread)


def _files() -> Iterable[tuple[int, str]]:
    if not _IS_LINUX:
        return
    kept = _kept_descriptors()
    for number, name in descriptors().items():
        if number not in kept:
            yield number, name


def _mappings() -> Iterable[str]:
    if not _IS_LINUX:
        return
    for path in _SHARED_MAPPING.findall(Path("/proc/self/maps").read_text()):
        if not path.startswith(_SYSTEM_FOLDERS):
            yield path


def _children() -> Iterable[int]:
    if not _IS_LINUX:
        return
    kept = _kept_processes()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            for id_ in map(int, (task / "children").read_text().split()):
                if id_ not in kept:
                    yield id_


# multiprocessing starts two processes when they are first needed, and keeps them and a pipe to
# each for as long as this one lives: one that others are forked from, and one that cleans up.


def _kept_descriptors() -> set[int | None]:
    return {
        # private: multiprocessing does not say it otherwise
        getattr(forkserver._forkserver, "_forkserver_alive_fd", None),
        # private: multiprocessing does not say it otherwise
        getattr(resource_tracker._resource_tracker, "_fd", None),
    }


def _kept_processes() -> set[int | None]:
    return {
        # private: multiprocessing does not say it otherwise
        getattr(forkserver._forkserver, "_forkserver_pid", None),
        # private: multiprocessing does not say it otherwise
        getattr(resource_tracker._resource_tracker, "_pid", None),
    }


# --- in words ---


def _task(thread: threading.Thread) -> str:
    """The function, or the class of thread whose method it is."""
    target = getattr(thread, "_target", None)
    name: str = getattr(target or type(thread), "__qualname__", repr(target))
    return name


def _command(id_: int) -> str:
    try:
        words = Path(f"/proc/{id_}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        words = []
    return " ".join(filter(None, words))[:200] or "it has ended, and nobody has asked how"
