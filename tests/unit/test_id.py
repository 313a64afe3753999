"""Ids: ordered by time, and never one twice."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import pytest
import time_machine

from nostro import AMOUNT_MAX, id

# private: a process has one generator, which never goes back in time
from nostro.journal.id import _generator

FORKING: Final = """
import os, sys, time
from nostro import id

frozen = time.time_ns()
time.time_ns = lambda: frozen
made = [id()]
for _ in range(3):
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.write(write_end, b"".join(id().to_bytes(16, "big") for _ in range(100)))
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    made += [int.from_bytes(data[at : at + 16], "big") for at in range(0, len(data), 16)]
    os.wait()
made += [id() for _ in range(100)]
print(*made)
"""


@pytest.fixture(autouse=True)
def _forget_other_times() -> Iterator[None]:
    """What one test did with the clock is nothing to the next."""
    _generator.start_afresh()
    yield
    _generator.start_afresh()


def test_ids_increase_strictly() -> None:
    """Each id is greater than the one before, however fast they are made."""
    ids = [id() for _ in range(20_000)]
    assert all(before < after for before, after in pairwise(ids))
    assert 0 < ids[0] < ids[-1] < AMOUNT_MAX


def test_ids_begin_with_the_time() -> None:
    """The first 48 bits are milliseconds since the epoch, so ids sort by time of creation."""
    earliest = time.time_ns() // 1_000_000
    made = id() >> 80
    assert earliest <= made <= time.time_ns() // 1_000_000


def test_ids_differ_in_more_than_time() -> None:
    """80 random bits keep apart what different processes make in the same millisecond."""
    with time_machine.travel(id() / 2**80 / 1000 + 3600, tick=False) as clock:
        randoms = set()
        for _ in range(50):
            clock.shift(0.001)
            randoms.add(id() & (2**80 - 1))
    assert len(randoms) == 50
    assert max(randoms) - min(randoms) > 2**70


@pytest.mark.parametrize("years", [-10, 10])
def test_ids_increase_when_the_clock_jumps(years: int) -> None:
    """A clock set back or ahead never makes an id smaller than an earlier one."""
    before = id()
    with time_machine.travel(time.time() + years * 31_557_600, tick=False):
        during = [id() for _ in range(100)]
    after = id()
    assert [before, *during, after] == sorted({before, *during, after})


def test_threads_share_one_order() -> None:
    """Ids made by several threads at once are all different, and increase in each of them."""
    made: list[list[int]] = [[] for _ in range(8)]
    start = threading.Barrier(len(made))

    def make(own: list[int]) -> None:
        start.wait()
        own.extend(id() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in made)
    assert len({one for own in made for one in own}) == 16_000


def test_a_forked_child_does_not_repeat_its_parent() -> None:
    """Parent and children go on from different random bits, even in the same millisecond."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert len(set(made)) == len(made) == 401
