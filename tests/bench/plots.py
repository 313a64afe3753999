"""Sweeps drawn with matplotlib, one SVG each, and kept as JSON."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import attrs
import click

from tests.bench.sweeps import Sweep


def require_matplotlib() -> None:
    """Refuse to begin without matplotlib: the measurements before the first plot take minutes.

    Raises:
        click.ClickException: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        raise click.ClickException(
            "matplotlib is not installed, so no plot can be drawn; `make plots` installs it"
        ) from None


def write_plots(folder: Path, machine: dict[str, str], sweeps: list[Sweep]) -> None:
    """Write ``sweeps.json`` and one SVG for each sweep into ``folder``."""
    figure = importlib.import_module("matplotlib.figure")
    folder.mkdir(parents=True, exist_ok=True)
    body = {"machine": machine, "sweeps": [attrs.asdict(sweep) for sweep in sweeps]}
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    (folder / "sweeps.json").write_text(text, encoding="utf-8")
    for sweep in sweeps:
        drawing = figure.Figure(figsize=(7, 4), layout="constrained")
        axes = drawing.subplots()
        for name, rates in sweep.lines.items():
            axes.plot(sweep.at[: len(rates)], rates, marker="o", markersize=3, label=name)
        if sweep.is_log:
            axes.set_xscale("log")
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_title(sweep.title, fontsize=10)
        axes.set_xlabel(sweep.axis)
        axes.set_ylabel("transfers/s")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
        drawing.text(0.01, 0.005, machine["processor"], fontsize=6, color="grey")
        drawing.savefig(folder / f"{sweep.name}.svg", metadata={"Date": None})
