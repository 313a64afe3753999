"""SIGKILL at every system call that changes a file, of writing, merging, closing and opening."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

import attrs
import pytest

from nostro.journal.format.events import Event
from nostro.journal.reading.reader import Reader
from nostro.journal.upkeep.verification import verify
from nostro.projections.ledger.ledger import Ledger
from tests.crash.forking import fork_server
from tests.crash.script import (
    Truth,
    check_position,
    check_prefix,
    check_whole,
    on_one_thread,
    open_ledger,
    recover_only,
    run,
    run_and_tell,
)
from tests.crash.tracing import Case, MayNotTrace, Traced, Work, differing, traced
from tests.figures import Figure
from tests.journals import segment_names

CASES: Final = 60
CASES_TORN: Final = 100
CASES_KILLED: Final = 12
"""How many are tried, of writing, and of recovering from each state, unless all are."""
SEED: Final = int(os.environ.get("NOSTRO_SEED", "1"))
ONLY: Final = os.environ.get("NOSTRO_CASE")
"""One case, as a failing test names it."""

LEFT_BY_KILLS: Final = ("mkdir:3", "rename:2", "fdatasync:9", "rename:31", "unlink:12")
"""In making the ledger (twice), in writing a group, a run, and in removing what was merged."""
STALE, TORN = 12, 14
"""Requests: HEAD as after the first of them, and the other one torn."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with on_one_thread():
        yield


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return fork_server()


@attrs.frozen
class Tracer:
    """Does things in processes that strace watches, or skips the test where it cannot."""

    processes: ForkServerContext
    log: Path

    def __call__(self, work: Work, path: Path, kill_at: Case | None = None) -> Traced:
        try:
            return traced(self.processes, self.log, work, path, disturbed=kill_at)
        except MayNotTrace as error:
            pytest.skip(f"no system call is killed here: {error}")


@pytest.fixture
def trace(processes: ForkServerContext, ram: Path) -> Tracer:
    return Tracer(processes, ram / "strace.log")


@pytest.fixture
def truth(ram: Path) -> Truth:
    return Truth.of(ram / "truth" / "ledger")


def chosen(calls: list[tuple[Case, str]], count: int, *, is_long: bool) -> Sequence[Case]:
    """Each call and one more of each kind, which is never made; or so many of those that change."""
    if ONLY:
        return [Case.parse(ONLY)]
    if is_long:
        last = {case.syscall: Case(case.syscall, case.number + 1) for case, _ in calls}
        return [*(case for case, _ in calls), *last.values()]
    changing = [call for call in calls if _changes(*call)]
    cases = [case for case, _ in differing(changing)]
    return random.Random(SEED).sample(cases, min(count, len(cases)))


def _changes(case: Case, arguments: str) -> bool:
    """Whether being killed before it is another thing than being killed before the next call."""
    return case.syscall != "sync_file_range" and (
        case.syscall != "openat" or "O_CREAT" in arguments
    )


def try_all(
    cases: Sequence[Case],
    calls: list[tuple[Case, str]],
    name: str,
    attempt: Callable[[Case], Traced],
) -> None:
    """Each case kills, but for the calls that are never made; a failure names its replay."""
    made = {case for case, _ in calls}
    for case in cases:
        try:
            assert attempt(case).was_killed == (case in made)
        except BaseException as error:
            error.add_note(
                f"replay: NOSTRO_CASE={case} python -m pytest 'tests/crash/{Path(__file__).name}'"
                f" -k '{name}'"
            )
            raise


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_a_writer_killed_at_any_call_loses_and_invents_nothing(
    ram: Path, trace: Tracer, truth: Truth, figure: Figure, is_long: bool
) -> None:
    """What it left is a prefix with all it acknowledged, and goes on to the same end."""
    path = ram / "ledger"
    calls = trace(run_and_tell, path).calls
    check_whole(path, truth)
    assert {case.syscall for case, _ in calls} >= {"openat", "pwrite64", "fsync", "fdatasync"}

    def attempt(case: Case) -> Traced:
        shutil.rmtree(path, ignore_errors=True)
        result = trace(run_and_tell, path, case)
        assert len(result.told) % 8 == 0
        check_prefix(path, truth, acknowledged=int.from_bytes(result.told[-8:]))
        return result

    cases = chosen(calls, CASES, is_long=is_long)
    try_all(cases, calls, "a_writer_killed", attempt)
    figure("SIGKILL of a writer", "nothing lost or invented", seed=SEED, system_calls=len(cases))


@attrs.frozen
class Recovered:
    """What a ledger holds once it has been opened and closed."""

    state: bytes
    frame_sha256: bytes
    events: list[Event]
    quarantined: dict[str, bytes]

    @classmethod
    def at(cls, path: Path) -> Recovered:
        report = verify(path)
        with Ledger.open(path, read_only=True) as ledger:
            assert ledger.position == report.position
            state = ledger.state_sha256()
        events = [event for record in Reader(path).records() for event in record.events()]
        quarantine = path / "quarantine"
        return cls(
            state, report.frame_sha256, events,
            {file.name: file.read_bytes() for file in quarantine.iterdir()},
        )  # fmt: skip


def leave_torn(path: Path, truth: Truth) -> None:
    """Make a ledger that ends in a torn frame, has an old HEAD, and lacks what is derived."""
    running = path.with_name("running")
    heads: list[bytes] = []

    def note(ledger: Ledger) -> None:
        heads.append((running / "HEAD").read_bytes())
        if len(heads) == TORN + 1:
            shutil.copytree(running, path)

    run(running, (), lambda _: None, after=note)
    (path / "HEAD").write_bytes(heads[STALE])
    segment = path / "segments" / segment_names(path)[-1]
    written = segment.read_bytes().rstrip(b"\0")
    segment.write_bytes(written[:-100])
    (path / "MANIFEST").unlink()
    max((path / "indexes").glob("*.ids")).unlink()
    for folder in (path, *(one for one in path.iterdir() if one.is_dir())):
        (folder / "left.tmp").write_bytes(b"left")
    shutil.rmtree(running)


def torn_in(before: Path, recovered: Path) -> bytes:
    """What the last segment held behind its last whole frame."""
    name = segment_names(recovered)[-1]
    whole, found = ((path / "segments" / name).read_bytes() for path in (recovered, before))
    assert found.startswith(whole)
    return found[len(whole) :]


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("left", ["torn", *LEFT_BY_KILLS])
def test_a_recovery_killed_at_any_call_ends_where_an_undisturbed_one_does(
    ram: Path, trace: Tracer, truth: Truth, figure: Figure, is_long: bool, left: str
) -> None:
    """Opening again finds the same events, state and torn bytes, and can go on."""
    path, before, acknowledged = ram / "ledger", ram / "before", truth.ends[STALE]
    if left == "torn":
        leave_torn(before, truth)
    else:
        result = trace(run_and_tell, before, Case.parse(left))
        assert result.was_killed
        acknowledged = int.from_bytes(result.told[-8:])
    shutil.copytree(before, path)
    calls = trace(recover_only, path).calls
    wanted = Recovered.at(path)
    assert wanted.events == truth.events[: len(wanted.events)]
    assert list(wanted.quarantined.values()) == ([torn_in(before, path)] if left == "torn" else [])

    def attempt(case: Case) -> Traced:
        shutil.rmtree(path)
        shutil.copytree(before, path)
        result = trace(recover_only, path, case)
        with open_ledger(path) as ledger:
            check_position(ledger, truth, acknowledged)
        assert Recovered.at(path) == wanted
        run(path, truth.ends, lambda _: None)
        check_whole(path, truth)
        return result

    count = CASES_TORN if left == "torn" else CASES_KILLED
    cases = chosen(calls, count, is_long=is_long)
    try_all(cases, calls, f"a_recovery_killed and {left}", attempt)
    figure(
        "SIGKILL in recovery", "one end state for each", seed=SEED, states=1,
        system_calls=len(cases),
    )  # fmt: skip
