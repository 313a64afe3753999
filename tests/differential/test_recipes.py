"""The recipes' program on a TigerBeetle cluster, with nothing changed but its import."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.differential.tigerbeetle_server import find_binary, running
from tests.documents import run_python


@pytest.mark.slow
def test_the_recipes_print_the_same_on_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the guide says is printed is what TigerBeetle's own client prints, too."""
    binary = find_binary()
    if binary is None:
        pytest.skip("no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none")
    pytest.importorskip("tigerbeetle")
    ours, theirs = "import nostro.dropin as tigerbeetle\n", "import tigerbeetle\n"
    with running(binary, tmp_path) as address:
        monkeypatch.setenv("TB_ADDRESS", address)
        assert len(run_python("docs/guides/recipes.md", capsys, {ours: theirs})) == 6
    assert not list(tmp_path.glob("nostro-*"))
