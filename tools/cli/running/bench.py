"""``nostro bench``: measure this machine, print a table, write the results to a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import click

from nostro.tools.bench.machine import describe_machine, sync_seconds
from nostro.tools.bench.measure import FULL, QUICK, Figure, Scale
from nostro.tools.bench.report import BadResults, gain, read_results, write_results
from nostro.tools.bench.workloads import FIGURES, run_all
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.progress import show_progress

Workloads = Callable[[Path, Scale], Iterator[Figure]]
"""Yields figures measured in a folder, with that much work."""


@click.command(
    cls=DocumentedCommand,
    short_help="Measure this machine.",
    examples=(
        "nostro bench",
        "nostro bench --out new.json --compare old.json",
        "nostro bench --transfers 1000000 --in /mnt/disk",
        "nostro bench --quick --json",
    ),
)
@click.option("--quick", is_flag=True, help="Do a tenth of the work, as a test.")
@click.option(
    "--transfers",
    type=click.IntRange(1_000, 100_000_000),
    metavar="N",
    help="Read a ledger of N transfers instead of ten million.",
)
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Measure the disk that holds DIR instead of the disk of temporary files.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write machine and figures to FILE as JSON.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Show how many times better each figure is than in FILE.",
)
@parameters.as_json
@parameters.quiet
def bench(
    *,
    quick: bool,
    transfers: int | None,
    folder: Path | None,
    out: Path | None,
    compare: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure throughput, latency, restart and size on this machine, with every write synced.

    Each writing workload runs three times on a fresh ledger, and the table shows the median. You
    can compare two runs only if they ran on the same machine, and then only their ratio.
    """
    scale = scale_of(quick=quick, transfers=transfers)
    measure(run_all, scale, folder, out=out, compare=compare, as_json=as_json, quiet=quiet)


def scale_of(*, quick: bool, transfers: int | None) -> Scale:
    """Return the amount of work that the options ask for."""
    scale = QUICK if quick else FULL
    return scale if transfers is None else attrs.evolve(scale, history=transfers)


def measure(
    workloads: Workloads,
    scale: Scale,
    folder: Path | None = None,
    *,
    out: Path | None = None,
    compare: Path | None = None,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Run the workloads in a new folder inside ``folder``, and print their figures.

    Raises:
        CommandFailed: ``compare`` holds no results.
    """
    try:
        old = read_results(compare) if compare is not None else {}
    except BadResults as error:
        raise CommandFailed(str(error), code=WRONG_USE) from None
    figures = []
    with (
        tempfile.TemporaryDirectory(prefix="nostro-bench-", dir=folder) as temporary,
        show_progress("bench", "figures", quiet=quiet) as progress,
    ):
        path = Path(temporary)
        machine = describe_machine(path)
        machine["fdatasync, 208 bytes"] = f"{1e6 * sync_seconds(path):.0f} µs (median)"
        for figure in workloads(path, scale):
            figures.append(figure)
            progress.update(len(figures), max(FIGURES, len(figures)), len(figures))
    if out is not None:
        write_results(out, machine, figures)
    if as_json:
        screen.json_line(
            {"machine": machine, "figures": {figure.name: figure.value for figure in figures}}
        )
        return
    screen.facts(machine.items())
    screen.line()
    _show(figures, old)


def _show(figures: list[Figure], old: dict[str, Figure]) -> None:
    columns = [screen.Column("what"), screen.Column("value", right=True), screen.Column("unit")]
    if old:
        columns.append(screen.Column("gain", right=True))
    columns.append(screen.Column("workload", style="dim"))
    rows = []
    for figure in figures:
        cells = [figure.name, _number(figure.value), figure.unit]
        if old:
            before = old.get(figure.name)
            cells.append("" if before is None else f"{gain(figure, before):.2f} x")
        rows.append([*cells, figure.workload])
    screen.table(columns, rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
