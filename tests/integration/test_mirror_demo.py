"""The demonstration of a mirror, with a real server, as the guide has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.differential.tigerbeetle_server import find_binary
from tests.documents import PACKAGE_PATH, ROOT

PROGRAM = ROOT / "docs" / "guides" / "mirror_demo.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_ledger_gets_a_mirror_loses_it_and_goes_on(tmp_path: Path) -> None:
    """History, a cluster, none, the same again; in the end no difference."""
    if find_binary() is None:
        pytest.skip("no `tigerbeetle` on PATH, and TIGERBEETLE_BINARY names none")
    pytest.importorskip("tigerbeetle")
    folder = tmp_path / "demo"
    try:
        done = subprocess.run(
            [sys.executable, PROGRAM, folder],
            env={**os.environ, "PYTHONPATH": PACKAGE_PATH},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        if (folder / "cluster").exists():
            stop = [
                sys.executable,
                "-m",
                "nostro",
                "cluster",
                "down",
                str(folder / "cluster"),
            ]
            subprocess.run(stop, check=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("caught up: live, 0 events behind")
    assert lines[2].startswith("cluster gone: retrying, 1,000 events behind; no answer from")
    assert lines[3] == "ledger: account 2 has 14,000"
    assert lines[4].startswith("cluster back: live, 0 events behind")
    assert "Equal: the journal and the cluster hold the same." in lines
    assert "transfers  2,000 compared" in lines
    assert "position   2,002 of 2,002" in lines
