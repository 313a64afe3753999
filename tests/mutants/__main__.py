"""The proof of the proofs: with each seeded bug in place, the tests named for it must fail.

A bug is put into a copy of the source; the working tree is not touched. Ends with 1 if a bug goes
unnoticed or no longer applies, with 2 if the tests fail without any bug.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import attrs
import click

from tests.mutants.bugs import PACKAGE, ROOT, Bug, bugs
from tests.mutants.source import Definition, definitions

PARTS: Final = ("src", "journal", "projections", "tools", "tests", "docs", "pyproject.toml")
"""What the tests need of the tree."""

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # only a folder of our own in it is used
TEST_SECONDS_MAX: Final = 120
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) ([\w/.:]+)(?:\[.*?\])?(?: - (.*))?$", re.MULTILINE)
SOUND: Final = re.compile(r"^([\w/.:]+)(?:\[.*?\])? (PASSED|SKIPPED)(?: \((.*)\))?", re.MULTILINE)
BROKEN: Final = ("NameError", "SyntaxError", "ImportError", "ModuleNotFoundError")
"""What a change causes that is no bug but nonsense: any test would notice."""


@attrs.frozen
class Outcome:
    bug: Bug
    unnoticed_by: list[str]
    """The tests that passed, or what else was wrong; empty if all is as it should be."""
    seconds: float


@click.command()
@click.option("-k", "pattern", default="", help="Only bugs whose name matches this expression.")
@click.option("-j", "jobs", default=2, show_default=True, help="So many at a time.")
@click.option("--test", help="Run this test instead, and see which bugs it notices.")
def main(pattern: str, jobs: int, test: str | None) -> None:
    """Put each seeded bug into a copy of the source, and see the tests named for it fail."""
    began = time.monotonic()
    chosen = [bug for bug in bugs() if re.search(pattern, bug.name)]
    if test is not None:
        chosen = [attrs.evolve(bug, caught_by=[test]) for bug in chosen]
    if not chosen:
        raise click.UsageError(f"no bug has a name that matches {pattern!r}")
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None  # the tests write a lot
    with tempfile.TemporaryDirectory(prefix="nostro-mutants-", dir=memory) as folder:
        sound = Path(folder) / "sound"
        _copy_tree(sound)
        tests = sorted({test for bug in chosen for test in bug.caught_by})
        click.echo(f"without a bug: {len(tests)} tests")
        done = _pytest(sound, tests, "-x", "-vv")
        if done.returncode:
            click.echo(done.stdout[-4_000:] + done.stderr)
            raise SystemExit(2)
        chosen = list(_that_can_be_tried(chosen, _skipped(done.stdout)))
        package = definitions(sound / PACKAGE)
        outcomes = []
        with ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(_try, bug, package, sound, Path(folder)) for bug in chosen]
            try:
                for future in as_completed(running):
                    outcomes.append(future.result())
                    _tell(outcomes[-1], f"{len(outcomes)} of {len(chosen)}")
            except BaseException:  # Ctrl-C: not all the others first
                pool.shutdown(cancel_futures=True)
                raise
    _print_table(outcomes, chosen, time.monotonic() - began)
    raise SystemExit(any(outcome.unnoticed_by for outcome in outcomes))


def _skipped(output: str) -> dict[str, str]:
    """Each test of which no case was run, and why."""
    found = SOUND.findall(output)
    passed = {test for test, word, _ in found if word == "PASSED"}
    return {test: reason for test, _, reason in found if test not in passed}


def _that_can_be_tried(chosen: list[Bug], skipped: dict[str, str]) -> Iterator[Bug]:
    """Each bug with those of its tests that are not skipped here; what is left out is told."""
    for test, reason in skipped.items():
        click.echo(f"skipped: {test}: {reason}")
    for bug in chosen:
        tests = [test for test in bug.caught_by if test not in skipped]
        if tests:
            yield attrs.evolve(bug, caught_by=tests)
        else:
            click.echo(f"not tried: {bug.name}: all of its tests are skipped")


def _copy_tree(target: Path) -> None:
    target.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part,
                target / part,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        else:
            shutil.copy2(ROOT / part, target / part)


def _try(bug: Bug, package: list[Definition], sound: Path, folder: Path) -> Outcome:
    """Run each test named for the bug, in a copy of its own that has it."""
    began = time.monotonic()
    try:
        path, changed = bug.applied_to(package)
    except ValueError as error:
        return Outcome(bug, [str(error)], 0.0)
    tree = folder / bug.name
    shutil.copytree(
        sound, tree, symlinks=True, ignore=shutil.ignore_patterns("tmp")
    )  # compiled modules too
    try:
        file = tree / path.relative_to(sound)
        file.write_text(changed, encoding="utf-8")
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        return Outcome(bug, list(_unnoticed(tree, bug.caught_by)), time.monotonic() - began)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _unnoticed(tree: Path, tests: list[str]) -> Iterator[str]:
    """Each test that did not fail, or not because of what the program does."""
    done = _pytest(tree, tests, "-x" if len(tests) == 1 else "--maxfail=0")
    if done.returncode not in (0, 1):
        yield f"the tests could not be run:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}"
        return
    failed = {found[1]: str(found[2]) for found in FAILED.finditer(done.stdout)}
    for test in tests:
        if test not in failed:
            yield f"{test} passed"
        elif failed[test].startswith(BROKEN):
            yield f"{test} did not get to run the program: {failed[test]}"


def _pytest(tree: Path, tests: Iterable[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run tests of the tree on its own modules, always with the same random numbers."""
    terms = ["-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    terms += ["-o", f"timeout={TEST_SECONDS_MAX}", f"--basetemp={tree / 'tmp'}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *terms, *options, *tests],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}",
            "CI": "1",
            "NOSTRO_SEED": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _tell(outcome: Outcome, progress: str) -> None:
    word = "UNNOTICED" if outcome.unnoticed_by else "caught"
    click.echo(f"[{progress}] {word}: {outcome.bug.name} ({outcome.seconds:.1f} s)")
    for line in outcome.unnoticed_by:
        click.echo(f"    {line}")


def _print_table(outcomes: list[Outcome], chosen: list[Bug], seconds: float) -> None:
    """Bug, rule, the tests that caught it, seconds; in the table's order."""
    width = max(len(bug.name) for bug in chosen)
    click.echo(f"\n{'bug':{width}}  rule  seconds  caught by")
    for outcome in sorted(outcomes, key=lambda one: chosen.index(one.bug)):
        bug = outcome.bug
        caught_by = bug.caught_by if not outcome.unnoticed_by else ["NOTHING THAT SHOULD"]
        for number, test in enumerate(caught_by):
            name = test.removeprefix("tests/")
            start = f"{bug.name:{width}}  {bug.rule:4}  {outcome.seconds:7.1f}"
            click.echo(f"{' ' * len(start) if number else start}  {name}")
    caught = sum(not outcome.unnoticed_by for outcome in outcomes)
    click.echo(f"\n{caught} of {len(chosen)} bugs caught in {seconds:.0f} s")


if __name__ == "__main__":
    main()
