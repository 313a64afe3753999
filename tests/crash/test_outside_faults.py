"""Faults from outside the process, which nothing of the program stands between.

System calls that strace lets fail, limits of the process, and a disk that is really full. That each
operation of ``journal/storage/files.py`` may fail is in ``test_faults``; here that module is
tried, too.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

import attrs
import pytest

from nostro.journal.errors import WriterPoisoned
from nostro.journal.format.events import Event
from nostro.journal.reading.reader import Reader
from nostro.journal.upkeep.verification import verify
from nostro.projections.checkpoints.audit import audit
from nostro.projections.ledger.ledger import Ledger
from tests.crash.forking import at_once, cores, fork_server
from tests.crash.living import FewFiles, FullDisk, Heard, Life, ShortFiles, lived
from tests.crash.loop_disk import MayNotMount
from tests.crash.script import REQUESTS, Truth, check_prefix, on_one_thread, run
from tests.crash.small_disk import small_disk
from tests.crash.tracing import CHANGING, Case, Fault, MayNotTrace, differing, traced
from tests.figures import Figure

ERRORS: Final = {
    "open": ("EMFILE", "EIO", "ENOSPC"),
    "getdents64": ("EIO",),
    "pread64": ("EIO",),
    "flock": ("ENOLCK",),
    "pwrite64": ("EIO", "ENOSPC"),
    "fallocate": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "sync_file_range": ("EIO",),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "mkdir": ("EIO", "ENOSPC"),
}
"""How a call of each kind fails; renameat2 is one of rename."""
READING: Final = ("open", "getdents64", "pread64")
FAULTS: Final = 3
"""Of each kind are tried, unless all are."""
TROUBLES: Final = 20
"""How many moments and measures of each other kind."""
SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))
ONLY: Final = os.environ.get("NOSTRO_CASE")
"""One case, as a failing test names it."""

_FILE: Final = re.compile(r"^\d+<(.*?)>")


@pytest.fixture
def truth(ram: Path) -> Truth:
    with on_one_thread():
        return Truth.of(ram / "truth" / "ledger")


# --- system calls that fail ---


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_a_system_call_that_fails_makes_no_answer_false(
    ram: Path, truth: Truth, figure: Figure, is_long: bool
) -> None:
    """Once or for ever: what was acknowledged is there, reading goes on, no sync is tried again."""
    path = ram / "ledger"
    watched = (*CHANGING, "getdents64", "pread64", "flock")
    try:
        undisturbed = traced(fork_server(), ram / "log", Life(truth), path, watched=watched)
    except MayNotTrace as error:
        pytest.skip(f"no system call fails here: {error}")
    heard = Heard.of(undisturbed.told)
    assert heard == Heard(truth.position, [], is_done=True, wrong="")
    calls = [(call, rest) for call, rest in undisturbed.calls if str(path) in rest]
    cases = faults(differing(calls), is_long=is_long) if ONLY is None else [Fault.parse(ONLY)]
    in_processes(ram, partial(try_fault, truth), cases, "system_call")
    figure("system calls that fail", "all answers true", seed=SEED, faults=len(cases))


def faults(calls: Sequence[tuple[Case, str]], *, is_long: bool) -> list[Fault]:
    """Each way in which each of the calls may fail, or a sample in which each kind has its part."""
    chance, chosen = random.Random(SEED), []
    for kind, errors in ERRORS.items():
        found = [
            Fault(call.syscall, call.number, error, for_ever=for_ever)
            for call, rest in calls
            if kind_of(call.syscall) == kind
            for error in errors
            if (kind, error) != ("open", "ENOSPC") or "O_CREAT" in rest
            for for_ever in (False, True)
        ]
        assert found, f"no call of {kind} is made"
        chosen += found if is_long else chance.sample(found, min(FAULTS, len(found)))
    return chosen


def kind_of(syscall: str) -> str:
    return syscall.removesuffix("2").removesuffix("at")


def try_fault(truth: Truth, folder: Path, fault: Fault) -> None:
    path = folder / "ledger"
    life = Life(truth, may_read=not (fault.for_ever and kind_of(fault.syscall) in READING))
    watched = (*CHANGING, fault.syscall)
    context = multiprocessing.get_context("fork")
    result = traced(context, folder / "log", life, path, disturbed=fault, watched=watched)
    heard = Heard.of(result.told)
    check(path, truth, heard)
    failed = [rest for _, rest in result.calls if "(INJECTED)" in rest]
    assert failed
    check_syncs(result.calls)
    if any(must_be_heard(call, rest) for call, rest in result.calls):
        assert heard.failures, failed


def must_be_heard(call: Case, rest: str) -> bool:
    """Whether it is a sync that failed, of anything but the manifest, which may lag."""
    return (
        "(INJECTED)" in rest and call.syscall in ("fsync", "fdatasync") and "MANIFEST" not in rest
    )


def check_syncs(calls: Sequence[tuple[Case, str]]) -> None:
    """After a sync of the journal failed it is neither synced nor written to, until reopened."""
    failed = ""
    for call, rest in calls:
        if call.syscall == "openat" and '/LOCK"' in rest:
            failed = ""
        found = _FILE.match(rest)
        if found is None or not found[1].endswith(("/HEAD", ".segment")):
            continue
        if call.syscall in ("pwrite64", "fsync", "fdatasync"):
            assert not failed, f"{call} {found[1]}, after the sync of {failed} failed"
            if "(INJECTED)" in rest and call.syscall != "pwrite64":
                failed = found[1]


# --- limits, and a full disk ---


@attrs.frozen
class Moment:
    """Trouble of that measure begins before that request of the script, or the opening: -1."""

    at: int
    measure: int

    def __str__(self) -> str:
        return f"{self.at}:{self.measure}"


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_too_few_descriptors_make_no_answer_false(
    ram: Path, truth: Truth, figure: Figure, is_long: bool
) -> None:
    """EMFILE, whichever file is the one too many; once more may be open again, all goes on."""
    cases = moments(opening=range(13), request=range(3), is_long=is_long)
    in_processes(ram, partial(try_few_files, truth), cases, "descriptors")
    figure("too few descriptors", "all answers true", seed=SEED, moments=len(cases))


def try_few_files(truth: Truth, folder: Path, moment: Moment) -> None:
    path = folder / "ledger"
    check_ended(
        path, truth, lived(Life(truth, FewFiles(moment.measure), moment.at, may_read=False), path)
    )


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_a_write_cut_short_makes_no_answer_false(
    ram: Path, truth: Truth, figure: Figure, is_long: bool
) -> None:
    """A part of it is on disk, and no more may be; once files may grow again, all goes on."""
    sizes = range(0, 8_192, 100)
    cases = moments(opening=sizes, request=sizes, is_long=is_long)
    in_processes(ram, partial(try_short_files, truth), cases, "cut_short")
    figure("writes cut short", "all answers true", seed=SEED, moments=len(cases))


def try_short_files(truth: Truth, folder: Path, moment: Moment) -> None:
    path = folder / "ledger"
    check_ended(path, truth, lived(Life(truth, ShortFiles(moment.measure), moment.at), path))


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_a_disk_that_fills_up_makes_no_answer_false(
    ram: Path, truth: Truth, figure: Figure, is_long: bool
) -> None:
    """In an append, a rotation or a checkpoint; once there is room again, all goes on."""
    try:
        with small_disk(ram / "tried"):
            pass
    except MayNotMount as error:
        pytest.skip(f"no disk is filled up here: {error}")
    cases = moments(opening=range(17), request=range(9), is_long=is_long)
    in_processes(ram, partial(try_full_disk, truth), cases, "fills_up")
    figure("a disk that fills up", "all answers true", seed=SEED, moments=len(cases))


def try_full_disk(truth: Truth, folder: Path, moment: Moment) -> None:
    disk = folder / "disk"
    with small_disk(disk):
        path = disk / "ledger"
        heard = lived(Life(truth, FullDisk(disk, moment.measure), moment.at), path)
        check_ended(path, truth, heard)
        assert not any(WriterPoisoned.__name__ in failure for failure in heard.failures), heard


def moments(*, opening: range, request: range, is_long: bool) -> list[Moment]:
    """Every moment with every measure, or a sample of them, the opening among it."""
    if ONLY:
        at, measure = map(int, ONLY.split(":"))
        return [Moment(at, measure)]
    at_opening = [Moment(-1, measure) for measure in opening]
    at_requests = [Moment(at, measure) for at in range(REQUESTS + 1) for measure in request]
    if is_long:
        return at_opening + at_requests
    chance = random.Random(SEED)
    return chance.sample(at_opening, TROUBLES // 4) + chance.sample(at_requests, TROUBLES)


# --- what must hold ---


def check(path: Path, truth: Truth, heard: Heard) -> None:
    """All that was heard was true, and on a sound system the rest can be done."""
    assert not heard.wrong, heard.wrong
    if heard.was_refused:
        check_but_for_times(path, truth, heard.acknowledged)
    else:
        check_prefix(path, truth, acknowledged=heard.acknowledged)
    assert not list(path.rglob("*.tmp"))


def check_but_for_times(path: Path, truth: Truth, acknowledged: int) -> None:
    """As :func:`check_prefix`; each event comes after the one before it, whenever that is."""
    position = 0
    if (path / "HEAD").exists():
        with Ledger.open(path, read_only=True) as ledger:
            position = ledger.position
    assert position >= acknowledged
    run(path, truth.ends, lambda _: None)
    assert verify(path).position == truth.position
    events = [event for record in Reader(path).records() for event in record.events()]
    assert list(map(untimed, events)) == list(map(untimed, truth.events))
    assert all(one.timestamp < other.timestamp for one, other in pairwise(events))
    assert audit(path).passed


def untimed(event: Event) -> str:
    return re.sub(r"timestamp=\d+", "", repr(event))


def check_ended(path: Path, truth: Truth, heard: Heard) -> None:
    """Trouble that passes does not keep the program from doing all it wants to do."""
    assert heard.is_done or heard.wrong
    check(path, truth, heard)


C = TypeVar("C")


def in_processes(
    ram: Path, attempt: Callable[[Path, C], None], cases: Sequence[C], name: str
) -> None:
    """Make each attempt, in as many processes as there are cores; a failure names its replay."""
    count = cores()
    at_once(
        count,
        [
            partial(make_attempts, ram / f"process-{number}", attempt, cases[number::count], name)
            for number in range(count)
        ],
    )


def make_attempts(
    folder: Path, attempt: Callable[[Path, C], None], cases: Sequence[C], name: str
) -> None:
    for case in cases:
        folder.mkdir()
        try:
            with on_one_thread():
                attempt(folder, case)
        except Exception:  # noqa: BLE001 - it is told in words: not each kind can be sent on
            raise AssertionError(
                f"{traceback.format_exc()}\nreplay: NOSTRO_CASE={case} python -m pytest"
                f" tests/crash/test_outside_faults.py -k {name}"
            ) from None
        shutil.rmtree(folder)
