"""TigerBeetle's own tests of its Python client, run through the drop-in.

They are not part of this project: NOSTRO_TIGERBEETLE_CLIENT_TESTS names a directory that holds
test_basic.py, test_close.py and test_init_parameters.py of release 0.17 (src/clients/python/tests).
They are copied to a temporary directory, where ``import tigerbeetle`` means the drop-in.

Two things around them are stood in for. Their requests to an address where nobody answers become
requests to a slow ledger, and the server's command line becomes a second process that reads the
ledger's directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
VARIABLE: Final = "NOSTRO_TIGERBEETLE_CLIENT_TESTS"
NAMES: Final = ("test_basic.py", "test_close.py", "test_init_parameters.py")

CONFTEST: Final = """
import sys
import time

import nostro.dropin
import pytest
from nostro import Ledger

sys.modules["tigerbeetle"] = nostro.dropin
for name in ("bindings", "client", "lib"):
    sys.modules["tigerbeetle." + name] = getattr(nostro.dropin, name)


@pytest.fixture(autouse=True)
def slow_where_nobody_answers(request, monkeypatch):
    if request.module.__name__ == "test_close":
        quick = Ledger.lookup_accounts

        def slow(self, ids):
            time.sleep(0.5)
            return quick(self, ids)

        monkeypatch.setattr(Ledger, "lookup_accounts", slow)
"""

COMMAND_LINE: Final = """#!{python}
import json
import os
import sys

sys.path.insert(0, {root!r})

import attrs
from nostro import Ledger

assert sys.argv[1] == "repl"
options = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[2:])
command, _, id_ = options["command"].partition(" id=")
assert command == "lookup_accounts"
directory = os.path.join(os.environ["NOSTRO_DATA"], "nostro-" + options["cluster"])
ledger = Ledger.open(directory, read_only=True)
[account] = ledger.lookup_accounts([int(id_)])
ledger.close()
answer = {{name: str(value) for name, value in attrs.asdict(account).items()}}
answer["flags"] = [flag.name.lower() for flag in account.flags]
print(json.dumps(answer))
"""


@pytest.mark.slow
def test_tigerbeetles_tests_of_its_client_pass(tmp_path: Path) -> None:
    """Every one of them passes."""
    source = os.environ.get(VARIABLE)
    if not source:
        pytest.skip(f"{VARIABLE} names no directory with TigerBeetle's client tests")
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in NAMES:
        shutil.copy(Path(source) / name, tests)
    (tests / "conftest.py").write_text(CONFTEST)
    command_line = tmp_path / "tigerbeetle"
    command_line.write_text(COMMAND_LINE.format(python=sys.executable, root=str(ROOT / "src")))
    command_line.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir=.", "-rA", "--tb=short", "."],
        cwd=tests,
        env={
            **os.environ,
            "NOSTRO_DATA": str(tmp_path / "data"),
            "PYTHONPATH": str(ROOT / "src"),
            "TB_ADDRESS": "3000",
            "TIGERBEETLE_BINARY": str(command_line),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
