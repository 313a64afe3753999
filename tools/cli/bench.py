"""``nostro bench``: measure, print a table with the machine, keep the results."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import attrs
import click

from tools.bench.machine import describe_machine, sync_seconds
from tools.bench.report import BadResults, gain, read_results, write_results
from tools.bench.workloads import FULL, QUICK, Figure, Scale, run_all
from tools.cli import parameters, screen
from tools.cli.documented import DocumentedCommand
from tools.cli.failures import WRONG_USE, CommandFailed
from tools.cli.meter import meter

_FIGURES: Final = 19


@click.command(
    cls=DocumentedCommand,
    short_help="Measure this machine.",
    examples=(
        "nostro bench",
        "nostro bench --out new.json --compare old.json",
        "nostro bench --transfers 10000000",
        "nostro bench --quick --json",
    ),
)
@click.option("--quick", is_flag=True, help="A tenth of the work: to see that it runs.")
@click.option(
    "--transfers",
    type=click.IntRange(1_000, 100_000_000),
    metavar="N",
    help="Write and read a ledger of N transfers; without it, of a million.",
)
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Measure the disk that holds DIR; without it, the one of the temporary files.",
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

    Each writing workload runs three times on a fresh ledger; its median is shown. Figures of two
    runs compare only on one machine, and then by their ratio.
    """
    try:
        old = read_results(compare) if compare is not None else {}
    except BadResults as error:
        raise CommandFailed(str(error), code=WRONG_USE) from None
    with tempfile.TemporaryDirectory(prefix="nostro-bench-", dir=folder) as temporary:
        path = Path(temporary)
        machine = describe_machine(path)
        machine["fdatasync, 208 bytes"] = f"{1e6 * sync_seconds(path):.0f} µs (median)"
        scale = QUICK if quick else FULL
        if transfers is not None:
            scale = attrs.evolve(scale, transfers=transfers)
        figures = _measure(path, scale, quiet=quiet)
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


def _measure(path: Path, scale: Scale, *, quiet: bool) -> list[Figure]:
    figures = []
    with meter("bench", "figures", quiet=quiet) as progress:
        for figure in run_all(path, scale):
            figures.append(figure)
            progress.update(len(figures), _FIGURES, len(figures))
    return figures


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
