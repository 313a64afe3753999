"""Measure nostro and other systems at the same work (`make bench`), or draw plots (`make plots`).

``python -m tests.bench`` takes every option of ``nostro bench``, and ``--plots DIR``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from nostro.tools.bench.machine import describe_machine
from nostro.tools.bench.measure import Figure, Scale
from nostro.tools.bench.workloads import run_all
from nostro.tools.cli.running.bench import bench, measure, scale_of
from tests.bench.mirroring import run_mirror
from tests.bench.peers import all_peers, run_peers
from tests.bench.plots import require_matplotlib, write_plots
from tests.bench.sweeps import run_sweeps


@click.command(params=[*bench.params])
@click.option("--plots", type=click.Path(path_type=Path), help="Draw plots into this folder.")
def main(
    *,
    plots: Path | None,
    quick: bool,
    transfers: int | None,
    folder: Path | None,
    out: Path | None,
    compare: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure nostro and the other systems that this machine has, or draw plots of nostro."""
    scale = scale_of(quick=quick, transfers=transfers)
    if plots is not None:
        require_matplotlib()
        draw(plots, scale, folder)
        return
    measure(_run_everything, scale, folder, out=out, compare=compare, as_json=as_json, quiet=quiet)
    for peer in all_peers():
        if peer.unavailable is not None:
            click.echo(f"Left out: {peer.name}: {peer.unavailable}", err=True)


def draw(plots: Path, scale: Scale, folder: Path | None = None) -> None:
    """Run every sweep in a new folder inside ``folder``, and draw it into ``plots``."""
    with tempfile.TemporaryDirectory(prefix="nostro-bench-", dir=folder) as temporary:
        path = Path(temporary)
        sweeps = []
        for sweep in run_sweeps(path, scale):
            click.echo(f"measured: {sweep.title}", err=True)
            sweeps.append(sweep)
        write_plots(plots, describe_machine(path), sweeps)
    click.echo(f"Wrote {len(sweeps)} plots and sweeps.json into {plots}")


def _run_everything(folder: Path, scale: Scale) -> Iterator[Figure]:
    yield from run_all(folder, scale)
    yield from run_peers(all_peers(), folder, scale)
    yield from run_mirror(folder, scale)


if __name__ == "__main__":
    main()
