"""``nostro bench``: measure, print a table with the machine, keep the results."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import attrs
import click

from nostro.tools.bench import mirroring, peers
from nostro.tools.bench.machine import describe_machine, sync_seconds
from nostro.tools.bench.measure import FULL, QUICK, Figure, Scale
from nostro.tools.bench.plots import can_draw, write_plots
from nostro.tools.bench.report import BadResults, gain, read_results, write_results
from nostro.tools.bench.sweeps import run_sweeps
from nostro.tools.bench.workloads import run_all
from nostro.tools.cli.clusters.cluster_options import without_mirror
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand
from nostro.tools.cli.terminal.meter import meter

_FIGURES: Final = 32
_PEER_FIGURES: Final = 15
"""At most."""
_SWEEPS: Final = 5


@click.command(
    cls=DocumentedCommand,
    short_help="Measure this machine.",
    examples=(
        "nostro bench",
        "nostro bench --out new.json --compare old.json",
        "nostro bench --peers --transfers 1000000",
        "nostro bench --plots plots --transfers 50000000",
        "nostro bench --quick --json",
    ),
)
@click.option("--quick", is_flag=True, help="A tenth of the work: to see that it runs.")
@click.option(
    "--transfers",
    type=click.IntRange(1_000, 100_000_000),
    metavar="N",
    help="Read a ledger of N transfers; without it, of ten million.",
)
@click.option(
    "--peers",
    "with_peers",
    is_flag=True,
    help="Let other systems do the same work, as far as they are installed.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw how throughput changes, into DIR, instead of the table.",
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
    with_peers: bool,
    plots: Path | None,
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
    without_mirror()
    if plots is not None and not can_draw():
        raise CommandFailed("drawing needs the package matplotlib", code=WRONG_USE)
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
            scale = attrs.evolve(scale, history=transfers)
        if plots is not None:
            _draw(path, scale, machine, plots, quiet=quiet)
            return
        figures = _measure(path, scale, with_peers=with_peers, quiet=quiet)
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
    for name, reason in (*peers.missing(), *mirroring.missing()) if with_peers else ():
        screen.line(f"Left out: {name}: {reason}")


def _draw(path: Path, scale: Scale, machine: dict[str, str], plots: Path, *, quiet: bool) -> None:
    sweeps = []
    with meter("bench", "sweeps", quiet=quiet) as progress:
        for sweep in run_sweeps(path, scale):
            sweeps.append(sweep)
            progress.update(len(sweeps), _SWEEPS, len(sweeps))
    write_plots(plots, machine, sweeps)
    screen.line(f"Wrote {len(sweeps)} plots and sweeps.json into {plots}")


def _measure(path: Path, scale: Scale, *, with_peers: bool, quiet: bool) -> list[Figure]:
    figures = []
    expected = _FIGURES + (_PEER_FIGURES if with_peers else 0)
    with meter("bench", "figures", quiet=quiet) as progress:
        for figure in run_all(path, scale, with_peers=with_peers):
            figures.append(figure)
            progress.update(len(figures), expected, len(figures))
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
