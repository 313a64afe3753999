"""Hostile bytes for every decoder: `make fuzz`.

Each decoder runs in a process of its own, whose peak of memory is measured. An input that makes it
raise what it may not is written to a file, with the command that replays it. Where the package
atheris is installed, its coverage guides more inputs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import attrs
import click

from tests.fuzz import running
from tests.fuzz.decoder import check
from tests.fuzz.registry import NAMES, decoders
from tests.fuzz.running import MIB, PEAK_BYTES_MAX, Result

_FAILURES: Final = Path(tempfile.gettempdir()) / "nostro-fuzz-failures"


@click.command()
@click.option("--decoder", "names", multiple=True, type=click.Choice(NAMES), help="Only this one.")
@click.option("--inputs", default=100_000, show_default=True, help="For each decoder.")
@click.option("--seed", default=1, show_default=True, help="Everything follows from it.")
@click.option("--guided", default=20_000, show_default=True, help="Inputs guided by coverage.")
@click.option("-j", "jobs", default=2, show_default=True, help="So many processes at a time.")
@click.option("--failures", "folder", default=_FAILURES, type=click.Path(path_type=Path))
@click.option("--replay", type=click.Path(exists=True, path_type=Path), help="Give it this file.")
@click.option("--child", is_flag=True, hidden=True)
def main(
    *,
    names: tuple[str, ...],
    inputs: int,
    seed: int,
    guided: int,
    jobs: int,
    folder: Path,
    replay: Path | None,
    child: bool,
) -> None:
    """Give every decoder mutated inputs; see that it refuses with its own errors, in 256 MiB."""
    names = names or NAMES
    if replay is not None:
        accepted = check(decoders()[names[0]], replay.read_bytes())
        click.echo("accepted" if accepted else "refused")
        return
    if child:
        running.limit_room()
        for name in names:
            result = running.run(decoders()[name], inputs=inputs, seed=seed, folder=folder)
            click.echo(json.dumps(attrs.asdict(result)))
        return
    passed = _run_all(names, inputs, seed, jobs, folder)
    if guided and inputs:
        passed &= _guide_all(names, guided, seed, jobs, folder)
    raise SystemExit(not passed)


def _run_all(names: tuple[str, ...], inputs: int, seed: int, jobs: int, folder: Path) -> bool:
    began = time.monotonic()
    options = ["--inputs", str(inputs), "--seed", str(seed), "--failures", str(folder), "--child"]
    groups = [[name] for name in names] if inputs else [list(names)]
    click.echo(f"{'decoder':24}   inputs  accepted  seconds  peak MiB")
    with ThreadPoolExecutor(jobs) as pool:
        results = [
            result for found in pool.map(lambda group: _child(group, options), groups)
            for result in found
        ]  # fmt: skip
    failed = [result.name for result in results if not result.passed]
    click.echo(
        f"\nseed {seed}: {len(results)} decoders, {sum(one.inputs for one in results):,} inputs,"
        f" {time.monotonic() - began:.0f} s, at most"
        f" {max(one.peak_bytes for one in results) / MIB:.0f} MiB"
        f" (below {PEAK_BYTES_MAX // MIB}); failed: {', '.join(failed) or 'none'}"
    )
    return not failed


def _child(names: list[str], options: list[str]) -> list[Result]:
    chosen = [part for name in names for part in ("--decoder", name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *chosen, *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    results = [Result(**json.loads(line)) for line in done.stdout.splitlines()]
    for result in results:
        click.echo(
            f"{result.name:24} {result.inputs:8,} {result.accepted:9,} {result.seconds:8.1f}"
            f" {result.peak_bytes / MIB:9.0f}"
        )
        for failure in result.failures:
            click.echo(f"  {failure}")
    if len(results) < len(names):
        reason = f"the process ended with {done.returncode}: {done.stderr[-2_000:]}"
        click.echo(f"{names[len(results)]}: {reason}")
        results.append(Result(names[len(results)], 0, 0, [reason], 0.0, 0))
    return results


def _guide_all(names: tuple[str, ...], runs: int, seed: int, jobs: int, folder: Path) -> bool:
    if importlib.util.find_spec("atheris") is None:
        click.echo("\nNOT RUN: inputs guided by coverage; atheris is not installed (group `fuzz`)")
        return True
    click.echo(f"\n{runs:,} inputs for each, guided by coverage:")
    with ThreadPoolExecutor(jobs) as pool:
        return all(list(pool.map(lambda name: _guide(name, runs, seed, folder), names)))


def _guide(name: str, runs: int, seed: int, folder: Path) -> bool:
    arguments = [name, str(runs), str(seed), str(folder)]
    with tempfile.TemporaryDirectory() as temporary:  # libFuzzer ends the process as it is
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.coverage_guided", *arguments],
            env={**os.environ, "TMPDIR": temporary},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "DONE" in line]
    click.echo(f"{name:24} {said[-1] if said else ''}")
    if done.returncode:
        click.echo(done.stdout[-2_000:] + done.stderr[-2_000:])
    return not done.returncode


if __name__ == "__main__":
    main()
