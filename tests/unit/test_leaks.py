"""What a test leaves behind is seen, named, and its own failure."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.leaks import Held, left_since
from tests.waiting import until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux lists what a process holds")


def left_soon(before: Held) -> list[str]:
    """What is left behind, where nobody ends it."""
    return left_since(before, patience_seconds=0.0)


def test_nothing_new_is_nothing_left() -> None:
    assert left_soon(Held.now()) == []


def test_a_thread_is_named() -> None:
    before, end = Held.now(), threading.Event()
    thread = threading.Thread(target=end.wait, name="late", daemon=True)
    thread.start()
    try:
        assert left_soon(before) == ["the thread late, which runs Event.wait"]
    finally:
        end.set()
        thread.join()


@linux_only
def test_an_open_file_is_named(tmp_path: Path) -> None:
    before, path = Held.now(), tmp_path / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert left_soon(before) == [f"descriptor {fd}, open on {path}"]
    finally:
        os.close(fd)


@linux_only
def test_another_file_at_a_known_number_is_named(tmp_path: Path) -> None:
    """Though as many are open as before."""
    fd = os.open(tmp_path / "one", os.O_RDWR | os.O_CREAT)
    before = Held.now()
    os.close(fd)
    assert os.open(tmp_path / "two", os.O_RDWR | os.O_CREAT) == fd
    try:
        assert left_soon(before) == [f"descriptor {fd}, open on {tmp_path / 'two'}"]
    finally:
        os.close(fd)


@linux_only
def test_each_mapping_of_a_file_is_named(tmp_path: Path) -> None:
    """Python opens a descriptor for each as well."""
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        before = Held.now()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
            open_on, mapped = left_soon(before)
    assert open_on.endswith(f"open on {path}")
    assert mapped == f"a mapping of {path}"


@linux_only
def test_a_process_is_named() -> None:
    """Until somebody has asked for its exit code."""
    before = Held.now()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        [pipe, named] = left_soon(before)
        assert "open on pipe:" in pipe
        assert named == f"process {process.pid}: {sys.executable} -c input()"
        process.stdin.close()
        ended = f"process {process.pid}: it has ended, and nobody has asked how"
        until(lambda: left_soon(before) == [ended])
    assert left_soon(before) == []


def test_what_ends_by_itself_is_waited_for() -> None:
    before = Held.now()
    thread = threading.Timer(0.05, lambda: None)
    thread.start()
    assert left_since(before) == []


def test_what_only_a_cycle_holds_is_given_back(tmp_path: Path) -> None:
    before = Held.now()
    cycle: list[object] = [(tmp_path / "file").open("wb", buffering=0)]
    cycle.append(cycle)
    del cycle
    with pytest.warns(ResourceWarning):
        assert left_soon(before) == []


def test_the_test_that_leaves_something_fails(tmp_path: Path) -> None:
    """Not the one after it, nor for what a fixture of a wider scope holds; and no failure twice."""
    (tmp_path / "conftest.py").write_text(
        "from tests.leaks import gives_back_what_it_took, pytest_runtest_makereport\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import threading, pytest\n"
        "def begin(name):\n"
        "    threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()\n"
        "@pytest.fixture(scope='module')\n"
        "def wider():\n"
        "    begin('wider')\n"
        "def test_with_it(wider):\n"
        "    pass\n"
        "def test_leaving():\n"
        "    begin('left')\n"
        "def test_failing():\n"
        "    begin('failed')\n"
        "    assert 0\n"
        "def test_after_them():\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "."],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed, 3 passed, 1 error" in done.stdout
    assert "ERROR at teardown of test_leaving" in done.stdout
    assert "  the thread left, which runs Event.wait" in done.stdout
