"""The benchmark runs: every figure comes, and every sweep can be drawn."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from nostro.tools.bench.measure import Scale
from nostro.tools.bench.report import read_results
from nostro.tools.bench.workloads import FIGURES, run_all
from nostro.tools.cli.running.bench import measure
from tests.bench.__main__ import main
from tests.bench.plots import write_plots
from tests.bench.sweeps import Sweep, run_sweeps

TINY: Final = Scale(transfers=20_000, history=20_000, singles=40, lookups=200, repeats=1)


def test_every_figure_comes_and_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many as the progress bar expects, each with a value, in the table and in the file."""
    out = tmp_path / "results.json"
    measure(run_all, TINY, tmp_path, out=out, as_json=True, quiet=True)
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert len(figures) == FIGURES
    assert all(value > 0 for value in figures.values()), figures
    assert {name: figure.value for name, figure in read_results(out).items()} == figures


def test_sweeps_have_a_rate_for_each_of_their_values(tmp_path: Path) -> None:
    """Of every line; and history goes as far as it was asked to."""
    sweeps = {sweep.name: sweep for sweep in run_sweeps(tmp_path, TINY)}
    assert list(sweeps) == ["batch-size", "accounts", "threads", "tasks", "history"]
    for sweep in sweeps.values():
        for rates in sweep.lines.values():
            assert len(rates) == len(sweep.at)
            assert all(rate > 0 for rate in rates)
    assert sweeps["history"].at[-1] * 1e6 >= TINY.history


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)
def test_sweeps_are_drawn(tmp_path: Path) -> None:
    """One SVG each, and what they were drawn from."""
    sweep = Sweep("size", "By size", "size", [1, 10, 100], {"rows": [1.0, 2.0, 4.0]})
    write_plots(tmp_path / "plots", {"processor": "of no name"}, [sweep])
    assert (tmp_path / "plots" / "size.svg").read_text(encoding="utf-8").startswith("<?xml")
    kept = json.loads((tmp_path / "plots" / "sweeps.json").read_text(encoding="utf-8"))
    assert kept["sweeps"][0]["lines"] == {"rows": [1.0, 2.0, 4.0]}


def test_plots_without_matplotlib_are_refused_before_any_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the package, and nothing was measured or written."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    result = CliRunner().invoke(main, ["--plots", str(tmp_path / "plots"), "--quick"])
    assert result.exit_code == 1
    assert "matplotlib is not installed" in result.stderr
    assert "measured" not in result.stderr
    assert not list(tmp_path.iterdir())
